//! The fork server process: it loads the application once and forks workers on request.
//!
//! A worker is forked twice. The fork server forks an intermediate process that forks the worker and exits, so that the
//! kernel reparents the worker to the supervisor (prctl(2), PR_SET_CHILD_SUBREAPER), which reaps it like any child.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getppid, waitpid};

use crate::channels::fork_request::{ForkRequest, ForkRequestReceiver};
use crate::channels::status::{StatusMessage, StatusSender};
use crate::child::exit_watch::{ExitWatch, ORPHAN_LIFE, kill_self_after};
use crate::child::parent_death;
use crate::child::setup::{ChildResources, cannot_install};
use crate::signals::WorkerSignals;
use crate::supervisor::Generation;
use crate::{Fork, Hooks};

/// How long the kernel may take to reparent a worker to the supervisor; usually microseconds.
const REPARENTING: Duration = Duration::from_secs(5);

/// A fork server that was just forked.
pub(crate) struct NewForkServer {
    pub(crate) generation: Generation,
    pub(crate) status: StatusSender,
    pub(crate) requests: ForkRequestReceiver,
}

/// The process in which a function returns, and what it does next.
enum Next {
    /// The fork server: continues.
    Continue,
    /// The worker that was forked.
    Worker(ForkRequest),
    /// The fork server: its supervisor has exited.
    Orphaned,
}

impl NewForkServer {
    /// Runs a fork server, or the worker that it becomes; returns the exit code.
    pub(crate) fn run(
        self,
        resources: ChildResources,
        signals: WorkerSignals,
        hooks: &mut dyn Hooks,
    ) -> i32 {
        let supervisor = resources.supervisor;
        let mut descriptors = signals.descriptors().to_vec();
        let channels = [
            self.status.as_fd(),
            self.requests.poll_fd(),
            resources.lifeline.as_fd(),
        ];
        descriptors.extend(channels.map(|fd| fd.as_raw_fd()));
        descriptors.extend(resources.reports.as_ref().map(AsRawFd::as_raw_fd));
        hooks.set_private_descriptors(descriptors);
        if let Some(pipe) = &resources.reports {
            hooks.report_files_to(pipe.as_fd());
        }
        // The kernel clears the parent-death signal when a process changes its user, so it has to be set again.
        let identity_changed = || parent_death::die_with(supervisor);
        let loaded = hooks.preload(
            &resources.config,
            resources.generation,
            &resources.listeners,
            &identity_changed,
        );
        if let Err(failure) = loaded {
            self.status.send(&StatusMessage::BootFailed {
                code: failure.code,
                text: failure.text,
            });
            let name = format!("the fork server (pid {})", std::process::id());
            let watch = ExitWatch {
                lifeline: Some(Arc::new(resources.lifeline)),
                ..ExitWatch::alone(name, failure.code)
            };
            hooks.finish(watch);
            return failure.code;
        }
        // The application may have changed the user again.
        if !identity_changed() {
            return 0;
        }
        self.status.send(&StatusMessage::Ready);
        loop {
            match self.serve_next_request(&resources, hooks) {
                Next::Continue => {}
                Next::Orphaned => {
                    kill_self_after(ORPHAN_LIFE);
                    return 0;
                }
                Next::Worker(request) => {
                    drop((self, signals));
                    return run_forked_worker(resources, request, hooks);
                }
            }
        }
    }

    fn serve_next_request(&self, resources: &ChildResources, hooks: &mut dyn Hooks) -> Next {
        let mut watched = [self.requests.poll_fd(), resources.lifeline.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        // The result of poll does not matter: both descriptors are examined.
        let _woken = poll(&mut watched, None);
        let [_, lifeline] = &watched;
        if !lifeline.revents().is_empty() {
            return Next::Orphaned;
        }
        match self.requests.next() {
            Ok(Some(request)) => self.fork_worker(request, hooks),
            Ok(None) => Next::Continue,
            Err(_) => Next::Orphaned,
        }
    }

    fn fork_worker(&self, request: ForkRequest, hooks: &mut dyn Hooks) -> Next {
        let slot = request.slot;
        let failed = |text: String| self.status.send(&StatusMessage::ForkFailed { slot, text });
        let forked = hooks.fork_twice(&mut |pid| match pid {
            Ok(pid) => self.status.send(&StatusMessage::Forked { slot, pid }),
            Err(error) => failed(error.to_string()),
        });
        match forked {
            Ok(Fork::Child) => return Next::Worker(request),
            Ok(Fork::Parent(pid)) => {
                if !exits_cleanly(pid) {
                    failed("the intermediate process of the fork has died".to_owned());
                }
            }
            Err(error) => failed(error.to_string()),
        }
        Next::Continue
    }
}

/// Waits for a child to exit; returns whether its exit code is 0.
fn exits_cleanly(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    loop {
        match waitpid(pid, WaitOptions::empty()) {
            Err(Errno::INTR) | Ok(None) => {}
            Ok(Some((_, status))) => return status.exit_status() == Some(0),
            Err(_) => return false,
        }
    }
}

/// Runs a worker that the fork server has forked.
fn run_forked_worker(
    resources: ChildResources,
    request: ForkRequest,
    hooks: &mut dyn Hooks,
) -> i32 {
    let signals = match WorkerSignals::install() {
        Ok(signals) => signals,
        Err(error) => return cannot_install(&error, hooks),
    };
    let give_up_at = Instant::now() + REPARENTING;
    while getppid() != resources.supervisor {
        if Instant::now() >= give_up_at {
            return 0;
        }
        thread::sleep(Duration::from_micros(100));
    }
    // Not earlier: the signal must follow the supervisor, and not the intermediate process.
    if !parent_death::die_with(resources.supervisor) {
        return 0;
    }
    let ForkRequest {
        slot,
        status,
        control,
        origin,
    } = request;
    resources.run_worker(slot, (status, control), origin, signals, hooks)
}
