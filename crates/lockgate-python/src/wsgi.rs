//! The WSGI bridge (PEP 3333). Requests and replies are plain values here: sockets and HTTP syntax are in lower crates.

pub(crate) mod app;
mod applications;
mod context;
mod deadline;
mod environ;
mod errors;
mod input;
mod logged_environ;
mod request_hooks;
mod response;
mod shared;
mod thread_state;
mod upgrade;

pub(crate) use app::WsgiApp;
pub(crate) use applications::{Application, Applications};
pub(crate) use context::ImportedContext;
pub(crate) use errors::{ErrorStream, text_bytes};
pub(crate) use input::Input;
pub(crate) use request_hooks::RequestHooks;
pub(crate) use response::file_wrapper::FileWrapper;
pub(crate) use shared::Settings;
pub(crate) use thread_state::drop_thread_state;
