//! Samples of what the threads of workers do: for the page while it asks, and of slow requests for the history. Both at
//! most twice a second.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lockgate_history::SampledThread;
use lockgate_observe::Scoreboard;
use lockgate_profile::Sample;
use lockgate_supervisor::{StackBoard, StackRequest};

use super::history::Recording;

/// A sample that is younger serves again: two pages cost as much as one.
const FRESH: u64 = 500_000_000;
/// How often slow requests are sampled.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long workers may take. A worker takes microseconds, unless its host is overloaded.
const TIMEOUT: Duration = Duration::from_millis(400);
/// Frames of a stack that are shown: the most recent ones.
const MOST_FRAMES: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

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
}
