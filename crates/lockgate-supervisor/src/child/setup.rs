//! Child setup: what a forked process keeps of the supervisor's resources, and its first steps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use lockgate_config::{Config, Endpoint};
use lockgate_observe::{Level, Scoreboard};
use lockgate_tls::Board;
use rustix::process::Pid;

use crate::Hooks;
use crate::channels::control::ControlReceiver;
use crate::channels::status::StatusSender;
use crate::child::control_thread::ControlThread;
use crate::child::exit_watch::SharedDeadline;
use crate::child::parent_death;
use crate::child::worker_context::WorkerContext;
use crate::signals::{SupervisorSignals, WorkerSignals};
use crate::stacks::StackBoard;
use crate::supervisor::Generation;

/// The exit code of a child whose setup failed.
pub(crate) const SETUP_FAILED: i32 = 1;

/// A worker that was just forked.
pub(crate) struct NewWorker {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) status: StatusSender,
    pub(crate) control: ControlReceiver,
    pub(crate) origin: WorkerOrigin,
}

/// The circumstances of the fork of a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerOrigin {
    /// The number of the fork, counted from 1.
    pub(crate) age: u64,
    /// A pipe that ends when the hook `pre_fork` has returned.
    pub(crate) pre_fork: Option<OwnedFd>,
}

/// The resources that a child process keeps.
pub(crate) struct ChildResources {
    pub(crate) supervisor: Option<Pid>,
    pub(crate) config: Arc<Config>,
    pub(crate) generation: u64,
    pub(crate) lifeline: OwnedFd,
    pub(crate) listeners: Vec<(Endpoint, OwnedFd)>,
    pub(crate) scoreboard: Option<Scoreboard>,
    pub(crate) certificates: Option<Board>,
    pub(crate) stacks: Option<StackBoard>,
    /// The listeners of uWSGI's stats server, in the admin process.
    pub(crate) stats: Vec<(Endpoint, OwnedFd)>,
    /// The pipe of reports to the watcher: the writing end in workers and fork servers, the reading end in the watcher.
    pub(crate) reports: Option<OwnedFd>,
    /// The number of the fork of the first worker of its generation; 0 in a process that forks and is no worker.
    pub(crate) first_age: u64,
}

/// The first step of a worker or a fork server: replaces the supervisor's signal handlers. The error is the exit code
/// with which the child must exit.
pub(crate) fn replace_signals(
    installed: io::Result<WorkerSignals>,
    replaced: &SupervisorSignals,
    supervisor: Option<Pid>,
    hooks: &dyn Hooks,
) -> Result<WorkerSignals, i32> {
    // The child's handlers are installed first, so that there is never a moment without one.
    let signals = installed.map_err(|error| cannot_install(&error, hooks))?;
    // A signal that arrived earlier has only set the supervisor's flags.
    if replaced.is_stop_requested() || !parent_death::die_with(supervisor) {
        return Err(0);
    }
    Ok(signals)
}

/// Logs that signal handlers could not be installed; returns the exit code.
pub(crate) fn cannot_install(error: &io::Error, hooks: &dyn Hooks) -> i32 {
    let message = format!("cannot install signal handlers: {error}");
    hooks.log(Level::Critical, &message);
    SETUP_FAILED
}

impl ChildResources {
    /// Runs a worker; returns its exit code.
    pub(crate) fn run_worker(
        mut self,
        slot: usize,
        channels: (StatusSender, ControlReceiver),
        origin: WorkerOrigin,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        let reports = self.reports.take();
        let first_age = self.first_age;
        let mut context = match self.into_context(slot, channels, signals) {
            Ok(context) => context,
            Err(error) => {
                let message = format!("worker {slot}: cannot start the control thread: {error}");
                hooks.log(Level::Critical, &message);
                return SETUP_FAILED;
            }
        };
        context.age = origin.age;
        context.is_first = origin.age == first_age;
        context.pre_fork = origin.pre_fork;
        let descriptors = context.descriptors().into_iter();
        let pipe = reports.as_ref().map(AsRawFd::as_raw_fd);
        hooks.set_private_descriptors(descriptors.chain(pipe).collect());
        if let Some(pipe) = &reports {
            hooks.report_files_to(pipe.as_fd());
        }
        // The worker serves first; then its application shuts down.
        let code = hooks.run_worker(&mut context);
        hooks.finish(context.exit_watch(code));
        code
    }

    /// The context of the worker in this slot, with its control thread.
    pub(crate) fn into_context(
        self,
        slot: usize,
        (status, control): (StatusSender, ControlReceiver),
        signals: WorkerSignals,
    ) -> io::Result<WorkerContext> {
        let lifeline = Arc::new(self.lifeline);
        let exit = SharedDeadline::new(self.config.graceful_timeout);
        let links = (control, Arc::clone(&lifeline));
        let control = ControlThread::start(links, exit.clone(), signals.relay().clone())?;
        Ok(WorkerContext {
            slot,
            age: 0,
            is_first: false,
            pre_fork: None,
            timeout: self.config.timeout,
            generation: self.generation,
            config: self.config,
            listeners: self.listeners,
            worker_slot: self
                .scoreboard
                .and_then(|scoreboard| scoreboard.worker_slot(slot)),
            certificates: self.certificates,
            stacks: self.stacks,
            stats: self.stats,
            supervisor: self.supervisor,
            status: Arc::new(status),
            control,
            lifeline,
            signals,
            exit,
            has_served: false,
        })
    }
}
