//! From a fork to a worker: the new process lets go of what is its parent's, and takes over its own signals.
//! Decides nothing; what a worker then does is its host's.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::{BindAddress, Config};
use lockgate_observe::{Level, Page};
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
    /// The life of a worker, up to its exit code.
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
            seat: self.page.and_then(|page| page.seat(slot)),
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
        // It serves, and then the application in it finishes.
        let code = hooks.run_worker(&mut post);
        hooks.finish(post.exit_watch(code));
        code
    }
}

impl MainLoop {
    /// The life of a child, up to its exit code.
    pub(crate) fn become_worker(self, birth: Birth, hooks: &mut dyn Hooks) -> i32 {
        let signals = match self.take_over_signals(WorkerSignals::install(), hooks) {
            Ok(signals) => signals,
            Err(code) => return code,
        };
        let inheritance = self.let_go(birth.generation);
        inheritance.live(birth.slot, birth.sender, birth.ear, signals, hooks)
    }

    /// What a child does first. The error is its exit code: it is not to go on.
    pub(crate) fn take_over_signals(
        &self,
        installed: io::Result<WorkerSignals>,
        hooks: &dyn Hooks,
    ) -> Result<WorkerSignals, i32> {
        // The child's registrations come first: no moment is without a handler.
        let signals = installed.map_err(|error| {
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

/// A process that boots may be in the import of the application when the supervisor dies, and then the kernel ends it: by a
/// signal that no handler of the application can take.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent(dies: bool) {
    // Without it an orphan lives until it is ready, and then sees the lost lifeline.
    let _unsupported =
        rustix::process::set_parent_process_death_signal(dies.then_some(Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_dies: bool) {}
