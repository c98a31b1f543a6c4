//! The WSGI bridge (PEP 3333). Requests and replies are plain values here: sockets and HTTP syntax are in lower crates.

pub(crate) mod app;
mod body;
mod context;
mod deadline;
mod environ;
mod errors;
mod file_wrapper;
mod header_names;
mod input;
mod response_head;
mod start_response;
mod thread_state;

pub(crate) use app::{Settings, WsgiApp};
pub(crate) use context::ImportedContext;
pub(crate) use errors::ErrorStream;
pub(crate) use file_wrapper::FileWrapper;
pub(crate) use input::Input;
pub(crate) use thread_state::forget_thread;
