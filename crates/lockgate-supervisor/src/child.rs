//! What runs in a child process after the fork: a worker, the fork server or a side process.

pub(crate) mod control_thread;
pub(crate) mod exit_watch;
pub(crate) mod fork_server_process;
pub(crate) mod parent_death;
pub(crate) mod setup;
pub(crate) mod side_process;
pub(crate) mod worker_context;
pub(crate) mod worker_control;
