//! The supervisor process: binds, forks and restarts. It reads no data from clients and imports no application.
//!
//! Python is behind [`Hooks`]: forking, running a worker, exiting, logging. Decisions are pure ([`Supervisor::on`]);
//! the main loop performs them. Unsafe code lives in `os` only.
#![deny(unsafe_code)]

mod back_off;
mod certificates;
mod channels;
mod child;
mod clock;
mod handover;
mod hooks;
mod main_loop;
mod master_fifo;
mod mutex;
mod operators;
mod os;
mod pid_file;
mod processes;
mod seconds;
mod service_manager;
mod shared_memory;
mod signals;
mod sockets;
mod stacks;
mod startup;
mod supervisor;

pub use certificates::{CertificateViews, StandaloneCertificates, check_certificates};
pub use child::exit_watch::{ExitWatch, Exiting};
pub use child::worker_context::WorkerContext;
pub use child::worker_control::WorkerControl;
pub use handover::{HANDOVER, check_handover};
pub use hooks::{Fork, Hooks, LoadFailure, SettingsFailure, SharedContents, Successor};
pub use operators::{OperatorRequests, peer_user};
pub use processes::cpu_times::{CpuTimes, cpu_times};
pub use processes::evaluation::{Evaluation, EvaluationFailure};
pub use processes::exit_status::ExitStatus;
pub use processes::in_flight::InFlightRequest;
pub use processes::memory::process_memory;
pub use service_manager::{PassedSocket, SERVICE_VARIABLES, ServiceManager};
pub use shared_memory::{standalone_broadcast_log, standalone_responses};
pub use signals::SignalRelay;
pub use sockets::{ListenError, StandaloneSockets};
pub use stacks::{
    ANSWER_SIZE, LONGEST_PROFILE, StackAnswer, StackBoard, StackPlace, StackPlaces, StackRequest,
    Watch,
};
pub use startup::run;
pub use supervisor::{
    Action, BAD_FORK, Event, Generation, Order, ProgressEvent, ReplaceReason, Request, Responses,
    Rules, Status, Supervisor, WorkerHandover, WorkerSnapshot,
};
