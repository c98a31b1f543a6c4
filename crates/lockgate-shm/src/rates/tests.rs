//! Rate limits in the memory of one process.

use super::*;
use std::num::NonZeroU32;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn table(memory: usize, workers: usize) -> Rates {
    let plan = RatesPlan { memory, workers };
    Rates::new(words(&plan), &plan, (7, 8)).unwrap()
}

fn words(plan: &RatesPlan) -> &'static [AtomicU64] {
    Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect())
}

fn rate(count: u32, seconds: u64, burst: u32) -> GcraRate {
    let [count, burst] = [count, burst].map(|number| NonZeroU32::new(number).unwrap());
    GcraRate::new(count, Duration::from_secs(seconds), burst)
}

fn key(rates: &Rates, number: u64, rate: GcraRate) -> RatedKey {
    let scope = scope(&[b"login", &rate.to_bits().to_le_bytes()]);
    RatedKey {
        hash: rates.key_hash(scope, &number.to_le_bytes()),
        rate,
        scope,
        shown: ShownKey::V4(u32::try_from(number).unwrap().to_be_bytes()),
    }
}

fn is_counted(rates: &Rates, key: &RatedKey, now: u64) -> bool {
    rates.count(key, now, true) == Decision::Allowed
}

#[test]
fn a_burst_is_allowed_and_then_the_even_rate() {
    let rates = table(1 << 16, 2);
    let key = key(&rates, 1, rate(5, 60, 5));
    let start = 1000 * SECOND;
    for _ in 0..5 {
        assert_eq!(rates.examine(&key, start), Decision::Allowed);
        assert!(is_counted(&rates, &key, start));
    }
    let refused = Decision::Limited {
        retry_after: Duration::from_secs(12),
    };
    assert_eq!(rates.examine(&key, start), refused);
    assert_eq!(rates.count(&key, start, true), refused);
    for (later, expected) in [
        (11, false),
        (12, true),
        (13, false),
        (24, true),
        (25, false),
    ] {
        assert_eq!(
            is_counted(&rates, &key, start + later * SECOND),
            expected,
            "{later}"
        );
    }
    // All paid off: the burst again, not more.
    let much_later = start + 3600 * SECOND;
    let allowed = (0..20)
        .filter(|_| is_counted(&rates, &key, much_later))
        .count();
    assert_eq!(allowed, 5);
}

#[test]
fn a_rate_in_one_word_is_the_same_rate() {
    for each in [
        rate(1, 1, 1),
        rate(5, 60, 5),
        rate(1, 86_400, 1),
        rate(1_000_000, 1, 1000),
    ] {
        assert_eq!(GcraRate::from_bits(each.to_bits()), Some(each));
    }
    // Out of bounds is the nearest that fits.
    let large = rate(u32::MAX, 1, u32::MAX);
    assert_eq!(GcraRate::from_bits(large.to_bits()), Some(large));
    assert_eq!(GcraRate::from_bits(0), None);
}

#[test]
fn keys_are_shown_as_they_were_given() {
    for shown in [
        ShownKey::Hash,
        ShownKey::Unix,
        ShownKey::Everyone,
        ShownKey::V4([0, 0, 0, 0]),
        ShownKey::V4([255; 4]),
        ShownKey::V4([192, 0, 2, 1]),
        ShownKey::V6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1]),
        ShownKey::V6([0xff; 8]),
    ] {
        assert_eq!(ShownKey::from_bits(shown.to_bits()), shown);
    }
    // Loopback, ::1, has a prefix that is no prefix of the internet.
    assert_eq!(
        ShownKey::from_bits(ShownKey::V6([0; 8]).to_bits()),
        ShownKey::Hash
    );
}

#[test]
fn memory_of_another_plan_is_refused_and_of_the_same_continues() {
    let plan = RatesPlan {
        memory: 1 << 16,
        workers: 4,
    };
    let words = words(&plan);
    let first = Rates::new(words, &plan, (1, 2)).unwrap();
    let known = key(&first, 1, rate(1, 60, 1));
    assert!(is_counted(&first, &known, SECOND));
    let again = Rates::new(words, &plan, (3, 4)).unwrap();
    assert_eq!(again.seed(), (1, 2));
    assert!(!is_counted(&again, &known, SECOND));
    let other = RatesPlan { workers: 2, ..plan };
    assert!(Rates::new(words, &other, (1, 2)).is_none());
    assert!(Rates::new(&words[1..], &plan, (1, 2)).is_none());
}

