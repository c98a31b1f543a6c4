//! The hand-off policy: how long a call may keep the event loop before the follower takes it, learnt from earlier
//! calls.
//!
//! The fields are atomics because the follower reads what the leader writes; each is a hint, and no order between them
//! matters.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The shortest tick, used while calls are being promoted. With 64 clients of a view that waits 10 ms, 50–100 µs served
/// 98 % of what the clients allow, 200 µs 60 % (prototype, design.md §4).
const SHORTEST_TICK: u32 = 50;

/// The tick after a pause, and for a call of unknown length.
const USUAL_TICK: u32 = 1_000;

/// The tick after calls have been short for a long time. On a virtual machine a wake-up costs 17 µs and the leader's
/// caches: a thousand a second cost 3 % of Flask's throughput, two hundred nothing measurable.
const LONGEST_TICK: u32 = 5_000;

/// A tick is never shorter than this many usual calls: taking the event loop from a CPU-bound call gains nothing.
/// Without this, Flask's calls of 50 µs were promoted by the shortest tick: 54.5 µs of CPU a request instead of 51.
const USUAL_CALLS_PER_TICK: u32 = 4;

/// The share that stands for all calls.
const ALL_CALLS: u32 = 1 << 16;

/// When more than this share of calls is promoted, the follower does not wait for the tick (early promotion): it sleeps
/// until a call begins and takes the event loop at once. A view that waits 10 ms then costs 22 µs of CPU instead of 53;
/// where most calls are short, this would wake the follower for each of them.
const EARLY_PROMOTION_FROM: u32 = ALL_CALLS / 2;

/// See the module documentation. Times are in microseconds unless the name says otherwise.
#[derive(Debug)]
pub struct HandOffPolicy {
    tick: AtomicU32,
    /// The share of calls that were promoted; [`ALL_CALLS`] is all.
    promoted_share: AtomicU32,
    /// A moving mean of calls that were not promoted.
    usual_call_nanos: AtomicU32,
}

impl HandOffPolicy {
    pub fn new() -> Self {
        Self {
            tick: AtomicU32::new(USUAL_TICK),
            promoted_share: AtomicU32::new(0),
            usual_call_nanos: AtomicU32::new(0),
        }
    }

    /// How long a call may run before it is promoted.
    pub fn tick(&self) -> Duration {
        Duration::from_micros(u64::from(self.tick.load(Ordering::Relaxed)))
    }

    /// Whether most of the latest calls were promoted.
    pub fn promotes_early(&self) -> bool {
        self.promoted_share.load(Ordering::Relaxed) > EARLY_PROMOTION_FROM
    }

    /// A call was promoted: others may follow soon. Only called by the leader.
    pub fn record_promotion(&self) {
        let usual = self.usual_call_nanos.load(Ordering::Relaxed) / 1000;
        let tick = (usual * USUAL_CALLS_PER_TICK).clamp(SHORTEST_TICK, USUAL_TICK);
        self.tick.store(tick, Ordering::Relaxed);
        self.move_promoted_share(ALL_CALLS);
    }

    /// A call was promoted and still held the GIL: it is CPU-bound, and the thread that took over could only wait.
    /// Django's calls of 1.3 ms, promoted as if they waited: 394 requests a second instead of 746.
    pub fn record_cpu_bound(&self) {
        let tick = self.tick.load(Ordering::Relaxed);
        self.tick
            .store((tick * 2).min(LONGEST_TICK), Ordering::Relaxed);
        self.move_promoted_share(0);
    }

    /// A call ended before it was promoted. Only called by the leader.
    pub fn record_short_call(&self, taken: Duration) {
        self.move_promoted_share(0);
        let longest = Duration::from_micros(u64::from(USUAL_TICK));
        let taken = taken.min(longest).as_nanos() as u32;
        let usual = self.usual_call_nanos.load(Ordering::Relaxed);
        // Over about 16 calls; rounding keeps it a little low, which only shortens the tick.
        self.usual_call_nanos
            .store(usual - usual / 16 + taken / 16, Ordering::Relaxed);
    }

    /// A tick passed in which calls ended and none was promoted.
    pub fn record_quiet_tick(&self) {
        let tick = self.tick.load(Ordering::Relaxed);
        self.tick
            .store((tick + tick / 8 + 1).min(LONGEST_TICK), Ordering::Relaxed);
    }

    /// There were no calls for a while: the next ones may be of another kind.
    pub fn record_pause(&self) {
        self.tick.fetch_min(USUAL_TICK, Ordering::Relaxed);
    }

    /// A moving mean over about 32 calls.
    fn move_promoted_share(&self, towards: u32) {
        let share = self.promoted_share.load(Ordering::Relaxed);
        self.promoted_share
            .store(share - share / 32 + towards / 32, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(hand_off: &HandOffPolicy) -> u128 {
        hand_off.tick().as_micros()
    }

    #[test]
    fn the_tick_falls_with_a_promotion_and_grows_back_slowly() {
        let hand_off = HandOffPolicy::new();
        hand_off.record_promotion();
        assert_eq!(micros(&hand_off), 50);
        let mut ticks = 0;
        while micros(&hand_off) < 5_000 {
            hand_off.record_quiet_tick();
            ticks += 1;
        }
        assert!((30..60).contains(&ticks), "{ticks}");
        hand_off.record_quiet_tick();
        assert_eq!(micros(&hand_off), 5_000);
        hand_off.record_pause();
        assert_eq!(micros(&hand_off), 1_000);
    }

    #[test]
    fn cpu_bound_calls_are_soon_no_longer_promoted() {
        let hand_off = HandOffPolicy::new();
        (0..40).for_each(|_| hand_off.record_promotion());
        assert!(hand_off.promotes_early());
        (0..40).for_each(|_| hand_off.record_cpu_bound());
        assert!(!hand_off.promotes_early());
        assert_eq!(micros(&hand_off), 5_000);
    }

    #[test]
    fn the_tick_is_longer_than_usual_calls_but_not_than_a_millisecond() {
        for (call, tick) in [(1, 50..=50), (60, 200..=240), (5_000, 900..=1_000)] {
            let call = Duration::from_micros(call);
            let hand_off = HandOffPolicy::new();
            for _ in 0..200 {
                hand_off.record_short_call(call);
            }
            hand_off.record_promotion();
            assert!(
                tick.contains(&micros(&hand_off)),
                "{call:?}: {}",
                micros(&hand_off)
            );
        }
    }

    #[test]
    fn promotion_is_early_when_most_recent_calls_were_promoted() {
        let hand_off = HandOffPolicy::new();
        for round in 0..40 {
            assert_eq!(hand_off.promotes_early(), round > 21, "{round}");
            hand_off.record_promotion();
        }
        // One call in ten waits, as where some views wait and most do not.
        for _ in 0..40 {
            (0..9).for_each(|_| hand_off.record_short_call(Duration::from_micros(10)));
            hand_off.record_promotion();
        }
        assert!(!hand_off.promotes_early());
    }
}
