//! From a fork to a worker: the new process lets go of what is its parent's, and takes over its own signals.
//! Decides nothing; what a worker then does is its host's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::{BindAddress, Config};
use lockgate_observe::{Level, Page};
#[cfg(target_os = "linux")]
use rustix::process::Signal;
use rustix::process::{Pid, getppid};

use crate::Hooks;
use crate::admin_process::AdminProcess;
use crate::exit_watch::ExitDeadline;
use crate::mailbox::Sender;
use crate::main_loop::MainLoop;
use crate::orders::Ear;
use crate::signals::WorkerSignals;
use crate::site::Site;
use crate::sockets::Listener;
use crate::stacks::StackBoard;
use crate::supervisor::Generation;
use crate::worker_side::WorkerPost;

/// The exit code of a child that could not take over its own signals.
pub(crate) const CHILD_WITHOUT_SIGNALS: i32 = 1;

/// A new process that has not yet let go of what its parent holds.
pub(crate) struct Birth {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) sender: Sender,
    pub(crate) ear: Ear,
}

/// What a child keeps of what its parent holds.
pub(crate) struct Inheritance {
    pub(crate) supervisor: Option<Pid>,
    pub(crate) config: Arc<Config>,
    pub(crate) generation: u64,
    pub(crate) lifeline: OwnedFd,
    pub(crate) listeners: Vec<(BindAddress, OwnedFd)>,
    page: Option<Page>,
    stacks: Option<StackBoard>,
}

impl Inheritance {
    /// What a worker is given.
    pub(crate) fn post(
        self,
        slot: usize,
        mailbox: Sender,
        ear: Ear,
        signals: WorkerSignals,
    ) -> WorkerPost {
        WorkerPost {
            slot,
            timeout: self.config.timeout,
            generation: self.generation,
            config: self.config,
            listeners: self.listeners,
            seat: self.page.and_then(|page| page.seat(slot)),
            stacks: self.stacks,
            supervisor: self.supervisor,
            mailbox: Arc::new(mailbox),
            ear,
            lifeline: self.lifeline,
            signals,
            exit: ExitDeadline::default(),
            has_served: false,
        }
    }
}

impl MainLoop {
    /// The life of a child, up to its exit code.
    pub(crate) fn become_worker(self, birth: Birth, hooks: &mut dyn Hooks) -> i32 {
        let signals = match self.take_over_signals(hooks) {
            Ok(signals) => signals,
            Err(code) => return code,
        };
        let inheritance = self.let_go(birth.generation);
        live(
            inheritance.post(birth.slot, birth.sender, birth.ear, signals),
            hooks,
        )
    }

    /// What a child does first. The error is its exit code: it is not to go on.
    pub(crate) fn take_over_signals(&self, hooks: &dyn Hooks) -> Result<WorkerSignals, i32> {
        // The worker's registrations come first: no moment is without a handler that ends a booting process.
        let signals = WorkerSignals::install().map_err(|error| {
            hooks.log(
                Level::Critical,
                &format!("cannot take over signals: {error}"),
            );
            CHILD_WITHOUT_SIGNALS
        })?;
        // A signal that came before them has only raised the supervisor's flags.
        if self.signals.asks_to_stop() {
            return Err(0);
        }
        die_with_parent(true);
        // It may have died before that was asked for.
        if getppid() != self.pid {
            return Err(0);
        }
        Ok(signals)
    }

    /// Closes everything that is the parent's alone, and the other generation's.
    pub(crate) fn let_go(self, generation: Generation) -> Inheritance {
        let Self {
            pid,
            site,
            next,
            lifeline: (lifeline, _writing_end),
            page,
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
            page,
        }
    }
}

/// The life of a worker, up to its exit code: it serves, and then the application in it finishes.
pub(crate) fn live(mut post: WorkerPost, hooks: &mut dyn Hooks) -> i32 {
    let code = hooks.run_worker(&mut post);
    hooks.finish(post.exit_watch(code));
    code
}

/// During its boot a worker does not watch its lifeline, so the kernel tells it when the supervisor dies.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(dies: bool) {
    // Without it an orphan lives until it is ready, and then sees the lost lifeline.
    let _unsupported =
        rustix::process::set_parent_process_death_signal(dies.then_some(Signal::TERM));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_dies: bool) {}
