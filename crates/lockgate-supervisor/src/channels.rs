//! The channels between the supervisor and its child processes.

pub(crate) mod control;
pub(crate) mod fork_request;
pub(crate) mod hook_channel;
pub(crate) mod status;
