//! Samples of what the threads of workers do: for the page while it asks, and of slow requests for the history. Both at
//! most twice a second.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lockgate_history::SampledThread;
use lockgate_observe::Scoreboard;
use lockgate_profile::Sample;
use lockgate_supervisor::{StackBoard, StackRequest};
use rustix::fs::{Mode, OFlags, open};

use super::history::Recording;

/// A sample that is younger serves again: two pages cost as much as one.
const FRESH: u64 = 500_000_000;
/// How often slow requests are sampled.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long workers may take. A worker takes microseconds, unless its host is overloaded.
const TIMEOUT: Duration = Duration::from_millis(400);
/// Frames of a stack that are shown: the most recent ones.
const MOST_FRAMES: usize = 64;
/// Bytes of a source file that are read.
const MOST_SOURCE: u64 = 4 << 20;

/// Where threads were, by the slot of their worker and their kernel TID.
pub(super) type Threads = HashMap<(usize, u64), SampledThread>;

/// See the module.
pub(super) struct Sampling {
    board: Option<Arc<StackBoard>>,
    scoreboard: Scoreboard,
    /// When the last sample was taken, in nanoseconds of the monotonic clock, and what it has found.
    last: Mutex<(u64, Arc<Threads>)>,
    /// Locked while workers are asked. The threads of the admin process are few: one waits for workers, and the others
    /// answer, whatever has happened to the workers.
    asking: Mutex<()>,
}

impl Sampling {
    pub(super) fn new(board: Option<Arc<StackBoard>>, scoreboard: Scoreboard) -> Self {
        Self {
            board,
            scoreboard,
            last: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    /// Where the threads are that run requests: of workers that do not answer, none. While another thread asks the
    /// workers, it is the sample before. `now` is in nanoseconds of the monotonic clock.
    pub(super) fn threads(&self, now: u64) -> Arc<Threads> {
        let (at, threads) = self.last();
        if at != 0 && now.saturating_sub(at) < FRESH {
            return threads;
        }
        let Ok(_asking) = self.asking.try_lock() else {
            return threads;
        };
        let threads = Arc::new(self.take());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (now, Arc::clone(&threads));
        threads
    }

    fn last(&self) -> (u64, Arc<Threads>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.0, Arc::clone(&last.1))
    }

    fn take(&self) -> Threads {
        let busy = (self.scoreboard.workers()).filter(|worker| worker.busy() > 0);
        let slots: Vec<usize> = busy.map(|worker| worker.slot).collect();
        let mut threads = Threads::new();
        for (slot, sample) in ask(self.board.as_deref(), &slots) {
            for thread in &sample.threads {
                let sampled = SampledThread {
                    began: thread.began,
                    activity: thread.activity.to_string(),
                    frames: (sample.stacks.frames(thread.stack))
                        .take(MOST_FRAMES)
                        .cloned()
                        .collect(),
                };
                threads.insert((slot, thread.thread), sampled);
            }
        }
        threads
    }
}

/// Starts the thread that samples workers while they run slow requests. If it panics, it calls `on_panic` and ends.
///
/// # Errors
/// When a thread cannot be started.
pub(super) fn start(
    recording: Arc<Recording>,
    board: Arc<StackBoard>,
    on_panic: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let sample = move || -> Infallible {
        loop {
            for (slot, sample) in ask(Some(&board), &recording.slow_workers()) {
                recording.keep_sample(slot, &sample);
            }
            thread::sleep(INTERVAL);
        }
    };
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(sample)).is_err() {
            on_panic();
        }
    };
    let builder = thread::Builder::new().name("slow-requests".to_owned());
    builder.spawn(guarded).map(drop)
}

/// A sample of each of these workers that answers in time with one that can be read.
pub(super) fn ask(board: Option<&StackBoard>, slots: &[usize]) -> Vec<(usize, Sample)> {
    let Some(board) = board.filter(|_| !slots.is_empty()) else {
        return Vec::new();
    };
    let answers = board.ask(slots, StackRequest::Sample, TIMEOUT);
    (slots.iter().zip(answers))
        .filter_map(|(&slot, answer)| Some((slot, Sample::decode(&answer?.ok()?).ok()?)))
        .collect()
}

/// Lines of source files, each of which is read once for an answer. This process runs as the workers' user.
#[derive(Default)]
pub(super) struct Sources {
    files: HashMap<String, Option<String>>,
}

impl Sources {
    /// The text of a line, from 1.
    pub(super) fn line(&mut self, file: &str, line: u32) -> Option<String> {
        if !self.files.contains_key(file) {
            self.files.insert(file.to_owned(), read(Path::new(file)));
        }
        let text = self.files.get(file)?.as_ref()?;
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        text.lines().nth(index).map(str::to_owned)
    }
}

/// A Python file. Names of code objects can be any text: a pipe or a device would block this process.
fn read(path: &Path) -> Option<String> {
    let is_python = path.is_absolute() && path.extension().is_some_and(|ending| ending == "py");
    if !is_python {
        return None;
    }
    let nonblocking = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, OFlags::RDONLY | nonblocking, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_SOURCE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    use rustix::fs::{CWD, FileType};

    #[test]
    fn while_workers_are_asked_others_get_the_sample_before() {
        let words = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0));
        let scoreboard = Scoreboard::new(Vec::leak(words.collect()));
        let sampling = Sampling::new(None, scoreboard);
        let first = sampling.threads(1);
        let asking = sampling.asking.lock().unwrap();
        let during = sampling.threads(1 + 10 * FRESH);
        assert!(Arc::ptr_eq(&first, &during));
        drop(asking);
        assert!(!Arc::ptr_eq(&first, &sampling.threads(1 + 10 * FRESH)));
        let fresh = sampling.threads(11 * FRESH);
        assert!(Arc::ptr_eq(&fresh, &sampling.threads(11 * FRESH)));
    }

    #[test]
    fn lines_are_read_from_python_files_only() {
        let directory = std::env::temp_dir().join(format!("sources-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("folder.py")).unwrap();
        for name in ["app.py", "secret.txt"] {
            std::fs::write(directory.join(name), "one\n  two\nl\u{e9}\n").unwrap();
        }
        let mut sources = Sources::default();
        for (name, line, expected) in [
            ("app.py", 2, Some("  two")),
            ("app.py", 3, Some("l\u{e9}")),
            ("app.py", 0, None),
            ("app.py", 4, None),
            ("secret.txt", 1, None),
            ("folder.py", 1, None),
            ("absent.py", 1, None),
        ] {
            let path = directory.join(name);
            let found = sources.line(path.to_str().unwrap(), line);
            assert_eq!(found.as_deref(), expected, "{name}:{line}");
        }
        // Nothing writes into this pipe.
        let pipe = directory.join("pipe.py");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(sources.line(pipe.to_str().unwrap(), 1), None);
        for name in ["app.py", "<string>", "/dev/zero", ""] {
            assert_eq!(sources.line(name, 1), None, "{name}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
