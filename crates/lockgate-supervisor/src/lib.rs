//! The supervisor process: binds, forks and restarts. It reads no data from clients and imports no application.
//!
//! Python is behind [`Hooks`]: forking, running a worker, exiting, logging. Decisions are pure ([`Supervisor::on`]);
//! the main loop performs them. Unsafe code lives in `os` only.
#![deny(unsafe_code)]

mod admin_process;
mod back_off;
mod birth;
mod descendants;
mod ending;
mod estate;
mod exit_watch;
mod handover;
mod hooks;
mod mailbox;
mod main_loop;
mod measures;
mod notify;
mod oom;
mod operators;
mod order_thread;
mod orders;
mod os;
mod pid_file;
mod requests;
mod service_manager;
mod signals;
mod site;
mod sockets;
mod stacks;
mod supervisor;
mod template;
mod template_side;
mod unfinished;
mod unix_socket;
mod worker_side;

pub use ending::Ending;
pub use estate::{HANDOVER, agrees_with};
pub use exit_watch::{ExitWatch, Exiting};
pub use hooks::{BAD_FORK, Fork, Hooks, LoadFailure, Successor};
pub use main_loop::run;
pub use operators::{OperatorRequests, peer_user};
pub use service_manager::{PassedSocket, SERVICE_VARIABLES, ServiceManager};
pub use signals::SignalRelay;
pub use stacks::{StackAnswer, StackBoard, StackPlace};
pub use supervisor::{
    Action, Event, Fact, Generation, Inherited, Known, Order, ReplaceReason, Request, Responses,
    Rules, Status, Supervisor,
};
pub use unfinished::Unfinished;
pub use worker_side::{Attended, WorkerPost};
