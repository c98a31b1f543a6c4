//! CPU saturation: whether the running calls are CPU-bound, so that another call would only share their time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a request then waits for a running call to end, counted from the last call that ended or was admitted,
/// before it runs beside them anyway. A thread whose call ends takes a waiting request without a hand-over.
const PATIENCE: Duration = Duration::from_millis(10);

/// While requests are kept, how often the leader checks whether the running calls are CPU-bound at all.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The calls of one worker. Every word is a hint without ordering.
pub struct CpuSaturation {
    running: AtomicUsize,
    /// The last thread that asked for the GIL got it by force.
    is_computing: AtomicBool,
    /// Microseconds after `born` when a call last ended, or was admitted by force, while calls were CPU-bound.
    last_relief: AtomicU64,
    /// Microseconds after `born` of the last look, and the CPU time that the process had used by then.
    last_look: AtomicU64,
    used_by_then: AtomicU64,
    born: Instant,
}

impl CpuSaturation {
    pub fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            is_computing: AtomicBool::new(false),
            last_relief: AtomicU64::new(0),
            last_look: AtomicU64::new(0),
            used_by_then: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// The application is called on this thread.
    pub fn on_call_begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// The application has returned.
    pub fn on_call_end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        if self.is_computing.load(Ordering::Relaxed) {
            self.record_relief(Instant::now());
        }
    }

    /// A thread with a request has the GIL, by force or because it was free.
    pub fn on_attached(&self, is_forced: bool, now: Instant) {
        if is_forced || self.is_computing.load(Ordering::Relaxed) {
            self.is_computing.store(is_forced, Ordering::Relaxed);
            self.record_relief(now);
        }
    }

    /// Number of running calls.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether no call is running.
    pub fn is_empty(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    /// Until when the next request has to wait, unless a call ends before. Beside a single call it runs at once: that
    /// one may be a view, or one of the application's own threads, that computes for ever.
    pub fn relief_at(&self) -> Option<Instant> {
        let is_crowded =
            self.is_computing.load(Ordering::Relaxed) && self.running.load(Ordering::Relaxed) > 1;
        let last = Duration::from_micros(self.last_relief.load(Ordering::Relaxed));
        is_crowded.then(|| self.born + last + PATIENCE)
    }

    /// Records the CPU time of the process, while requests are kept; returns when to call this again.
    ///
    /// A call that waits counts as running, too. Where the CPU was idle for half of a millisecond, the running calls
    /// are waiting, and holding a request back would only leave the CPU idle: eight clients of a 10 ms wait beside two
    /// of 5 ms of Python got 324 and 117 answers a second, and 419 and 236 without waiting for each other.
    pub fn look(&self, now: Instant, used: Duration) -> Instant {
        let now_micros = self.micros(now);
        let elapsed = now_micros.saturating_sub(self.last_look.load(Ordering::Relaxed));
        let interval = LOOK_EVERY.as_micros() as u64;
        if elapsed >= interval {
            let used = used.as_micros() as u64;
            let before = self.used_by_then.swap(used, Ordering::Relaxed);
            self.last_look.store(now_micros, Ordering::Relaxed);
            // A much longer interval began when no requests were kept, and says nothing about the present.
            if elapsed < 4 * interval && used.saturating_sub(before) < elapsed / 2 {
                self.is_computing.store(false, Ordering::Relaxed);
            }
        }
        now + LOOK_EVERY
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_micros() as u64
    }

    fn record_relief(&self, now: Instant) {
        self.last_relief.store(self.micros(now), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_only_beside_two_calls_that_compute() {
        let saturation = CpuSaturation::new();
        let now = Instant::now();
        saturation.on_attached(true, now);
        for (running, waits) in [(0, false), (1, false), (2, true), (3, true)] {
            while saturation.running.load(Ordering::Relaxed) < running {
                saturation.on_call_begin();
            }
            assert_eq!(saturation.relief_at().is_some(), waits, "{running} running");
        }
        assert!(saturation.relief_at().unwrap() <= now + PATIENCE);
        saturation.on_attached(false, now);
        assert!(saturation.relief_at().is_none(), "the interpreter was free");
    }

    #[test]
    fn calls_that_leave_the_processor_idle_keep_nobody_waiting() {
        // Wall and CPU milliseconds at each look, and whether a request still has to wait.
        let cases: [(&[(u64, u64)], bool); 4] = [
            (&[(1, 1), (2, 2), (3, 3)], true),
            (&[(1, 1), (2, 1)], false),
            (&[(1, 1), (1, 1)], true),
            (&[(1, 1), (9, 1), (10, 2)], true),
        ];
        for (looks, waits) in cases {
            let saturation = CpuSaturation::new();
            (0..3).for_each(|_| saturation.on_call_begin());
            saturation.on_attached(true, saturation.born);
            for &(clock, processor) in looks {
                let now = saturation.born + Duration::from_millis(clock);
                saturation.look(now, Duration::from_millis(processor));
            }
            assert_eq!(saturation.relief_at().is_some(), waits, "{looks:?}");
        }
    }

    #[test]
    fn each_call_that_ends_is_waited_for_anew_but_never_longer_than_patience() {
        let saturation = CpuSaturation::new();
        (0..3).for_each(|_| saturation.on_call_begin());
        saturation.on_attached(true, Instant::now());
        let first = saturation.relief_at().unwrap();
        saturation.on_call_end();
        let second = saturation.relief_at().unwrap();
        assert!(second >= first && second <= Instant::now() + PATIENCE);
        saturation.on_call_end();
        assert!(saturation.relief_at().is_none());
    }
}
