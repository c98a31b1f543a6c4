//! The worker process of the server: event loop, transports and thread pool.
//!
//! Reading order: [`app`] is the interface to the application, [`exchange`] is one request and its response, `protocol`
//! reads and writes them, `event_loop` is run by one thread of the `thread_pool` at a time, and [`worker`] starts all.
#![forbid(unsafe_code)]
// Boxes of connections and requests move between the event loop, their slots and the thread pool as one pointer.
#![allow(clippy::vec_box)]

pub mod app;
pub mod exchange;
pub mod log;
pub mod transport;
pub mod warm_up;
pub mod worker;

mod body;
mod connection;
mod date;
mod deadlines;
mod descriptors;
mod detached_work;
mod event_loop;
mod handlers;
mod helper_thread;
mod metrics;
mod poller;
mod protocol;
mod request;
mod seams;
mod thread_pool;

pub use app::App;
pub use body::buffer::BodyBuffer;
pub use body::spool::{SpoolFile, try_directory};
pub use body::stream::{BodyError, BodyStream};
pub use deadlines::{AskForReplacement, Deadline, ReplaceReason};
#[cfg(not(loom))]
pub use descriptors::fork_gate::FORK_GATE;
pub use descriptors::{register_ahead, take_inherited as take_inherited_descriptors};
pub use detached_work::DetachedWork;
pub use exchange::response::Reply;
pub use exchange::writer::{
    ClientGone, DropReason, HeldConnection, Presence, PresenceCheck, ResponseWriter, Sent,
    TakenOver,
};
pub use metrics::monotonic_nanos;
pub use request::{Body, Client, Local, ProxyEnd, Request};
pub use transport::outbox::SharedBytes;
pub use worker::{Handle, Worker};
