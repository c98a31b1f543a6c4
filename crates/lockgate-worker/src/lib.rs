//! The worker process of the server: event loop, transports and thread pool.
//!
//! Reading order: [`app`] is the interface to the application, [`exchange`] is one request and its response, `protocol`
//! reads and writes them, `event_loop` is run by one thread of the `thread_pool` at a time, and [`worker`] starts all.
#![forbid(unsafe_code)]
// Boxes of connections and requests move between the event loop, their slots and the thread pool as one pointer.
#![allow(clippy::vec_box)]

mod admission;
pub mod app;
mod blocking_pool;
pub mod exchange;
pub mod log;
pub mod transport;
mod users;
pub mod worker;

mod client;
mod connection;
mod date;
mod detached_work;
mod event_loop;
mod handlers;
mod helper_thread;
mod metrics;
pub mod os;
mod poller;
mod protocol;
mod route_files;
mod seams;
mod thread_pool;
mod worker_end;

pub use app::App;
pub use client::{Client, Local, ProxyEnd};
pub use detached_work::DetachedWork;
pub use exchange::body::buffer::BodyBuffer;
pub use exchange::body::spool::{SpoolFile, try_directory};
pub use exchange::body::stream::{BodyError, BodyStream};
pub use exchange::deadlines::{AskForReplacement, Deadline, ReplaceReason};
pub use exchange::prepared::{Prepared, PreparedBody};
pub use exchange::request::{Body, Request};
pub use exchange::response::{FileSent, Reply};
pub use exchange::writer::{
    ClientGone, DropReason, HeldConnection, NotTaken, Presence, PresenceCheck, ResponseWriter, Sent,
};
pub use handlers::cache::purge_url;
pub use lockgate_files::SharedFile;
pub use metrics::monotonic_nanos;
pub use route_files::check_route_files;
#[cfg(not(loom))]
pub use transport::descriptors::fork_gate::FORK_GATE;
pub use transport::descriptors::{
    TrackedFd, register_ahead, take_inherited as take_inherited_descriptors,
};
pub use transport::outbox::SharedBytes;
pub use worker::{Handle, Resources, Worker};
