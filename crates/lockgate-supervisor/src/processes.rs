//! Child processes as the supervisor sees them: channels, signals, memory, exit.

pub(crate) mod admin_process;
pub(crate) mod cpu_times;
pub(crate) mod descendants;
pub(crate) mod evaluation;
pub(crate) mod exit_status;
pub(crate) mod fork_server;
pub(crate) mod hook_events;
pub(crate) mod hook_process;
pub(crate) mod in_flight;
pub(crate) mod kill;
pub(crate) mod memory;
pub(crate) mod oom;
pub(crate) mod optional_processes;
pub(crate) mod sampling;
pub(crate) mod side_process;
pub(crate) mod worker_process;
