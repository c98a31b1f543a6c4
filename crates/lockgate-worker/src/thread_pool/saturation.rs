//! CPU saturation: whether the running calls are CPU-bound, so that another call would only share their time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a request then waits for a running call to end, counted from the last call that ended or was admitted,
/// before it runs beside them anyway. A thread whose call ends takes a waiting request without a hand-over.
const MAX_WAIT: Duration = Duration::from_millis(10);

/// While the backlog is not empty, how often the leader checks whether the running calls are CPU-bound at all.
const SAMPLE_EVERY: Duration = Duration::from_millis(1);

/// The calls of one worker. Every word is a hint without ordering.
pub struct CpuSaturation {
    running: AtomicUsize,
    /// The last thread that asked for the GIL got it by force.
    is_cpu_bound: AtomicBool,
    /// Microseconds after `created_at` when a call last ended, or was admitted by force, while calls were CPU-bound.
    last_change: AtomicU64,
    /// Microseconds after `created_at` of the last sample, and the CPU time that the process had used by then.
    last_sample: AtomicU64,
    cpu_time_at_last_sample: AtomicU64,
    created_at: Instant,
}

impl CpuSaturation {
    pub fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            is_cpu_bound: AtomicBool::new(false),
            last_change: AtomicU64::new(0),
            last_sample: AtomicU64::new(0),
            cpu_time_at_last_sample: AtomicU64::new(0),
            created_at: Instant::now(),
        }
    }

    /// The application is called on this thread.
    pub fn on_call_begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// The application has returned.
    pub fn on_call_end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        if self.is_cpu_bound.load(Ordering::Relaxed) {
            self.record_change(Instant::now());
        }
    }

    /// A thread with a request has the GIL, by force or because it was free.
    pub fn on_attached(&self, is_forced: bool, now: Instant) {
        if is_forced || self.is_cpu_bound.load(Ordering::Relaxed) {
            self.is_cpu_bound.store(is_forced, Ordering::Relaxed);
            self.record_change(now);
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
    pub fn admits_next_at(&self) -> Option<Instant> {
        let is_saturated =
            self.is_cpu_bound.load(Ordering::Relaxed) && self.running.load(Ordering::Relaxed) > 1;
        let last = Duration::from_micros(self.last_change.load(Ordering::Relaxed));
        is_saturated.then(|| self.created_at + last + MAX_WAIT)
    }

    /// Samples the CPU time of the process, while the backlog is not empty; returns when to call this again.
    ///
    /// A call that waits counts as running, too. Where the CPU was idle for half of a millisecond, the running calls
    /// are waiting, and holding a request back would only leave the CPU idle: eight clients of a 10 ms wait beside two
    /// of 5 ms of Python got 324 and 117 answers a second, and 419 and 236 without waiting for each other.
    pub fn sample(&self, now: Instant, used: Duration) -> Instant {
        let now_micros = self.micros(now);
        let elapsed = now_micros.saturating_sub(self.last_sample.load(Ordering::Relaxed));
        let interval = SAMPLE_EVERY.as_micros() as u64;
        if elapsed >= interval {
            let used = used.as_micros() as u64;
            let before = self.cpu_time_at_last_sample.swap(used, Ordering::Relaxed);
            self.last_sample.store(now_micros, Ordering::Relaxed);
            // A much longer interval began while the backlog was empty, and shows nothing about the present.
            if elapsed < 4 * interval && used.saturating_sub(before) < elapsed / 2 {
                self.is_cpu_bound.store(false, Ordering::Relaxed);
            }
        }
        now + SAMPLE_EVERY
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.created_at).as_micros() as u64
    }

    fn record_change(&self, now: Instant) {
        self.last_change.store(self.micros(now), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_only_for_two_cpu_bound_calls() {
        let saturation = CpuSaturation::new();
        let now = Instant::now();
        saturation.on_attached(true, now);
        for (running, waits) in [(0, false), (1, false), (2, true), (3, true)] {
            while saturation.running.load(Ordering::Relaxed) < running {
                saturation.on_call_begin();
            }
            assert_eq!(
                saturation.admits_next_at().is_some(),
                waits,
                "{running} running"
            );
        }
        assert!(saturation.admits_next_at().unwrap() <= now + MAX_WAIT);
        saturation.on_attached(false, now);
        assert!(
            saturation.admits_next_at().is_none(),
            "the interpreter was free"
        );
    }

    #[test]
    fn calls_that_leave_the_cpu_idle_delay_no_request() {
        // Wall and CPU milliseconds at each sample, and whether a request still has to wait.
        let cases: [(&[(u64, u64)], bool); 4] = [
            (&[(1, 1), (2, 2), (3, 3)], true),
            (&[(1, 1), (2, 1)], false),
            (&[(1, 1), (1, 1)], true),
            (&[(1, 1), (9, 1), (10, 2)], true),
        ];
        for (samples, waits) in cases {
            let saturation = CpuSaturation::new();
            (0..3).for_each(|_| saturation.on_call_begin());
            saturation.on_attached(true, saturation.created_at);
            for &(clock, processor) in samples {
                let now = saturation.created_at + Duration::from_millis(clock);
                saturation.sample(now, Duration::from_millis(processor));
            }
            assert_eq!(saturation.admits_next_at().is_some(), waits, "{samples:?}");
        }
    }

    #[test]
    fn each_call_that_ends_restarts_the_bounded_wait() {
        let saturation = CpuSaturation::new();
        (0..3).for_each(|_| saturation.on_call_begin());
        saturation.on_attached(true, Instant::now());
        let first = saturation.admits_next_at().unwrap();
        saturation.on_call_end();
        let second = saturation.admits_next_at().unwrap();
        assert!(second >= first && second <= Instant::now() + MAX_WAIT);
        saturation.on_call_end();
        assert!(saturation.admits_next_at().is_none());
    }
}
