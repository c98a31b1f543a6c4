//! The process that serves: lane, transports, crew. Knows no Python and no supervisor.
//!
//! Reading order: [`app`] is the seam to the application, [`request`] and [`reply`] are what crosses it,
//! [`worker`] starts everything, [`crew`] are the threads, [`lane`] is what they take turns at.
#![forbid(unsafe_code)]

pub mod app;
pub mod reply;
pub mod request;
pub mod worker;

mod access_log;
mod accept;
mod connection;
mod crew;
mod date;
mod exchange;
mod lane;
pub mod log;
mod outbox;
mod poller;
mod slot;
mod spool;
mod timers;
pub mod transport;

pub use app::App;
pub use reply::{ClientGone, Reply, ReplyChannel, Sent, SharedBytes};
pub use request::{Body, Client, Local, Request};
pub use worker::{Handle, Worker};