#[test]
fn a_limited_key_outlives_many_others() {
    let rates = table(1 << 16, 2);
    let capacity = rates.counts().capacity;
    let slow = rate(5, 60, 5);
    let limited = key(&rates, 0, slow);
    let now = SECOND;
    (0..5).for_each(|_| assert!(is_counted(&rates, &limited, now)));
    // Each of them comes once, as the addresses of one attacker would.
    for number in 1..capacity * 100 {
        assert!(is_counted(&rates, &key(&rates, number, slow), now));
    }
    assert!(!is_counted(&rates, &limited, now));
    assert!(rates.counts().evicted > capacity);
    // A window that is longer does not weigh more.
    for number in 1..capacity * 100 {
        assert!(is_counted(
            &rates,
            &key(&rates, number, rate(100, 3600, 100)),
            now
        ));
    }
    assert!(!is_counted(&rates, &limited, now));
}

#[test]
fn what_is_paid_off_goes_first() {
    let rates = table(1 << 16, 2);
    let capacity = rates.counts().capacity;
    let fast = rate(5, 1, 5);
    for number in 0..capacity * 4 {
        // At most one key a set owes something at the same time.
        is_counted(&rates, &key(&rates, number, fast), number * 2 * SECOND);
    }
    assert_eq!(rates.counts().evicted, 0);
}

#[test]
fn counts_are_taken_once() {
    let here = table(1 << 16, 2);
    let (slow, now) = (rate(5, 60, 5), 500 * SECOND);
    let keys = [1, 2, 3].map(|number| key(&here, number, slow));
    for (key, times) in keys.iter().zip([1, 3, 5]) {
        (0..times).for_each(|_| assert!(is_counted(&here, key, now)));
    }
    assert!(here.count(&key(&here, 4, slow), now, false) == Decision::Allowed);
    let mut taken = Vec::new();
    let later = now + 6 * SECOND;
    assert_eq!(here.take_local(100, later, &mut taken), 3);
    assert_eq!(here.take_local(100, later, &mut Vec::new()), 0);
    taken.sort_by_key(|counted| counted.count);
    for ((counted, key), count) in taken.iter().zip(&keys).zip([1, 3, 5]) {
        assert_eq!((counted.key, counted.rate), (key.hash, slow));
        assert_eq!(counted.count, count);
        assert_eq!(counted.owed, (count * 12 - 6) * SECOND);
        assert_eq!(KeyHash::from_bytes(counted.key.to_bytes()), counted.key);
    }
    assert_eq!(slow.interval(), 12 * SECOND);
}

#[test]
fn what_all_hosts_have_counted_raises_what_is_owed() {
    // A second before, or not at all; owed by all hosts; after the exchange; then the wait for the next request.
    for (counted, owed, pending, wait) in [
        (1, 12, 0, 0),
        (1, 60, 0, 12),
        (1, 120, 0, 72),
        // What was counted after the exchange began comes on top.
        (1, 60, 1, 24),
        (1, 36, 2, 12),
        // It never lowers what was counted here.
        (5, 12, 0, 12),
        // A wrong number does not last for ever.
        (1, u64::MAX / SECOND, 0, 60 * 256 - 48),
    ] {
        let rates = table(1 << 16, 2);
        let (key, now) = (key(&rates, 1, rate(5, 60, 5)), 500 * SECOND);
        (0..counted).for_each(|_| assert!(is_counted(&rates, &key, now)));
        let mut taken = Vec::new();
        rates.take_local(1, now, &mut taken);
        (0..pending).for_each(|_| assert!(is_counted(&rates, &key, now)));
        rates.raise(&taken[0], owed * SECOND, now);
        let expected = match wait {
            0 => Decision::Allowed,
            seconds => Decision::Limited {
                retry_after: Duration::from_secs(seconds),
            },
        };
        assert_eq!(
            rates.examine(&key, now),
            expected,
            "{counted} {owed} {pending}"
        );
        // What was raised was not counted here.
        assert_eq!(
            rates.take_local(1, now, &mut taken),
            usize::from(pending > 0)
        );
    }
}

#[test]
fn a_key_that_was_forgotten_is_not_raised() {
    let rates = table(1 << 16, 2);
    let (key, now) = (key(&rates, 1, rate(5, 60, 5)), 500 * SECOND);
    let mut taken = Vec::new();
    assert!(is_counted(&rates, &key, now));
    rates.take_local(1, now, &mut taken);
    rates.entries.clear();
    rates.raise(&taken[0], 600 * SECOND, now);
    assert_eq!(rates.examine(&key, now), Decision::Allowed);
}

