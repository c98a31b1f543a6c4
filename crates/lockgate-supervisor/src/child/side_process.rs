//! A side process after the fork: setup, then the host's admin listener, ACME client, Redis relay or hooks.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, geteuid};

use crate::Hooks;
use crate::channels::control::ControlReceiver;
use crate::channels::status::StatusSender;
use crate::child::parent_death;
use crate::child::setup::{ChildResources, SETUP_FAILED};
use crate::child::worker_context::WorkerContext;
use crate::operators::OperatorRequests;
use crate::processes::optional_processes::Duty;
use crate::signals::WorkerSignals;

/// Longest time without a heartbeat; one is sent every second.
pub(crate) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// A side process that was just forked.
pub(crate) struct NewSideProcess {
    pub(crate) status: StatusSender,
    pub(crate) control: ControlReceiver,
}

impl NewSideProcess {
    /// The first step: replaces the supervisor's signal handlers. The error is the exit code with which the process must
    /// exit.
    pub(crate) fn replace_signals(&self, supervisor: Option<Pid>) -> Result<WorkerSignals, i32> {
        // Only the supervisor ends a side process: it ignores signals to the process group, as from a terminal.
        let signals = WorkerSignals::ignoring().map_err(|_| SETUP_FAILED)?;
        match parent_death::die_with(supervisor) {
            true => Ok(signals),
            false => Err(0),
        }
    }

    /// Runs the admin process with the admin listeners; returns its exit code.
    pub(crate) fn run_admin(
        self,
        resources: ChildResources,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        hide();
        let Some(scoreboard) = resources.scoreboard else {
            return SETUP_FAILED;
        };
        let Some(context) = self.into_context(resources, signals) else {
            return SETUP_FAILED;
        };
        // Before the process switches to the workers' user.
        let requests = OperatorRequests::new(Arc::clone(&context.status), geteuid().as_raw());
        hooks.run_admin(context, scoreboard, requests)
    }

    /// Runs the process that has this duty; returns its exit code.
    pub(crate) fn run_optional(
        self,
        duty: Duty,
        mut resources: ChildResources,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        hide();
        let reports = resources.reports.take();
        let Some(context) = self.into_context(resources, signals) else {
            return SETUP_FAILED;
        };
        match (duty, reports) {
            (Duty::Acme, _) => hooks.run_acme(context),
            (Duty::Relay, _) => hooks.run_relay(context),
            (Duty::Exporter, _) => hooks.run_exporter(context),
            (Duty::Watcher, Some(reports)) => {
                let user = geteuid().as_raw();
                let requests = OperatorRequests::new(Arc::clone(&context.status), user);
                hooks.run_watcher(context, reports, requests)
            }
            (Duty::Watcher, None) => SETUP_FAILED,
        }
    }

    /// Runs the hook process, which reads events from this socket; returns its exit code.
    pub(crate) fn run_hook_process(
        self,
        resources: ChildResources,
        events: Option<OwnedFd>,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        match (self.into_context(resources, signals), events) {
            (Some(context), Some(events)) => hooks.run_hook_process(context, events),
            _ => SETUP_FAILED,
        }
    }

    fn into_context(
        self,
        resources: ChildResources,
        signals: WorkerSignals,
    ) -> Option<WorkerContext> {
        let channels = (self.status, self.control);
        let context = resources.into_context(0, channels, signals).ok()?;
        Some(WorkerContext {
            worker_slot: None,
            timeout: Some(HEARTBEAT_TIMEOUT),
            ..context
        })
    }
}

/// Another process of the workers' user must not be able to impersonate this one (ptrace(2), proc(5)).
fn hide() {
    let _unsupported = set_undumpable();
}

#[cfg(target_os = "linux")]
fn set_undumpable() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[cfg(not(target_os = "linux"))]
fn set_undumpable() -> rustix::io::Result<()> {
    Ok(())
}
