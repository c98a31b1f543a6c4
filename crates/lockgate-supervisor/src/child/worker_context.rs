//! The context of a worker: its resources, its status channel, and the loop of its main thread.
//!
//! Invariant: a worker outlives its supervisor by at most a second. It holds the reading end of the lifeline, a pipe
//! whose writing end only the supervisor has; the kernel closes that end however the supervisor exits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::{Config, Endpoint};
use lockgate_observe::WorkerSlot;
use lockgate_tls::Board;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::LoadFailure;
use crate::channels::status::{StatusMessage, StatusSender};
use crate::child::control_thread::ControlThread;
use crate::child::exit_watch::{
    ExitWatch, NOT_FINISHED, ORPHAN_GRACE, ORPHAN_LIFE, SharedDeadline, SupervisorLink,
    kill_self_after,
};
use crate::child::parent_death;
use crate::child::worker_control::WorkerControl;
use crate::clock::timespec;
use crate::signals::{SignalRelay, WorkerSignals};
use crate::stacks::StackBoard;
use crate::supervisor::Request;

/// Longest time between two checks of the worker, and between two heartbeats.
const TICK: Duration = Duration::from_secs(1);

/// Longest wait for the hook `pre_fork`.
const PRE_FORK_TIMEOUT: Duration = Duration::from_secs(30);

/// Index of the signal pipe among the polled descriptors.
const SIGNALS: usize = 0;

/// See the module.
pub struct WorkerContext {
    /// The number of the worker: the lowest one that was free when it was forked.
    pub slot: usize,
    /// The number of its fork, counted from 1 (gunicorn's `age`); 0 in a process that is no worker.
    pub age: u64,
    /// Whether it is the first one of its generation, which alone logs what would be the same in all of them.
    pub is_first: bool,
    /// The number of reloads that led to its settings.
    pub generation: u64,
    /// The settings of its generation.
    pub config: Arc<Config>,
    /// The listening sockets, non-blocking, in the order of the configuration. Ports are the real ones, never 0.
    pub listeners: Vec<(Endpoint, OwnedFd)>,
    /// Its slot on the scoreboard; `None` when there is no scoreboard, or more workers than slots. The worker enters when
    /// it accepts connections and leaves when it drains. The supervisor clears the slot of a worker that has exited.
    pub worker_slot: Option<WorkerSlot>,
    /// The certificates and the keys of session tickets; `None` when its settings do not ask for TLS.
    pub certificates: Option<Board>,
    /// Where it writes thread dumps for operators; `None` without an admin listener or where the system has no futexes.
    pub stacks: Option<StackBoard>,
    /// In the admin process: the listening sockets of uWSGI's stats server.
    pub stats: Vec<(Endpoint, OwnedFd)>,
    /// Ends when the hook `pre_fork` has returned.
    pub(crate) pre_fork: Option<OwnedFd>,
    pub(crate) supervisor: Option<Pid>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) status: Arc<StatusSender>,
    pub(crate) control: ControlThread,
    pub(crate) lifeline: Arc<OwnedFd>,
    pub(crate) signals: WorkerSignals,
    /// Its exit deadline, once a stop is requested.
    pub(crate) exit: SharedDeadline,
    pub(crate) has_served: bool,
}

impl WorkerContext {
    /// Must be called when the worker has changed its user or group during its boot: the kernel then clears the
    /// parent-death signal (prctl(2), PR_SET_PDEATHSIG). False when the supervisor has exited: the worker must exit.
    #[must_use]
    pub fn identity_changed(&self) -> bool {
        parent_death::die_with(self.supervisor)
    }

