//! The worker process of the server: event loop, transports and thread pool.
//!
//! Reading order: [`app`] is the interface to the application, [`request`] and [`reply`] cross it, [`worker`] starts
//! everything, `pool` is the thread pool, `event_loop` is the event loop that its threads take turns to run.
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
mod date;
mod deadlines;
mod descriptors;
mod detached_work;
mod event_loop;
mod hand_back;
mod helper_thread;
mod hold;
mod http1;
mod listeners;
mod load_shedding;
mod metrics;
mod queue;
mod seams;
mod shared;
mod thread_pool;
mod worker_thread;

pub use app::App;
pub use body::buffer::BodyBuffer;
pub use body::spool::{SpoolFile, try_directory};
pub use deadlines::{AskForReplacement, Deadline, ReplaceReason};
pub use descriptors::{register_ahead, take_inherited as take_inherited_descriptors};
pub use detached_work::DetachedWork;
pub use exchange::request::{Body, Client, Local, ProxyEnd, Request};
pub use exchange::response::{
    ClientGone, Look, Presence, Reply, ResponseWriter, Sent, SharedBytes,
};
pub use hold::HeldConnection;
pub use metrics::monotonic_nanos;
pub use queue::DropReason;
pub use worker::{Handle, Worker};
