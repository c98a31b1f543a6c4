//! The process that binds, forks and restarts. Reads no client byte and imports no application.
//!
//! Knows no Python either: forking, running a worker, leaving and logging come through [`Hooks`].
//! Decisions are pure ([`Supervisor::on`]); the main loop performs them. Unsafe code lives in `os` only.
#![deny(unsafe_code)]

mod admin_process;
mod back_off;
mod birth;
mod ending;
mod hooks;
mod mailbox;
mod main_loop;
mod measures;
mod oom;
mod orders;
mod os;
mod pid_file;
mod signals;
mod site;
mod sockets;
mod supervisor;
mod unfinished;
mod unix_socket;
mod worker_side;

pub use ending::Ending;
pub use hooks::{Fork, Hooks};
pub use main_loop::run;
pub use supervisor::{
    Action, Event, Generation, Order, ReplaceReason, Request, Responses, Rules, Supervisor,
};
pub use unfinished::Unfinished;
pub use worker_side::{Attended, WorkerPost};
