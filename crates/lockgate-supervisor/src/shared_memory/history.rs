//! The history of the server: what the admin process has recorded, the events of the supervisor, and the failed requests
//! of the workers.

use std::os::fd::OwnedFd;

use lockgate_config::Config;
use lockgate_history::{EVENTS_PLAN, FAILURES_PLAN, HISTORY_PLAN};
use lockgate_observe::Level;
use lockgate_shm::{Log, LogPlan};

use super::region::Region;
use crate::Hooks;

/// The log that the admin process records in: the one that the previous program in this process has left, or a new one.
pub(super) fn open(inherited: Option<OwnedFd>, config: &Config, hooks: &dyn Hooks) -> Region<Log> {
    open_plan(inherited, config, &HISTORY_PLAN, hooks)
}

/// The log of the supervisor's events. Only the supervisor appends to it: it must not wait for a lock that a stopped
/// process holds.
pub(super) fn open_events(
    inherited: Option<OwnedFd>,
    config: &Config,
    hooks: &dyn Hooks,
) -> Region<Log> {
    open_plan(inherited, config, &EVENTS_PLAN, hooks)
}

/// The log of failed requests.
pub(super) fn open_failures(
    inherited: Option<OwnedFd>,
    config: &Config,
    hooks: &dyn Hooks,
) -> Region<Log> {
    open_plan(inherited, config, &FAILURES_PLAN, hooks)
}

fn open_plan(
    inherited: Option<OwnedFd>,
    config: &Config,
    plan: &LogPlan,
    hooks: &dyn Hooks,
) -> Region<Log> {
    if config.admin_bind.is_none() {
        return Region::default();
    }
    if let Some(log) = inherited.and_then(|memory| Region::inherit(memory, plan)) {
        return log;
    }
    Region::create(plan).unwrap_or_else(|error| {
        let message = format!(
            "cannot create the memory of the history: {error}; it ends with the admin process"
        );
        hooks.log(Level::Error, &message);
        Region::default()
    })
}
