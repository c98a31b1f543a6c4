//! Child setup after a fork: the new process releases what belongs to its parent and installs its own signal handlers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::{BindAddress, Config};
use lockgate_observe::{Level, Scoreboard};
#[cfg(target_os = "linux")]
use rustix::process::Signal;
use rustix::process::{Pid, getppid};

use crate::Hooks;
use crate::admin_process::AdminProcess;
use crate::exit_watch::SharedDeadline;
use crate::mailbox::Sender;
use crate::main_loop::MainLoop;
use crate::order_thread::OrderThread;
use crate::orders::Ear;
use crate::signals::WorkerSignals;
use crate::site::Site;
use crate::sockets::Listener;
use crate::stacks::StackBoard;
use crate::supervisor::Generation;
use crate::worker_side::WorkerPost;

/// The exit code of a child that could not install its signal handlers.
pub(crate) const CHILD_WITHOUT_SIGNALS: i32 = 1;

/// A new process that still holds everything of its parent.
pub(crate) struct Birth {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) sender: Sender,
    pub(crate) ear: Ear,
}

/// What a child keeps from its parent.
pub(crate) struct Inheritance {
    pub(crate) supervisor: Option<Pid>,
    pub(crate) config: Arc<Config>,
    pub(crate) generation: u64,
    pub(crate) lifeline: OwnedFd,
    pub(crate) listeners: Vec<(BindAddress, OwnedFd)>,
    scoreboard: Option<Scoreboard>,
    stacks: Option<StackBoard>,
}

impl Inheritance {
    /// Runs a worker; returns its exit code.
    pub(crate) fn live(
        self,
        slot: usize,
        mailbox: Sender,
        ear: Ear,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        let lifeline = Arc::new(self.lifeline);
        let exit = SharedDeadline::new(self.config.graceful_timeout);
        let links = (ear, Arc::clone(&lifeline));
        let orders = match OrderThread::start(links, exit.clone(), signals.relay().clone()) {
            Ok(orders) => orders,
            Err(error) => {
                let message = format!("worker {slot} has no thread to hear orders with: {error}");
                hooks.log(Level::Critical, &message);
                return CHILD_WITHOUT_SIGNALS;
            }
        };
        let mut post = WorkerPost {
            slot,
            timeout: self.config.timeout,
            generation: self.generation,
            config: self.config,
            listeners: self.listeners,
            worker_slot: self
                .scoreboard
                .and_then(|scoreboard| scoreboard.worker_slot(slot)),
            stacks: self.stacks,
            supervisor: self.supervisor,
            mailbox: Arc::new(mailbox),
            orders,
            lifeline,
            signals,
            exit,
            has_served: false,
        };
        hooks.note_descriptors(post.descriptors());
        // It serves first; then the application in it shuts down.
        let code = hooks.run_worker(&mut post);
        hooks.finish(post.exit_watch(code));
        code
    }
}

impl MainLoop {
    /// Runs the child; returns its exit code.
    pub(crate) fn become_worker(self, birth: Birth, hooks: &mut dyn Hooks) -> i32 {
        let signals = match self.take_over_signals(WorkerSignals::install(), hooks) {
            Ok(signals) => signals,
            Err(code) => return code,
        };
        let inheritance = self.let_go(birth.generation);
        inheritance.live(birth.slot, birth.sender, birth.ear, signals, hooks)
    }

    /// The first step of a child. The error is an exit code: the child must exit with it.
    pub(crate) fn take_over_signals(
        &self,
        installed: io::Result<WorkerSignals>,
        hooks: &dyn Hooks,
    ) -> Result<WorkerSignals, i32> {
        // The child's handlers are installed first, so that there is never a moment without one.
        let signals = installed.map_err(|error| {
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            CHILD_WITHOUT_SIGNALS
        })?;
        // A signal that arrived earlier has only set the supervisor's flags.
        if self.signals.asks_to_stop() {
            return Err(0);
        }
        die_with_parent(true);
        // The parent may have died before the call above.
        if getppid() != self.pid {
            return Err(0);
        }
        Ok(signals)
    }

    /// Closes everything that belongs to the parent only, or to the other generation.
    pub(crate) fn let_go(self, generation: Generation) -> Inheritance {
        let Self {
            pid,
            site,
            next,
            lifeline: (lifeline, _writing_end),
            scoreboard,
            admin,
            ..
        } = self;
        let Site {
            generation,
            config,
            listeners,
            ..
        } = match generation {
            Generation::Present => site,
            Generation::Next => next.unwrap_or(site),
        };
        Inheritance {
            stacks: admin.and_then(AdminProcess::into_stacks),
            supervisor: pid,
            config,
            generation,
            lifeline,
            listeners: listeners
                .into_iter()
                .filter_map(Listener::into_socket)
                .collect(),
            scoreboard,
        }
    }
}

/// Sets or clears the parent-death signal. A booting process may be inside the application's import when the supervisor
/// dies; the kernel then kills it with SIGKILL, which no handler of the application can catch.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(dies: bool) {
    // Where it is unsupported, an orphan lives until it is ready and then sees that the lifeline is closed.
    let _unsupported =
        rustix::process::set_parent_process_death_signal(dies.then_some(Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_dies: bool) {}
