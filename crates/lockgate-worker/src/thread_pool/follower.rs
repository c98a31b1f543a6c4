//! How threads that do not lead wait: parked, or as follower, watching the running call.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::ThreadPool;

use crate::os::sleep_exactly;

/// Ticks without a call after which the follower sleeps until it is woken.
const DEEP_AFTER: u32 = 50;

/// A deep sleep is bounded, so that a lost wake-up would delay the service by 100 ms and not stop it.
const MAX_DEEP_SLEEP: Duration = Duration::from_millis(100);

impl ThreadPool {
    /// Sleeps until this thread becomes the follower (true) or has to end (false): the worker is over, or the thread
    /// was idle for `thread_idle_timeout`. The last thread parked is the first one woken, so the surplus of a burst
    /// ends even while requests keep arriving.
    pub fn wait_parked(&self) -> bool {
        let me = thread::current().id();
        let ends_at = self.idle_timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.is_over() {
                return false;
            }
            let mut state = self.lock();
            if state
                .follower
                .as_ref()
                .is_some_and(|follower| follower.id() == me)
            {
                return true;
            }
            let left = ends_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && state.threads > self.initial_threads() {
                state.parked.retain(|thread| thread.id() != me);
                state.threads -= 1;
                return false;
            }
            drop(state);
            match (left, self.idle_timeout) {
                // It is one of the last two threads now, and may not stay one of them.
                (Some(Duration::ZERO), Some(timeout)) => thread::park_timeout(timeout),
                (Some(left), _) => thread::park_timeout(left),
                (None, _) => thread::park(),
            }
        }
    }

    /// Sleeps until the event loop should be taken from a call that has outlived a tick, or is expected to. False when
    /// the worker is over. `tried` is the call whose event loop turned out not to be free: that call is given a full
    /// tick.
    pub fn wait_as_follower(&self, tried: &mut u64) -> bool {
        set_timer_slack();
        let mut quiet_ticks = 0;
        let mut seen_calls = self.last_call.load(Ordering::Relaxed);
        loop {
            if self.is_over() {
                return false;
            }
            let call = self.parking.call();
            if self.hand_off.promotes_early() {
                if call != 0 && call != *tried {
                    *tried = call;
                    return true;
                }
                if call == 0 {
                    self.sleep_deeply();
                    continue;
                }
            }
            self.sleep_a_tick(call);
            if call != 0 && self.parking.call() == call {
                return true;
            }
            let calls = self.last_call.load(Ordering::Relaxed);
            if calls != seen_calls {
                quiet_ticks = 0;
                seen_calls = calls;
                self.hand_off.record_quiet_tick();
                continue;
            }
            quiet_ticks += 1;
            if quiet_ticks > DEEP_AFTER {
                self.sleep_deeply();
                // Woken by the time limit alone, it sleeps again after one check.
                quiet_ticks = DEEP_AFTER;
                self.hand_off.record_pause();
            }
        }
    }

    /// The follower has the event loop now and is no longer the follower.
    pub fn stop_following(&self) {
        let mut state = self.lock();
        self.set_follower(&mut state, None);
    }

    fn sleep_a_tick(&self, call: u64) {
        let until = Instant::now() + self.hand_off.tick();
        loop {
            if call != 0 && self.promote.load(Ordering::SeqCst) == call || self.is_over() {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn sleep_deeply(&self) {
        self.parking.sleep_deeply(|| {
            if !self.is_over() {
                thread::park_timeout(MAX_DEEP_SLEEP);
            }
        });
    }
}

/// Once per thread: by default a sleep may be late by as much as a short tick.
fn set_timer_slack() {
    thread_local! {
        static IS_SET: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_SET.replace(true) {
        sleep_exactly();
    }
}