    /// Reports that the worker is ready, and waits for the order to accept connections: during a reload it comes when all
    /// workers of the generation are ready. Until then a stop signal ends the process at once. False: it must not serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        // From now on the worker itself detects that the supervisor has exited, and stops in order.
        parent_death::outlive_parent();
        self.control.set_ready();
        self.status.send(&StatusMessage::Ready);
        let may_serve = self.control.wait_until_open();
        if may_serve {
            self.signals.finish_boot();
        }
        may_serve
    }

    /// Waits until the hook `pre_fork` has returned in the hook process, if there is one. False when that takes too long.
    #[must_use]
    pub fn wait_for_pre_fork(&mut self) -> bool {
        let Some(pipe) = self.pre_fork.take() else {
            return true;
        };
        let give_up_at = Instant::now() + PRE_FORK_TIMEOUT;
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&pipe, PollFlags::IN)];
            let _woken = poll(&mut watched, Some(&timespec(left)));
            let [pipe] = &watched;
            if !pipe.revents().is_empty() {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }

    /// Returns a function that reports what the supervisor waits for, from a hook process.
    pub fn reporter(&self) -> impl Fn(Result<(), LoadFailure>) + Send + Sync + 'static {
        let status = Arc::clone(&self.status);
        move |outcome| {
            status.send(&match outcome {
                Ok(()) => StatusMessage::Ready,
                Err(LoadFailure { code, text }) => StatusMessage::BootFailed { code, text },
            });
        }
    }

    /// Performs the actions of signals, for handlers of the host.
    pub fn signal_relay(&self) -> SignalRelay {
        self.signals.relay().clone()
    }

    /// The descriptors that belong to this process and the supervisor, and not to processes that the application forks.
    /// They stay open as long as the context.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let pipes = [
            self.status.as_fd(),
            self.control.as_fd(),
            self.lifeline.as_fd(),
        ];
        let stacks = self.stacks.as_ref().map(StackBoard::as_fd);
        let numbers = pipes.into_iter().chain(stacks).map(|fd| fd.as_raw_fd());
        numbers
            .chain(self.signals.descriptors().iter().copied())
            .collect()
    }

    /// Returns a function that requests a replacement, because a request that does not end occupies a thread. When the
    /// replacement serves, this worker is retired.
    pub fn replacement_request(&self) -> impl Fn() + Send + Sync + 'static {
        let status = Arc::clone(&self.status);
        move || status.send(&StatusMessage::StuckThread)
    }

    /// Returns a function that requests a replacement for the application.
    pub fn retirement_request(&self) -> impl Fn() + Send + Sync + 'static {
        let status = Arc::clone(&self.status);
        move || status.send(&StatusMessage::Retiring)
    }

    /// Returns a function by which the application requests a reload, or the stop of the server. The supervisor takes no
    /// other request from a worker.
    pub fn server_request(&self) -> impl Fn(Request) -> io::Result<()> + Send + Sync + 'static {
        let status = Arc::clone(&self.status);
        move |request| status.try_send(&StatusMessage::Requested { request, times: 1 })
    }

    /// Reports why the application could not be loaded; the worker then exits with the same code.
    ///
    /// `code` is 3 when the import failed and 4 when the application was not found or is not callable; `text` is the
    /// report for the operator, of which the last 64 KiB are sent.
    pub fn boot_failed(&self, code: i32, text: &str) {
        self.status.send(&StatusMessage::BootFailed {
            code,
            text: text.to_owned(),
        });
    }

    /// Reports that the worker is alive. [`run`](Self::run) does this by itself.
    pub fn heartbeat(&self) {
        self.status.send(&StatusMessage::Heartbeat);
    }

    /// Runs the worker on its main thread until it is finished; returns its exit code.
    ///
    /// Signals and the loss of the supervisor become calls of `worker`; orders arrive on the control thread. Repeated
    /// requests count as one: process groups and systemd also send `SIGTERM` to workers.
    pub fn run(&mut self, worker: &Arc<dyn WorkerControl>) -> i32 {
        parent_death::outlive_parent();
        self.has_served = true;
        // The admin process serves without waiting for an order.
        self.signals.finish_boot();
        self.status.send(&StatusMessage::Serving);
        self.control.attach(Arc::clone(worker));
        let worker = worker.as_ref();
        let tick = self.tick();
        let mut next_check = Instant::now();
        let mut exit_by: Option<Instant> = None;
        let mut polls_worker = true;
        loop {
            let now = Instant::now();
            if worker.is_finished() || exit_by.is_some_and(|deadline| deadline <= now) {
                return 0;
            }
            if next_check <= now {
                self.send_heartbeat(worker);
                next_check = now + tick;
                polls_worker = true;
            }
            let until = exit_by.map_or(next_check, |deadline| deadline.min(next_check));
            let woken = self.wait(
                worker,
                until.duration_since(now),
                exit_by.is_none(),
                polls_worker,
            );
            // A worker that wakes this thread without being finished is not polled again before the next tick: no
            // spinning.
            polls_worker &= !woken.by_worker;
            self.on_signals(worker);
            if woken.by_lifeline {
                kill_self_after(ORPHAN_LIFE);
                worker.stop();
                self.exit.on_supervisor_lost(Instant::now());
                exit_by = Some(Instant::now() + ORPHAN_GRACE);
            }
            // Last, because the host may have to wait for the GIL. A request from its handlers wakes this thread again.
            if woken.by_signal {
                worker.interrupted();
            }
        }
    }

    fn on_signals(&self, worker: &dyn WorkerControl) {
        let raised = self.signals.take();
        if raised.reopen {
            worker.reopen_logs();
        }
        if raised.drain {
            self.exit.request_graceful(Instant::now());
            worker.drain();
        }
        if raised.stop {
            self.exit.request_quick(Instant::now());
            worker.stop();
        }
    }

    fn send_heartbeat(&self, worker: &dyn WorkerControl) {
        match self.timeout {
            Some(timeout) if worker.is_stuck(timeout) => self.status.send(&StatusMessage::Stuck),
            Some(_) => self.status.send(&StatusMessage::Heartbeat),
            // Without a timeout the supervisor needs no heartbeats and may sleep.
            None => {}
        }
    }

    /// The watchdog for the exit of a worker that is finished or has failed, with exit code `code`.
    pub(crate) fn exit_watch(self, code: i32) -> ExitWatch {
        let now = Instant::now();
        // The exit may be unrequested; a worker that never served has no requests to finish.
        match self.has_served {
            true => self.exit.request_graceful(now),
            false => self.exit.request_quick(now),
        }
        let heartbeat = self.timeout.map(|_| self.tick());
        ExitWatch {
            name: format!("worker {} (pid {})", self.slot, std::process::id()),
            late_code: if code == 0 { NOT_FINISHED } else { code },
            deadline: self.exit,
            lifeline: Some(self.lifeline),
            link: Some(SupervisorLink {
                status: self.status,
                signals: self.signals,
                heartbeat,
            }),
        }
    }

    /// The heartbeat interval: several fit into a timeout, even into one of a second.
    fn tick(&self) -> Duration {
        self.timeout.map_or(TICK, |timeout| {
            (timeout / 4).clamp(Duration::from_millis(50), TICK)
        })
    }

    fn wait(
        &self,
        worker: &dyn WorkerControl,
        longest: Duration,
        has_lifeline: bool,
        polls_worker: bool,
    ) -> Woken {
        let mut watched = vec![PollFd::from_borrowed_fd(
            self.signals.wake_fd(),
            PollFlags::IN,
        )];
        let lifeline = has_lifeline.then(|| {
            watched.push(PollFd::from_borrowed_fd(
                self.lifeline.as_fd(),
                PollFlags::IN,
            ));
            watched.len() - 1
        });
        let finish = worker.wake_fd().filter(|_| polls_worker).map(|fd| {
            watched.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            watched.len() - 1
        });
        let outcome = poll(&mut watched, Some(&timespec(longest)));
        let is_woken = |at: Option<usize>| {
            at.and_then(|at| watched.get(at))
                .is_some_and(|fd| !fd.revents().is_empty())
        };
        Woken {
            // The pipe shows signals since the last check; EINTR, one that a handler of the host has handled.
            by_signal: outcome == Err(Errno::INTR) || (outcome.is_ok() && is_woken(Some(SIGNALS))),
            by_lifeline: outcome.is_ok() && is_woken(lifeline),
            by_worker: outcome.is_ok() && is_woken(finish),
        }
    }
}

struct Woken {
    by_signal: bool,
    by_lifeline: bool,
    by_worker: bool,
}
