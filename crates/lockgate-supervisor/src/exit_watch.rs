//! The exit watchdog of a process: it exits by its deadline, and within a second of its supervisor's death, whatever
//! threads and exit handlers of the application do. It runs on its own thread and never needs the GIL.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_observe::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::low_level::exit;

use crate::descendants::Descendants;
use crate::mailbox::{Message, Sender};
use crate::signals::WorkerSignals;
use crate::supervisor::Seconds;

/// How long threads and exit handlers may take in a quick stop or in a process that never served. The supervisor kills
/// later than that.
const QUICK_EXIT: Duration = Duration::from_secs(2);
/// How long a process may take to stop and exit after its supervisor has died: under a second.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_millis(700);
pub(crate) const ORPHAN_LIFE: Duration = Duration::from_millis(900);
/// After this time the log says what the exit is waiting for.
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
    /// What the exit is waiting for, one phrase each; takes at most this long.
    ///
    /// # Errors
    /// Why that is unknown.
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

/// When an exiting process must be gone. For each kind of request the first counts, and among their deadlines the
/// earliest.
#[derive(Debug, Clone, Default)]
struct ExitDeadline {
    graceful: Option<(Duration, Instant)>,
    quick: Option<Instant>,
    orphan: Option<Instant>,
}

impl ExitDeadline {
    /// A graceful stop was requested.
    fn ask(&mut self, graceful_timeout: Duration, now: Instant) {
        let head_start = HEAD_START.min(graceful_timeout / 10);
        let limit = || (graceful_timeout, now + (graceful_timeout - head_start));
        self.graceful.get_or_insert_with(limit);
    }

    /// A quick stop was requested.
    fn hurry(&mut self, now: Instant) {
        self.quick.get_or_insert(now + QUICK_EXIT);
    }

    /// The supervisor has died.
    fn note_orphaned(&mut self, now: Instant) {
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

/// How an exiting worker reaches its supervisor, and how signals and orders wake its watchdog.
pub(crate) struct Line {
    pub(crate) mailbox: Arc<Sender>,
    pub(crate) signals: WorkerSignals,
    /// The heartbeat interval; `None`: no heartbeats.
    pub(crate) heartbeat: Option<Duration>,
}

/// The exit deadline of a process, shared by its main thread, its order thread and the watchdog.
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
    pub(crate) fn ask(&self, now: Instant) {
        self.lock().ask(self.graceful_timeout, now);
    }

    /// A quick stop was requested.
    pub(crate) fn hurry(&self, now: Instant) {
        self.lock().hurry(now);
    }

    /// The supervisor has died.
    pub(crate) fn note_orphaned(&self, now: Instant) {
        self.lock().note_orphaned(now);
    }

    fn is_orphaned(&self) -> bool {
        self.lock().is_orphaned()
    }

    fn earliest(&self) -> Option<(Instant, Limit)> {
        self.lock().earliest()
    }

    fn lock(&self) -> MutexGuard<'_, ExitDeadline> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(crate) line: Option<Line>,
}

impl ExitWatch {
    /// For a process without a supervisor that serves no requests (any more): a quick exit with this code.
    pub fn alone(name: String, code: i32) -> Self {
        let deadline = SharedDeadline::new(Duration::ZERO);
        deadline.hurry(Instant::now());
        Self {
            name,
            late_code: code,
            deadline,
            lifeline: None,
            line: None,
        }
    }

