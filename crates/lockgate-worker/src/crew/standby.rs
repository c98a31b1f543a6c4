//! How a thread that does not lead spends its time: asleep, or with an eye on the running call. Knows no request.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Crew;

/// Ticks without a single call after which the standby sleeps until it is woken.
const DEEP_AFTER: u32 = 50;

/// A deep sleep ends by itself, so that a lost wake-up would cost a tenth of a second and not the service.
const BELT: Duration = Duration::from_millis(100);

impl Crew {
    /// Sleeps until this thread is made the standby (true), or has to end (false): the worker is over, or the thread was
    /// idle for `thread_idle_timeout`. The last thread parked is the first one woken, so the surplus of a burst ends also
    /// when requests keep coming.
    pub fn wait_parked(&self) -> bool {
        let me = thread::current().id();
        let ends_at = self.idle_timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.is_over() {
                return false;
            }
            let mut roster = self.roster();
            if roster
                .standby
                .as_ref()
                .is_some_and(|standby| standby.id() == me)
            {
                return true;
            }
            let left = ends_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && roster.threads > self.first_threads() {
                roster.parked.retain(|thread| thread.id() != me);
                roster.threads -= 1;
                return false;
            }
            drop(roster);
            match (left, self.idle_timeout) {
                // One of the last two: it may not stay one of them.
                (Some(Duration::ZERO), Some(timeout)) => thread::park_timeout(timeout),
                (Some(left), _) => thread::park_timeout(left),
                (None, _) => thread::park(),
            }
        }
    }

    /// Sleeps until the lane should be taken from a call that has outlived a tick, or that is expected to. False when
    /// the worker is over. `tried` is the call whose lane was not free after all: that one is given its tick.
    pub fn stand_by(&self, tried: &mut u64) -> bool {
        sharpen_sleep();
        let mut quiet_ticks = 0;
        let mut seen_calls = self.last_call.load(Ordering::Relaxed);
        loop {
            if self.is_over() {
                return false;
            }
            let call = self.watch.call();
            if self.pace.do_calls_wait() {
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
            if call != 0 && self.watch.call() == call {
                return true;
            }
            let calls = self.last_call.load(Ordering::Relaxed);
            if calls != seen_calls {
                quiet_ticks = 0;
                seen_calls = calls;
                self.pace.note_quiet_tick();
                continue;
            }
            quiet_ticks += 1;
            if quiet_ticks > DEEP_AFTER {
                self.sleep_deeply();
                // Woken by its belt alone, it goes back to sleep after one look.
                quiet_ticks = DEEP_AFTER;
                self.pace.note_pause();
            }
        }
    }

    /// The standby has the lane now and stands by no longer.
    pub fn leave_standby(&self) {
        let mut roster = self.roster();
        self.seat_standby(&mut roster, None);
    }

    fn sleep_a_tick(&self, call: u64) {
        let until = Instant::now() + self.pace.tick();
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
        self.watch.sleep_deeply(|| {
            if !self.is_over() {
                thread::park_timeout(BELT);
            }
        });
    }
}

/// The kernel may round a thread's sleeps up by its timer slack, 50 µs by default: as much as a short tick. Once a thread.
fn sharpen_sleep() {
    thread_local! {
        static IS_SHARP: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_SHARP.replace(true) {
        #[cfg(target_os = "linux")]
        // Refused, the tick is only less exact.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}