#[test]
fn the_exchange_with_other_hosts_is_seen_by_all_processes() {
    let rates = table(1 << 16, 2);
    assert_eq!(rates.sharing(), Sharing::default());
    rates.set_connected(true, 3);
    rates.record_exchange(5);
    rates.record_exchange(7);
    let mut expected = Sharing {
        is_connected: true,
        changed: 3,
        exchanges: 2,
        exchanged: 7,
    };
    assert_eq!(rates.sharing(), expected);
    rates.set_connected(false, 9);
    (expected.is_connected, expected.changed) = (false, 9);
    assert_eq!(rates.sharing(), expected);
}

#[test]
fn another_seed_forgets_everything() {
    let rates = table(1 << 16, 2);
    let old = key(&rates, 1, rate(1, 60, 1));
    assert!(is_counted(&rates, &old, SECOND) && !is_counted(&rates, &old, SECOND));
    rates.adopt_seed((7, 8));
    assert!(!is_counted(&rates, &old, SECOND), "it is the same seed");
    rates.adopt_seed((9, 9));
    let new = key(&rates, 1, old.rate);
    assert_ne!(new.hash, old.hash);
    assert!(is_counted(&rates, &new, SECOND));
}

#[test]
fn refusals_are_shown_by_key() {
    let rates = table(1 << 16, 2);
    let (first, second) = (
        key(&rates, 1, rate(1, 60, 1)),
        key(&rates, 2, rate(1, 60, 1)),
    );
    assert!(is_counted(&rates, &first, 64 * SECOND) && is_counted(&rates, &second, 64 * SECOND));
    assert_eq!(rates.offenders().count(), 0);
    for seconds in [70, 80, 90] {
        rates.record_refusal(&second, seconds * SECOND);
    }
    let all: Vec<_> = rates.offenders().collect();
    assert_eq!(
        all,
        [Offender {
            scope: second.scope,
            key: second.hash,
            shown: second.shown,
            refused: 3,
            since: 70 * SECOND,
        }]
    );
    // A refusal does not make the wait longer.
    assert!(is_counted(&rates, &second, 124 * SECOND));
}

#[test]
fn places_are_shared_by_all_workers_and_freed_by_their_death() {
    let rates = table(1 << 18, 8);
    let key = rates.key_hash(1, b"a");
    for slot in 0..8 {
        rates.enter(slot, 100 + slot as u32);
    }
    let places: Vec<_> = (0..8)
        .map(|slot| rates.acquire(key, slot, 8).unwrap())
        .collect();
    assert_eq!(rates.in_flight(key), 8);
    for slot in 0..8 {
        assert_eq!(rates.acquire(key, slot, 8), None);
    }
    rates.release(places[3]);
    assert_eq!(rates.in_flight(key), 7);
    let again = rates.acquire(key, 5, 8).unwrap();
    rates.release_of_dead(105);
    assert_eq!(rates.in_flight(key), 6);
    // Its requests are gone: what is given back later is not another one's.
    rates.release(again);
    rates.release(places[5]);
    assert_eq!(rates.in_flight(key), 6);
    // The next worker in a slot has nothing in flight, whatever the last one had.
    rates.enter(0, 200);
    assert_eq!(rates.in_flight(key), 5);
    rates.release_of_dead(100);
    assert_eq!(rates.in_flight(key), 5);
    for place in [1, 2, 4, 6, 7] {
        rates.release(places[place]);
    }
    assert_eq!(rates.in_flight(key), 0);
}

#[test]
fn idle_rows_are_used_again_and_without_one_a_request_is_not_limited() {
    let rates = table(4096, 4);
    rates.enter(0, 1);
    for number in 0..1000_u64 {
        let key = rates.key_hash(1, &number.to_le_bytes());
        let place = rates.acquire(key, 0, 1).unwrap();
        assert!(place.is_counted());
        rates.release(place);
    }
    let held = (0..1000_u64).filter(|number| {
        let key = rates.key_hash(2, &number.to_le_bytes());
        rates.acquire(key, 0, 1).unwrap().is_counted()
    });
    let held = held.count() as u64;
    assert!((8..1000).contains(&held));
    assert_eq!(rates.counts().uncounted, 1000 - held);
}

#[test]
fn a_worker_that_has_all_that_can_be_counted_gets_no_more() {
    let rates = table(1 << 16, 4);
    rates.enter(0, 1);
    let key = rates.key_hash(1, b"a");
    // A column has 16 bits, and 256 event loops may add to it at the same moment.
    let places: Vec<_> = (0..65_279)
        .map(|_| rates.acquire(key, 0, u32::MAX).unwrap())
        .collect();
    assert_eq!(rates.acquire(key, 0, u32::MAX), None);
    assert_eq!(rates.in_flight(key), 65_279);
    places.into_iter().for_each(|place| rates.release(place));
    assert_eq!(rates.in_flight(key), 0);
}

