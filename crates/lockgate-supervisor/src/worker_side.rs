//! The worker's side of its channels to the supervisor: it reports, and obeys orders and signals.
//!
//! Invariant: a worker outlives its supervisor by at most a second. It holds the reading end of a pipe whose writing
//! end only the supervisor has, and the kernel closes that end however the supervisor dies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::{BindAddress, Config};
use lockgate_observe::WorkerSlot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, getppid};

use crate::birth::die_with_parent;
use crate::exit_watch::{
    ExitWatch, Line, NOT_FINISHED, ORPHAN_GRACE, ORPHAN_LIFE, SharedDeadline, end_in_any_case,
};
use crate::mailbox::{Message, Sender};
use crate::order_thread::OrderThread;
use crate::signals::{SignalRelay, WorkerSignals};
use crate::stacks::StackBoard;

/// Longest time between two checks of the worker, and between two heartbeats.
const TICK: Duration = Duration::from_secs(1);

/// Index of the signal pipe among the polled descriptors.
const SIGNALS: usize = 0;

/// The running worker, as far as orders and signals reach it: on the order thread and on the main thread.
pub trait Attended: Send + Sync {
    /// Other workers have taken over, and the exit is not urgent: finish what has begun, tell clients on open
    /// connections to close them, then stop.
    fn retire(&self);
    /// Other workers accept connections as well and should get them first.
    fn give_way(&self) {}
    /// Finish what has begun, then stop. May be called again, and after `retire`.
    fn drain(&self);
    /// Stop now, also because the supervisor has died. May be called again, and after `drain`.
    fn stop(&self);
    /// Reopen the log files.
    fn reopen_logs(&self);
    /// Whether the worker has nothing left to do and may leave.
    fn is_finished(&self) -> bool;
    /// Whether the worker is blocked by something that has run for longer than this, so that it should be replaced.
    fn is_stuck(&self, longer_than: Duration) -> bool;
    /// Readable when the worker has finished; without one the worker is polled once a second.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;
    /// A signal has arrived: the host's own handlers may have to run, on this thread, the main one.
    fn interrupted(&self);
}

/// What a new worker gets.
pub struct WorkerPost {
    /// The number of the worker: the lowest one that was free when it was forked.
    pub slot: usize,
    /// The number of reloads that led to its settings.
    pub generation: u64,
    /// The settings of its generation.
    pub config: Arc<Config>,
    /// The listening sockets, non-blocking, in the order of the configuration. Ports are the real ones, never 0.
    pub listeners: Vec<(BindAddress, OwnedFd)>,
    /// Its slot on the scoreboard; `None` when there is no scoreboard, or when it has fewer slots than there are
    /// workers. The worker enters when it accepts connections, leaves when it drains; when it dies its numbers are
    /// cleared.
    pub worker_slot: Option<WorkerSlot>,
    /// Where it writes thread dumps for operators; `None` without an admin listener or where the system cannot do that.
    pub stacks: Option<StackBoard>,
    pub(crate) supervisor: Option<Pid>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) mailbox: Arc<Sender>,
    pub(crate) orders: OrderThread,
    pub(crate) lifeline: Arc<OwnedFd>,
    pub(crate) signals: WorkerSignals,
    /// Its exit deadline, once it has been asked to leave.
    pub(crate) exit: SharedDeadline,
    pub(crate) has_served: bool,
}

impl WorkerPost {
    /// Must be called when the worker has changed its user or group during its boot: the kernel then clears the
    /// parent-death signal (prctl(2), PR_SET_PDEATHSIG). False when the supervisor has died meanwhile.
    #[must_use]
    pub fn note_new_identity(&self) -> bool {
        die_with_parent(true);
        getppid() == self.supervisor
    }

