//! The exit watchdog: a thread that ends its process at the exit deadline, and within a second after the supervisor has
//! exited, whatever threads and exit handlers of the application do. It never needs the GIL.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::low_level::exit;

use crate::channels::status::{StatusMessage, StatusSender};
use crate::clock::timespec;
use crate::mutex;
use crate::processes::descendants::Descendants;
use crate::seconds::Seconds;
use crate::signals::WorkerSignals;

/// How long threads and exit handlers may take in a quick stop or in a process that never served. The supervisor kills
/// the process later than this.
const QUICK_EXIT: Duration = Duration::from_secs(2);
/// How long a process may take to stop and exit after its supervisor has exited: under a second.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_millis(700);
pub(crate) const ORPHAN_LIFE: Duration = Duration::from_millis(900);
/// After this time the watchdog logs what the exit is waiting for.
const SLOW_EXIT: Duration = Duration::from_secs(1);
/// The process exits this long before the supervisor would kill it, so that it can log what it was waiting for; at most
/// a tenth of `graceful_timeout`.
const HEAD_START: Duration = Duration::from_millis(500);
/// How long to wait for the GIL to find out what the exit is waiting for.
const PATIENCE: Duration = Duration::from_millis(150);
/// The exit code of a worker whose threads or exit handlers had not finished.
pub(crate) const NOT_FINISHED: i32 = 1;

/// What the watchdog needs from the exiting process.
pub trait Exiting: Send + Sync + 'static {
    /// What the exit is waiting for, as phrases; takes at most this long.
    ///
    /// # Errors
    /// The reason why that is unknown.
    fn waits_for(&self, patience: Duration) -> Result<Vec<String>, String>;
    /// Writes one message to the error log.
    fn log(&self, level: Level, message: &str);
    /// Opens the log files again.
    fn reopen_logs(&self) {}
}

/// Which limit applies to an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Graceful(Duration),
    Quick,
    Orphan,
}

/// The deadline of an exit: the earliest deadline of any request. Of equal requests the first one counts.
#[derive(Debug, Clone, Default)]
struct ExitDeadline {
    graceful: Option<(Duration, Instant)>,
    quick: Option<Instant>,
    orphan: Option<Instant>,
}

impl ExitDeadline {
    /// A graceful stop was requested.
    fn request_graceful(&mut self, graceful_timeout: Duration, now: Instant) {
        let head_start = HEAD_START.min(graceful_timeout / 10);
        let limit = || (graceful_timeout, now + (graceful_timeout - head_start));
        self.graceful.get_or_insert_with(limit);
    }

    /// A quick stop was requested.
    fn request_quick(&mut self, now: Instant) {
        self.quick.get_or_insert(now + QUICK_EXIT);
    }

    /// The supervisor has exited.
    fn on_supervisor_lost(&mut self, now: Instant) {
        self.orphan.get_or_insert(now + ORPHAN_GRACE);
    }

    fn is_orphaned(&self) -> bool {
        self.orphan.is_some()
    }

    fn earliest(&self) -> Option<(Instant, Limit)> {
        let graceful = (self.graceful).map(|(timeout, at)| (at, Limit::Graceful(timeout)));
        let quick = self.quick.map(|at| (at, Limit::Quick));
        let orphan = self.orphan.map(|at| (at, Limit::Orphan));
        let all = [graceful, quick, orphan].into_iter().flatten();
        all.min_by_key(|(at, _)| *at)
    }
}

/// How an exiting worker reports to its supervisor, and how signals and orders wake its watchdog.
pub(crate) struct SupervisorLink {
    pub(crate) status: Arc<StatusSender>,
    pub(crate) signals: WorkerSignals,
    /// The heartbeat interval; `None`: no heartbeats.
    pub(crate) heartbeat: Option<Duration>,
}