#[test]
fn limits_are_counted_by_scope_until_there_are_too_many() {
    let rates = table(1 << 16, 2);
    let long = "ä".repeat(60);
    for (scope, name, is_dry_run) in [
        (5, "login 5/min", false),
        (6, long.as_str(), true),
        (5, "login 5/60s", false),
    ] {
        rates.open_totals(scope, name).unwrap().add(is_dry_run);
    }
    let totals = |scope, name: &str, refused, would_refuse| LimitTotals {
        scope,
        name: name.to_owned(),
        refused,
        would_refuse,
    };
    let all: Vec<_> = rates.totals().collect();
    let expected = [
        totals(5, "login 5/60s", 2, 0),
        totals(6, &"ä".repeat(52), 0, 1),
    ];
    assert_eq!(all, expected);
    let rows = (1..1000).filter(|scope| rates.open_totals(*scope, "").is_some());
    assert_eq!(rows.count(), 256);
}

/// The step that makes an entry another key's is the exchange of its tag: here it is the last one of a process.
#[test]
fn a_process_that_dies_after_a_claim_leaves_nothing_of_the_key_before() {
    let plan = RatesPlan {
        memory: 1 << 12,
        workers: 1,
    };
    let words = words(&plan);
    let rates = Rates::new(words, &plan, (7, 8)).unwrap();
    let slow = rate(5, 86_400, 5);
    let set_of = |key: &RatedKey| tags::set_of(key.hash.place, plan.sets());
    let old = key(&rates, 0, slow);
    for now in [1, 2] {
        let allowed = (0..10).filter(|_| is_counted(&rates, &old, now * SECOND));
        assert_eq!(allowed.count(), if now == 1 { 5 } else { 0 });
    }
    rates.record_refusal(&old, SECOND);
    let mut others = (1..).map(|number| key(&rates, number, slow));
    let new = others.find(|other| set_of(other) == set_of(&old)).unwrap();
    let tag = words
        .iter()
        .find(|word| word.load(Ordering::SeqCst) == old.hash.tag);
    tag.unwrap().store(new.hash.tag, Ordering::SeqCst);
    // Nothing was counted for it, and nothing of the other key is taken for it.
    assert_eq!(rates.offenders().count(), 0);
    assert_eq!(rates.take_local(10, 3 * SECOND, &mut Vec::new()), 0);
    let allowed = (0..10).filter(|_| is_counted(&rates, &new, 3 * SECOND));
    assert_eq!(allowed.count(), 5);
    rates.record_refusal(&new, 4 * SECOND);
    let offender = rates.offenders().next().unwrap();
    assert_eq!((offender.shown, offender.refused), (new.shown, 1));
    assert_eq!(rates.take_local(10, 4 * SECOND, &mut Vec::new()), 1);
}

#[test]
fn a_process_that_was_stopped_while_it_counted_takes_nothing_from_the_key_that_has_its_place() {
    let plan = RatesPlan {
        memory: 1 << 12,
        workers: 1,
    };
    let words = words(&plan);
    let rates = Rates::new(words, &plan, (7, 8)).unwrap();
    let slow = rate(5, 86_400, 5);
    let set_of = |key: &RatedKey| tags::set_of(key.hash.place, plan.sets());
    let old = key(&rates, 0, slow);
    assert!(is_counted(&rates, &old, SECOND));
    let found = rates.entries.find(old.hash).unwrap();
    // Here it is stopped, and another key takes the place and uses up its rate.
    let mut others = (1..).map(|number| key(&rates, number, slow));
    let new = others.find(|other| set_of(other) == set_of(&old)).unwrap();
    let tag = words
        .iter()
        .find(|word| word.load(Ordering::SeqCst) == old.hash.tag);
    tag.unwrap().store(new.hash.tag, Ordering::SeqCst);
    rates.take_local(10, SECOND, &mut Vec::new());
    let allowed = (0..10).filter(|_| is_counted(&rates, &new, SECOND));
    assert_eq!(allowed.count(), 5);
    let later = found.change_arrival(|arrival| Some(slow.next(arrival, Tick::at(SECOND))));
    assert_eq!(later, entries::Change::Gone);
    assert!(!is_counted(&rates, &new, SECOND));
}