    /// Reports that the worker could serve, and waits until it may: during a reload that is when all of its generation
    /// are ready. Until then signals that ask the worker to leave end the process at once. False: it must not serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        // From now on the worker detects the supervisor's death itself, and stops in order.
        die_with_parent(false);
        self.orders.note_ready();
        self.mailbox.send(&Message::Ready);
        let may_serve = self.orders.wait_until_open();
        if may_serve {
            self.signals.finish_boot();
        }
        may_serve
    }

    /// What signals do here, for handlers of the host.
    pub fn signal_relay(&self) -> SignalRelay {
        self.signals.relay().clone()
    }

    /// The descriptors that belong to this process and the supervisor, and not to processes that the application forks.
    /// They stay open as long as the post.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let pipes = [
            self.mailbox.as_fd(),
            self.orders.as_fd(),
            self.lifeline.as_fd(),
        ];
        let stacks = self.stacks.as_ref().map(StackBoard::as_fd);
        let numbers = pipes.into_iter().chain(stacks).map(|fd| fd.as_raw_fd());
        numbers
            .chain(self.signals.descriptors().iter().copied())
            .collect()
    }

    /// To be called by a worker that has lost a thread to a request which does not end: a replacement is forked, and
    /// when that one serves, this worker is asked to retire.
    pub fn replacement_request(&self) -> impl Fn() + Send + Sync + 'static {
        let mailbox = Arc::clone(&self.mailbox);
        move || mailbox.send(&Message::StuckThread)
    }

    /// Reports why the application could not be loaded; the worker then exits with the same code.
    ///
    /// `code` is 3 when the import failed and 4 when the application was not found or is not callable; `text` is the
    /// report for the operator, of which the last 64 KiB are sent.
    pub fn boot_failed(&self, code: i32, text: &str) {
        self.mailbox.send(&Message::BootFailed {
            code,
            text: text.to_owned(),
        });
    }

    /// Reports that the worker is alive; [`attend`](Self::attend) does it by itself.
    pub fn heartbeat(&self) {
        self.mailbox.send(&Message::Heartbeat);
    }

    /// Runs on the worker's main thread until the worker is finished; returns its exit code.
    ///
    /// Turns signals and the loss of the supervisor into calls; orders arrive on their own thread. Repeated requests
    /// count as one: process groups and systemd send `SIGTERM` to workers too, beside the supervisor's order.
    pub fn attend(&mut self, worker: &Arc<dyn Attended>) -> i32 {
        die_with_parent(false);
        self.has_served = true;
        // The admin process serves without waiting for an order.
        self.signals.finish_boot();
        self.mailbox.send(&Message::Serving);
        self.orders.hand_over(Arc::clone(worker));
        let worker = worker.as_ref();
        let tick = self.tick();
        let mut next_look = Instant::now();
        let mut leave_by: Option<Instant> = None;
        let mut listens_for_finish = true;
        loop {
            let now = Instant::now();
            if worker.is_finished() || leave_by.is_some_and(|deadline| deadline <= now) {
                return 0;
            }
            if next_look <= now {
                self.report_life(worker);
                next_look = now + tick;
                listens_for_finish = true;
            }
            let until = leave_by.map_or(next_look, |deadline| deadline.min(next_look));
            let woken = self.wait(
                worker,
                until.duration_since(now),
                leave_by.is_none(),
                listens_for_finish,
            );
            // A worker that wakes us without being finished is not asked again before the next tick: no spinning.
            listens_for_finish &= !woken.by_worker;
            self.obey(worker);
            if woken.by_loss_of_supervisor {
                end_in_any_case(ORPHAN_LIFE);
                worker.stop();
                self.exit.note_orphaned(Instant::now());
                leave_by = Some(Instant::now() + ORPHAN_GRACE);
            }
            // Last, because the host may have to wait for the GIL. A request from its handlers wakes this thread again.
            if woken.by_signal {
                worker.interrupted();
            }
        }
    }

    fn obey(&self, worker: &dyn Attended) {
        let raised = self.signals.take();
        if raised.reopen {
            worker.reopen_logs();
        }
        if raised.drain {
            self.exit.ask(Instant::now());
            worker.drain();
        }
        if raised.stop {
            self.exit.hurry(Instant::now());
            worker.stop();
        }
    }

    fn report_life(&self, worker: &dyn Attended) {
        match self.timeout {
            Some(timeout) if worker.is_stuck(timeout) => self.mailbox.send(&Message::Stuck),
            Some(_) => self.mailbox.send(&Message::Heartbeat),
            // No timeout is set: the supervisor may sleep.
            None => {}
        }
    }

    /// The watchdog for the exit of a worker that is finished or has failed, with exit code `code`.
    pub(crate) fn exit_watch(self, code: i32) -> ExitWatch {
        let now = Instant::now();
        // The exit may be unrequested, and a worker that never served has nothing to finish.
        match self.has_served {
            true => self.exit.ask(now),
            false => self.exit.hurry(now),
        }
        let heartbeat = self.timeout.map(|_| self.tick());
        ExitWatch {
            name: format!("worker {} (pid {})", self.slot, std::process::id()),
            late_code: if code == 0 { NOT_FINISHED } else { code },
            deadline: self.exit,
            lifeline: Some(self.lifeline),
            line: Some(Line {
                mailbox: self.mailbox,
                signals: self.signals,
                heartbeat,
            }),
        }
    }

    /// Several heartbeats fit into a timeout, even into one of a second.
    fn tick(&self) -> Duration {
        self.timeout.map_or(TICK, |timeout| {
            (timeout / 4).clamp(Duration::from_millis(50), TICK)
        })
    }

    fn wait(
        &self,
        worker: &dyn Attended,
        longest: Duration,
        has_lifeline: bool,
        listens_for_finish: bool,
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
        let finish = worker.wake_fd().filter(|_| listens_for_finish).map(|fd| {
            watched.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            watched.len() - 1
        });
        let longest = Timespec {
            tv_sec: longest.as_secs() as i64,
            tv_nsec: longest.subsec_nanos().into(),
        };
        let outcome = poll(&mut watched, Some(&longest));
        let is_woken = |at: Option<usize>| {
            at.and_then(|at| watched.get(at))
                .is_some_and(|fd| !fd.revents().is_empty())
        };
        Woken {
            // The pipe shows what arrived between the last check and the wait; EINTR, what another handler has handled.
            by_signal: outcome == Err(Errno::INTR) || (outcome.is_ok() && is_woken(Some(SIGNALS))),
            by_loss_of_supervisor: outcome.is_ok() && is_woken(lifeline),
            by_worker: outcome.is_ok() && is_woken(finish),
        }
    }
}

struct Woken {
    by_signal: bool,
    by_loss_of_supervisor: bool,
    by_worker: bool,
}