    /// Starts the watchdog thread.
    ///
    /// # Errors
    /// When no thread can be created: then nothing must be called that may take long.
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
            let beat = self.line.as_ref().and_then(|line| line.heartbeat);
            if let (Some(line), Some(beat), true) = (&self.line, beat, beat_at <= now) {
                line.mailbox.send(&Message::Heartbeat);
                beat_at = now + beat;
            }
            let wakes = [Some(end_at), log_at, beat.map(|_| beat_at)];
            self.wait(wakes.into_iter().flatten().min().unwrap_or(end_at));
            self.obey(process);
        }
    }

    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let lifeline = self
            .lifeline
            .as_ref()
            .filter(|_| !self.deadline.is_orphaned());
        let line = self.line.iter();
        let mut watched: Vec<PollFd<'_>> = lifeline
            .map(|lifeline| lifeline.as_fd())
            .into_iter()
            .chain(line.map(|line| line.signals.wake_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let outcome = poll(&mut watched, Some(&left));
        let is_lost = lifeline.is_some()
            && outcome.is_ok()
            && (watched.first()).is_some_and(|first| !first.revents().is_empty());
        if is_lost {
            self.deadline.note_orphaned(Instant::now());
            end_in_any_case(ORPHAN_LIFE);
        }
    }

    fn obey(&self, process: &dyn Exiting) {
        let Some(line) = &self.line else {
            return;
        };
        let raised = line.signals.take();
        if raised.reopen {
            process.reopen_logs();
        }
        if raised.stop {
            self.deadline.hurry(Instant::now());
        }
    }

    fn log_wait(&self, left: Duration, limit: Limit, process: &dyn Exiting) {
        let what = waits_for(process);
        let message = format!(
            "{}: exit waits for {what}; it is ended in {} at the latest ({})",
            self.name,
            Seconds(left),
            limit.source()
        );
        process.log(Level::Info, &message);
        if let Some(line) = &self.line {
            line.mailbox.send(&Message::Exiting);
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
            "{}: not finished within {after} ({}), ended while its exit waited for {what}",
            self.name,
            limit.source()
        );
        process.log(Level::Warning, &message);
        if let Some(children) = Descendants::of(std::process::id()).end() {
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
            Self::Orphan => "the supervisor has gone",
        }
    }
}

fn waits_for(process: &dyn Exiting) -> String {
    match process.waits_for(PATIENCE) {
        Ok(phrases) if phrases.is_empty() => "standard streams to be flushed".to_owned(),
        Ok(phrases) => phrases.join("; "),
        Err(reason) => format!("something unknown ({reason})"),
    }
}

/// Kills an orphan after this time. The application may block a normal exit: exit handlers, or a call that holds the
/// GIL and never returns; an orphan has no supervisor that would kill it.
pub(crate) fn end_in_any_case(after: Duration) {
    let killer = move || {
        thread::sleep(after);
        // A process may always signal itself, and SIGKILL cannot be blocked.
        let _unfailing = kill_process(getpid(), Signal::KILL);
    };
    // If no thread can be created, only the normal exit remains.
    let _usual_way = thread::Builder::new()
        .name("lockgate-end".into())
        .spawn(killer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_counts_and_of_each_kind_the_first_wish() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let timeout = Duration::from_secs(30);
        let mut deadline = ExitDeadline::default();
        assert_eq!(deadline.earliest(), None);
        deadline.ask(timeout, start);
        deadline.ask(timeout, at(9000));
        let graceful = Limit::Graceful(timeout);
        assert_eq!(deadline.earliest(), Some((at(29_500), graceful)));
        deadline.hurry(at(28_000));
        assert_eq!(deadline.earliest(), Some((at(29_500), graceful)));
        deadline.note_orphaned(at(10_000));
        deadline.note_orphaned(at(10_500));
        assert_eq!(deadline.earliest(), Some((at(10_700), Limit::Orphan)));
    }

    #[test]
    fn the_process_ends_itself_a_little_before_it_would_be_killed() {
        let start = Instant::now();
        for (timeout, end_at) in [(0, 0), (1000, 900), (5000, 4500), (60_000, 59_500)] {
            let mut deadline = ExitDeadline::default();
            deadline.ask(Duration::from_millis(timeout), start);
            let (at, _) = deadline.earliest().unwrap();
            assert_eq!(at - start, Duration::from_millis(end_at), "{timeout}");
        }
    }
}
