//! The worker process of the server: event loop, transports and thread pool.
//!
//! Reading order: [`app`] is the interface to the application, [`request`] and [`reply`] cross it, [`worker`] starts
//! everything, `crew` is the thread pool, `lane` is the event loop that its threads take turns to run.
#![forbid(unsafe_code)]
// Boxes of connections and requests move between the lane, their slots and the crew as one pointer.
#![allow(clippy::vec_box)]

pub mod app;
pub mod reply;
pub mod request;
pub mod worker;

mod accept;
mod access_log;
mod body_buffer;
mod bookkeeping;
mod connection;
mod cork;
mod crew;
mod crowd;
mod date;
mod deadlines;
mod descriptor_budget;
mod descriptors;
mod exchange;
mod hand_back;
mod helper_thread;
mod hold;
mod lane;
pub mod log;
mod minimum_rate;
mod outbox;
mod overload;
mod pace;
mod poller;
mod queue;
mod recurrence;
mod rejection;
mod seams;
mod service;
mod shared;
mod sink;
mod slot;
mod spool;
mod timers;
pub mod transport;
pub mod warm_up;
mod watch;
mod workbench;

pub use app::App;
pub use body_buffer::BodyBuffer;
pub use bookkeeping::monotonic_nanos;
pub use deadlines::{AskForReplacement, Deadline, ReplaceReason};
pub use descriptors::{note_ahead, take_inherited as take_inherited_descriptors};
pub use hold::HeldConnection;
pub use queue::GivenUp;
pub use reply::{ClientGone, Look, Presence, Reply, ReplyChannel, Sent, SharedBytes};
pub use request::{Body, Client, Local, ProxyEnd, Request};
pub use spool::{SpoolFile, try_directory};
pub use worker::{Handle, Worker};