/// The exit deadline of a process, shared by its main thread, its control thread and the watchdog.
#[derive(Clone)]
pub(crate) struct SharedDeadline {
    graceful_timeout: Duration,
    deadline: Arc<Mutex<ExitDeadline>>,
}

impl SharedDeadline {
    pub(crate) fn new(graceful_timeout: Duration) -> Self {
        Self {
            graceful_timeout,
            deadline: Arc::default(),
        }
    }

    /// A graceful stop was requested.
    pub(crate) fn request_graceful(&self, now: Instant) {
        self.lock().request_graceful(self.graceful_timeout, now);
    }

    /// A quick stop was requested.
    pub(crate) fn request_quick(&self, now: Instant) {
        self.lock().request_quick(now);
    }

    /// The supervisor has exited.
    pub(crate) fn on_supervisor_lost(&self, now: Instant) {
        self.lock().on_supervisor_lost(now);
    }

    fn is_orphaned(&self) -> bool {
        self.lock().is_orphaned()
    }

    fn earliest(&self) -> Option<(Instant, Limit)> {
        self.lock().earliest()
    }

    fn lock(&self) -> MutexGuard<'_, ExitDeadline> {
        mutex::lock(&self.deadline)
    }
}

/// See the module. It has no effect before [`start`](Self::start).
pub struct ExitWatch {
    /// `worker 0 (pid 12)`.
    pub(crate) name: String,
    /// The exit code if the process misses its deadline.
    pub(crate) late_code: i32,
    pub(crate) deadline: SharedDeadline,
    pub(crate) lifeline: Option<Arc<OwnedFd>>,
    pub(crate) link: Option<SupervisorLink>,
}

impl ExitWatch {
    /// For a process without a supervisor, or one that has never served: a quick exit with this code.
    pub fn alone(name: String, code: i32) -> Self {
        let deadline = SharedDeadline::new(Duration::ZERO);
        deadline.request_quick(Instant::now());
        Self {
            name,
            late_code: code,
            deadline,
            lifeline: None,
            link: None,
        }
    }

    /// Starts the watchdog thread.
    ///
    /// # Errors
    /// When no thread can be created: then nothing that may take long must be called.
    pub fn start(self, process: Arc<dyn Exiting>) -> io::Result<()> {
        thread::Builder::new()
            .name("lockgate-exit".to_owned())
            .spawn(move || self.watch(&*process))
            .map(drop)
    }

