//! Rates give exactly what their definition gives, also when threads count at the same time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lockgate_shm::rates::{Decision, GcraRate, RatedKey, ShownKey};
use lockgate_shm::{Rates, RatesPlan};
use proptest::prelude::*;

const START: u64 = 1_000_000_000;
const PLAN: RatesPlan = RatesPlan {
    memory: 1 << 18,
    workers: 8,
};

fn table() -> Rates {
    let words = Vec::leak((0..PLAN.words()).map(|_| AtomicU64::new(0)).collect());
    Rates::new(words, &PLAN, (5, 6)).unwrap()
}

fn rate(count: u32, period: Duration, burst: u32) -> GcraRate {
    let [count, burst] = [count, burst].map(|number| NonZeroU32::new(number).unwrap());
    GcraRate::new(count, period, burst)
}

fn key(rates: &Rates, number: u8, rate: GcraRate) -> RatedKey {
    RatedKey {
        hash: rates.key_hash(1, &[number]),
        rate,
        scope: 1,
        shown: ShownKey::Hash,
    }
}

/// Whether one more request at `now` is allowed after those at `allowed`: in no time that ends now were there more than
/// the burst and one for each interval. All moments are multiples of a tick.
fn is_allowed(allowed: &[u64], now: u64, interval: u64, burst: u64) -> bool {
    (1..).zip(allowed.iter().rev()).all(|(before, moment)| {
        let with_this_one = before + 1;
        with_this_one <= burst || (with_this_one - burst) * interval <= now - moment
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Requests of some keys at random moments: each is decided as the definition demands, and the wait that a refused
    /// one gets is the shortest that is enough.
    #[test]
    fn a_rate_is_what_its_definition_says(
        count in 1..20_u32,
        millis in 1..5000_u64,
        burst in 1..8_u32,
        requests in prop::collection::vec((0..4_u8, prop_oneof![3 => 0..20_000_000_u64, 1 => 0..3_000_000_000_u64]), 1..120),
    ) {
        let rates = table();
        let rate = rate(count, Duration::from_millis(millis), burst);
        let interval = rate.interval();
        // Rounded up by less than a tick: never more often than the operator allows.
        let exact = millis * 1_000_000;
        let counted = interval * u64::from(count);
        prop_assert!((exact..exact + 64 * u64::from(count)).contains(&counted));
        let mut allowed = BTreeMap::<u8, Vec<u64>>::new();
        let mut now = START;
        for (number, gap) in requests {
            now += gap / 64 * 64;
            let key = key(&rates, number, rate);
            let before = allowed.entry(number).or_default();
            let expected = is_allowed(before, now, interval, u64::from(burst));
            prop_assert_eq!(rates.examine(&key, now) == Decision::Allowed, expected);
            match rates.count(&key, now, false) {
                Decision::Allowed => {
                    prop_assert!(expected);
                    before.push(now);
                }
                Decision::Limited { retry_after } => {
                    prop_assert!(!expected);
                    let later = now + u64::try_from(retry_after.as_nanos()).unwrap();
                    prop_assert_eq!(rates.examine(&key, later), Decision::Allowed);
                    prop_assert_ne!(rates.examine(&key, later - 64), Decision::Allowed);
                }
            }
        }
    }
}

/// Threads that count the same keys while they evict each other's: none gets more than the burst.
#[test]
#[allow(clippy::disallowed_methods)] // Threads that run at the same time are what is tested.
fn threads_that_count_at_once_are_allowed_the_burst_together() {
    for round in 0..20_u64 {
        let rates = table();
        let rate = rate(10, Duration::from_secs(86_400), 10);
        let now = START + round;
        let allowed: Vec<[u64; 8]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let mut allowed = [0; 8];
                        for _ in 0..20 {
                            for (number, count) in (0..).zip(&mut allowed) {
                                let decision = rates.count(&key(&rates, number, rate), now, true);
                                *count += u64::from(decision == Decision::Allowed);
                            }
                        }
                        allowed
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for number in 0..8 {
            let sum: u64 = allowed.iter().map(|one| one[number]).sum();
            assert_eq!(sum, 10, "key {number}");
        }
    }
}

/// Threads that take and give back places: never more than there are, and none is lost.
#[test]
#[allow(clippy::disallowed_methods)] // Threads that run at the same time are what is tested.
fn threads_never_hold_more_places_than_there_are() {
    let rates = table();
    let key = rates.key_hash(1, b"a");
    let held = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for slot in 0..4 {
            let held = &held;
            rates.enter(slot, 100 + u32::try_from(slot).unwrap());
            scope.spawn(move || {
                for _ in 0..20_000 {
                    if let Some(place) = rates.acquire(key, slot, 3) {
                        let before = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert!(before < 3, "{before}");
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        rates.release(place);
                    }
                }
            });
        }
    });
    assert_eq!(rates.in_flight(key), 0);
}
