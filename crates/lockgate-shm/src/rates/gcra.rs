//! The generic cell rate algorithm (ITU-T I.371): whether a request is within a rate, decided from one number.
//!
//! The number is the theoretical arrival time: the moment at which all that was counted is paid off. In any time `t` at
//! most `burst + t / interval` requests are allowed.

use std::num::NonZeroU32;
use std::time::Duration;

/// A moment or a time in units of 64 ns, which fits 52 bits for nine years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub(super) u64);

/// A rate and its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GcraRate {
    /// Ticks from one request to the next at the even rate.
    interval: u64,
    burst: u32,
}

/// See [`decide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The request is within the rate.
    Allowed,
    /// It is not; a request this much later is.
    Limited {
        /// More than zero.
        retry_after: Duration,
    },
}

const NANOS_OF_TICK: u64 = 64;
/// Ticks of the longest interval: thirteen days.
const MOST_INTERVAL: u64 = (1 << INTERVAL_BITS) - 1;
const INTERVAL_BITS: u32 = 44;
/// The largest burst.
const MOST_BURST: u32 = (1 << BURST_BITS) - 1;
const BURST_BITS: u32 = 20;
/// The longest time in which a burst is paid off: a quarter of a year.
const MOST_TOLERANCE: u64 = 1 << 46;
/// How many bursts other hosts may have counted: bounds what a wrong number does.
const MOST_REMOTE_BURSTS: u64 = 256;

impl Tick {
    /// Of nanoseconds.
    #[inline]
    pub fn at(nanos: u64) -> Self {
        Self(nanos / NANOS_OF_TICK)
    }

    /// The time from `earlier` to this moment; none if that is later.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// In nanoseconds.
    pub fn nanos(self) -> u64 {
        self.0.saturating_mul(NANOS_OF_TICK)
    }
}

impl GcraRate {
    /// `count` requests in each `period`, of which `burst` may come at once. An interval is rounded up to whole ticks,
    /// so more than the rate is never allowed.
    pub fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval = nanos.div_ceil(u64::from(count.get()).saturating_mul(NANOS_OF_TICK));
        Self {
            interval: interval.clamp(1, MOST_INTERVAL),
            burst: burst.get().min(MOST_BURST),
        }
    }

    /// In one word, which is not 0.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.burst) << INTERVAL_BITS) | self.interval
    }

    /// From such a word; `None` if it is none.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let rate = Self {
            interval: bits & MOST_INTERVAL,
            burst: u32::try_from(bits >> INTERVAL_BITS).ok()?,
        };
        (rate.interval > 0 && rate.burst > 0).then_some(rate)
    }

    /// How far a theoretical arrival time may be ahead of now.
    #[inline]
    fn tolerance(self) -> u64 {
        (self.interval.saturating_mul(u64::from(self.burst))).min(MOST_TOLERANCE)
    }

    /// The theoretical arrival time after one more request at `now`.
    #[inline]
    pub(super) fn next(self, arrival: Tick, now: Tick) -> Tick {
        Tick(arrival.0.max(now.0).saturating_add(self.interval))
    }

    /// Nanoseconds from one request to the next at the even rate.
    pub fn interval(self) -> u64 {
        Tick(self.interval).nanos()
    }

    /// The theoretical arrival time when all hosts together are paid off `owed` after `now`, and `pending` requests of
    /// this host with it. `None`: it is not later than the one that is known.
    pub(super) fn raised(self, arrival: Tick, owed: Tick, pending: u64, now: Tick) -> Option<Tick> {
        let debt = (self.interval.saturating_mul(pending)).saturating_add(owed.0);
        let latest = self.tolerance().saturating_mul(MOST_REMOTE_BURSTS);
        let raised = now.0.saturating_add(debt.min(latest).min(MOST_TOLERANCE));
        (raised > arrival.0).then_some(Tick(raised))
    }

    /// How much of its burst a key has used, in parts of 65,536: 0 if all is paid off.
    pub(super) fn used(self, arrival: Tick, now: Tick) -> u64 {
        let debt = arrival.0.saturating_sub(now.0).min(MOST_TOLERANCE);
        (debt << 16) / self.tolerance().max(1)
    }
}

/// Whether a request at `now` is within the rate, if what was counted so far is paid off at `arrival`.
#[inline]
pub fn decide(arrival: Tick, now: Tick, rate: GcraRate) -> Decision {
    let latest = now.0.saturating_add(rate.tolerance());
    match rate.next(arrival, now).0.checked_sub(latest) {
        None | Some(0) => Decision::Allowed,
        Some(early) => Decision::Limited {
            retry_after: Duration::from_nanos(Tick(early).nanos()),
        },
    }
}