    fn watch(self, process: &dyn Exiting) {
        let mut log_at = Some(Instant::now() + SLOW_EXIT);
        let mut beat_at = Instant::now();
        loop {
            let now = Instant::now();
            let Some((end_at, limit)) = self.deadline.earliest() else {
                return;
            };
            if end_at <= now {
                return self.end(limit, process);
            }
            if log_at.is_some_and(|at| at <= now) {
                log_at = None;
                self.log_wait(end_at - now, limit, process);
            }
            let beat = self.link.as_ref().and_then(|link| link.heartbeat);
            if let (Some(link), Some(beat), true) = (&self.link, beat, beat_at <= now) {
                link.status.send(&StatusMessage::Heartbeat);
                beat_at = now + beat;
            }
            let wakes = [Some(end_at), log_at, beat.map(|_| beat_at)];
            self.wait(wakes.into_iter().flatten().min().unwrap_or(end_at));
            self.on_signals(process);
        }
    }

    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let lifeline = self
            .lifeline
            .as_ref()
            .filter(|_| !self.deadline.is_orphaned());
        let link = self.link.iter();
        let mut watched: Vec<PollFd<'_>> = lifeline
            .map(|lifeline| lifeline.as_fd())
            .into_iter()
            .chain(link.map(|link| link.signals.wake_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let outcome = poll(&mut watched, Some(&timespec(left)));
        let is_lost = lifeline.is_some()
            && outcome.is_ok()
            && (watched.first()).is_some_and(|first| !first.revents().is_empty());
        if is_lost {
            self.deadline.on_supervisor_lost(Instant::now());
            kill_self_after(ORPHAN_LIFE);
        }
    }

    fn on_signals(&self, process: &dyn Exiting) {
        let Some(link) = &self.link else {
            return;
        };
        let raised = link.signals.take();
        if raised.reopen {
            process.reopen_logs();
        }
        if raised.stop {
            self.deadline.request_quick(Instant::now());
        }
    }

    fn log_wait(&self, left: Duration, limit: Limit, process: &dyn Exiting) {
        let what = waits_for(process);
        let message = format!(
            "{}: exit waits for {what}; forced exit in {} ({})",
            self.name,
            Seconds(left),
            limit.source()
        );
        process.log(Level::Info, &message);
        if let Some(link) = &self.link {
            link.status.send(&StatusMessage::Exiting);
        }
    }

    /// The process has missed its deadline.
    fn end(self, limit: Limit, process: &dyn Exiting) {
        let what = waits_for(process);
        let after = match limit {
            Limit::Graceful(timeout) => Seconds(timeout),
            Limit::Quick => Seconds(QUICK_EXIT),
            Limit::Orphan => Seconds(ORPHAN_GRACE),
        };
        let message = format!(
            "{}: not finished within {after} ({}): forced exit while waiting for {what}",
            self.name,
            limit.source()
        );
        process.log(Level::Warning, &message);
        if let Some(children) = Descendants::of(std::process::id()).kill() {
            process.log(Level::Warning, &format!("{}: {children}", self.name));
        }
        exit(self.late_code)
    }
}

impl Limit {
    fn source(self) -> &'static str {
        match self {
            Self::Graceful(_) => "setting: graceful_timeout",
            Self::Quick => "a quick exit",
            Self::Orphan => "the supervisor has exited",
        }
    }
}

fn waits_for(process: &dyn Exiting) -> String {
    match process.waits_for(PATIENCE) {
        Ok(phrases) if phrases.is_empty() => "standard streams to be flushed".to_owned(),
        Ok(phrases) => phrases.join("; "),
        Err(reason) => format!("an unknown reason ({reason})"),
    }
}

/// Kills this process after this time, for an orphan, which has no supervisor to kill it. The application may block a
/// normal exit: by an exit handler, or by a call that holds the GIL and never returns.
pub(crate) fn kill_self_after(after: Duration) {
    let killer = move || {
        thread::sleep(after);
        // A process may always signal itself, and SIGKILL cannot be blocked.
        let _unfailing = kill_process(getpid(), Signal::KILL);
    };
    // If no thread can be created, only the normal exit remains.
    let _no_thread = thread::Builder::new()
        .name("lockgate-kill".into())
        .spawn(killer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_counts_and_of_equal_requests_the_first() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let timeout = Duration::from_secs(30);
        let mut deadline = ExitDeadline::default();
        assert_eq!(deadline.earliest(), None);
        deadline.request_graceful(timeout, start);
        deadline.request_graceful(timeout, at(9000));
        let graceful = Limit::Graceful(timeout);
        assert_eq!(deadline.earliest(), Some((at(29_500), graceful)));
        deadline.request_quick(at(28_000));
        assert_eq!(deadline.earliest(), Some((at(29_500), graceful)));
        deadline.on_supervisor_lost(at(10_000));
        deadline.on_supervisor_lost(at(10_500));
        assert_eq!(deadline.earliest(), Some((at(10_700), Limit::Orphan)));
    }

    #[test]
    fn the_process_exits_shortly_before_the_supervisor_would_kill_it() {
        let start = Instant::now();
        for (timeout, end_at) in [(0, 0), (1000, 900), (5000, 4500), (60_000, 59_500)] {
            let mut deadline = ExitDeadline::default();
            deadline.request_graceful(Duration::from_millis(timeout), start);
            let (at, _) = deadline.earliest().unwrap();
            assert_eq!(at - start, Duration::from_millis(end_at), "{timeout}");
        }
    }
}
