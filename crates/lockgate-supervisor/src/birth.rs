//! From a fork to a worker: the new process lets go of what is its parent's, and takes over its own signals.
//! Decides nothing; what a worker then does is its host's.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::BindAddress;
use lockgate_observe::Level;
#[cfg(target_os = "linux")]
use rustix::process::Signal;
use rustix::process::getppid;

use crate::Hooks;
use crate::admin_process::AdminProcess;
use crate::mailbox::Sender;
use crate::main_loop::MainLoop;
use crate::orders::Ear;
use crate::signals::WorkerSignals;
use crate::sockets::Listener;
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

impl MainLoop {
    /// The life of a child, up to its exit code.
    pub(crate) fn become_worker(self, birth: Birth, hooks: &mut dyn Hooks) -> i32 {
        // The worker's registrations come first: no moment is without a handler that ends a booting process.
        let signals = match WorkerSignals::install() {
            Ok(signals) => signals,
            Err(error) => {
                hooks.log(
                    Level::Critical,
                    &format!("cannot take over signals: {error}"),
                );
                return CHILD_WITHOUT_SIGNALS;
            }
        };
        // A signal that came before them has only raised the supervisor's flags.
        if self.signals.asks_to_stop() {
            return 0;
        }
        die_with_parent(true);
        // It may have died before that was asked for.
        if getppid() != self.pid {
            return 0;
        }
        let Self {
            supervisor,
            pid,
            signals: inherited,
            site,
            next,
            lifeline,
            page,
            children,
            admin,
            ..
        } = self;
        let (lifeline, writing_end) = lifeline;
        drop((supervisor, inherited, writing_end, children));
        let site = match birth.generation {
            Generation::Present => site,
            Generation::Next => next.unwrap_or(site),
        };
        let listeners: Vec<(BindAddress, OwnedFd)> = site
            .listeners
            .into_iter()
            .filter_map(Listener::into_socket)
            .collect();
        hooks.run_worker(WorkerPost {
            slot: birth.slot,
            timeout: site.config.timeout,
            generation: site.generation,
            config: site.config,
            listeners,
            seat: page.and_then(|page| page.seat(birth.slot)),
            stacks: admin.and_then(AdminProcess::into_stacks),
            supervisor: pid,
            mailbox: Arc::new(birth.sender),
            ear: birth.ear,
            lifeline,
            signals,
        })
    }
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
