//! A worker's side of what it and the supervisor say to each other: it reports, it obeys orders and signals. Knows no socket
//! traffic.
//!
//! Invariant: a worker never outlives its supervisor by more than a second. It holds the reading end of a
//! pipe whose writing end only the supervisor has, and the kernel closes that end however the supervisor dies.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::{BindAddress, Config};
use lockgate_observe::Seat;
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

/// Longest time between two looks at the worker, and between two heartbeats.
const TICK: Duration = Duration::from_secs(1);

/// Where signals stand among what the main thread waits for.
const SIGNALS: usize = 0;

/// The running worker, as far as orders and signals reach it: on the thread of the orders and on the main thread.
pub trait Attended: Send + Sync {
    /// Others serve in its place and nobody waits for it: finish what has begun, let clients that use a connection learn
    /// that it ends, then stop.
    fn retire(&self);
    /// Others accept connections as well, and are to have them first.
    fn give_way(&self) {}
    /// Finish what has begun, then stop. May be called again, and after `retire`.
    fn drain(&self);
    /// Stop now, also because the supervisor is gone. May be called again, and after `drain`.
    fn stop(&self);
    /// Open the log files again.
    fn reopen_logs(&self);
    /// Whether the worker has nothing left to do and may leave.
    fn is_finished(&self) -> bool;
    /// Whether the worker is held up by something that has run for longer than this, so that it should be replaced.
    fn is_stuck(&self, longer_than: Duration) -> bool;
    /// Readable when the worker has finished; without one it is asked once a second.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>>;
    /// A signal has arrived: the host's own handlers may have to run, on this thread, which is the main one.
    fn interrupted(&self);
}

/// What a new worker is given.
pub struct WorkerPost {
    /// The number of the worker: the lowest that no other one had when it was made.
    pub slot: usize,
    /// How many reloads have led to its settings.
    pub generation: u64,
    /// The settings of its generation.
    pub config: Arc<Config>,
    /// The listening sockets, non-blocking, in the order of the configuration. Ports are the real ones, never 0.
    pub listeners: Vec<(BindAddress, OwnedFd)>,
    /// Its place on the page that all workers share; `None` when the server has none, or more workers than it has places.
    /// The worker enters when it accepts connections, leaves when it drains; when it dies its numbers are cleared.
    pub seat: Option<Seat>,
    /// Where it tells operators what its threads do; `None` where there are none, or no way to.
    pub stacks: Option<StackBoard>,
    pub(crate) supervisor: Option<Pid>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) mailbox: Arc<Sender>,
    pub(crate) orders: OrderThread,
    pub(crate) lifeline: Arc<OwnedFd>,
    pub(crate) signals: WorkerSignals,
    /// When it has to be gone, once it has been asked to.
    pub(crate) exit: SharedDeadline,
    pub(crate) has_served: bool,
}

impl WorkerPost {
    /// To be called when the worker has become another user or group during its boot: the kernel then forgets to tell
    /// it of the supervisor's death (prctl(2), PR_SET_PDEATHSIG). False when the supervisor has died meanwhile.
    #[must_use]
    pub fn note_new_identity(&self) -> bool {
        die_with_parent(true);
        getppid() == self.supervisor
    }

    /// Tells that the worker could serve, and waits until it may: during a reload that is when all of its generation
    /// are ready. Until then signals that ask the worker to go end the process at once. False: it is not to serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        // From here on the worker sees for itself that its supervisor has gone, and stops in order.
        die_with_parent(false);
        self.orders.note_ready();
        self.mailbox.send(&Message::Ready);
        let may_serve = self.orders.wait_until_open();
        if may_serve {
            self.signals.finish_boot();
        }
        may_serve
    }

    /// For handlers of the host: what signals do here.
    pub fn signal_relay(&self) -> SignalRelay {
        self.signals.relay().clone()
    }

    /// The numbers of the descriptors that belong to this process and the supervisor, and not to those that the
    /// application forks. They stay open as long as the post.
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

    /// What a worker calls that has lost a thread to a request which does not end: a new one is made, and when that one
    /// serves, this one is asked to retire.
    pub fn replacement_request(&self) -> impl Fn() + Send + Sync + 'static {
        let mailbox = Arc::clone(&self.mailbox);
        move || mailbox.send(&Message::StuckThread)
    }

    /// Tells why the application could not be loaded; the worker then exits with the same code.
    ///
    /// `code` is 3 when its import failed and 4 when it was not found or is not callable; `text` is what the
    /// operator reads, of which the last 64 KiB travel.
    pub fn boot_failed(&self, code: i32, text: &str) {
        self.mailbox.send(&Message::BootFailed {
            code,
            text: text.to_owned(),
        });
    }

    /// Tells that the worker is alive; [`attend`](Self::attend) does it by itself.
    pub fn heartbeat(&self) {
        self.mailbox.send(&Message::Heartbeat);
    }

    /// The main thread of a worker stays here until the worker is finished; gives its exit code.
    ///
    /// Turns signals and the loss of the supervisor into calls; orders come on a thread of their own. A repeated wish is the
    /// same wish again: process groups and systemd send `SIGTERM` to workers too, beside the supervisor's order.
    pub fn attend(&mut self, worker: &Arc<dyn Attended>) -> i32 {
        die_with_parent(false);
        self.has_served = true;
        // Whoever answers operators waits for no order before it serves.
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
            // Last, because the host may have to wait for its interpreter. What its handlers ask for wakes this thread again.
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
            // Nobody counts: the supervisor may sleep.
            None => {}
        }
    }

    /// The watch over what follows, when the worker is finished or has failed: its exit code is `code`.
    pub(crate) fn exit_watch(self, code: i32) -> ExitWatch {
        let now = Instant::now();
        // Nobody may have asked for it, and what never served has nothing to finish.
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

    /// Several heartbeats fit into a timeout, also into one of a second.
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
            // The pipe has what arrived between the last look and the wait; the error, what another handler has taken.
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
