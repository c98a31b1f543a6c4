//! Tests of hosts that share what they count, over a ledger in memory in place of Redis.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lockgate_shm::rates::{Decision, GcraRate, KeyHash, RatedKey, ShownKey, scope};
use lockgate_shm::{Rates, RatesPlan};
use proptest::prelude::*;

use super::exchange::{Answer, Exchange, Increment, Ledger, Seed};
use crate::failure::Failure;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// What Redis does, as the script has it.
#[derive(Default)]
struct Redis {
    now: u64,
    seed: Option<Seed>,
    paid: HashMap<KeyHash, u64>,
    calls: usize,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    LostRequest,
    LostAnswer,
}

type Shared = Rc<RefCell<Redis>>;

impl Ledger for Shared {
    fn add(&mut self, seed: Seed, increments: &[Increment]) -> Result<Answer, Failure> {
        let mut redis = self.borrow_mut();
        let redis = &mut *redis;
        redis.calls += 1;
        let lost = Err(Failure::Unreachable("lost".to_owned()));
        if redis.fault == Some(Fault::LostRequest) {
            return lost;
        }
        if *redis.seed.get_or_insert(seed) != seed {
            return Ok(Answer::OtherSeed(redis.seed.unwrap()));
        }
        let now = redis.now / 1000;
        let owed = increments.iter().map(|increment| {
            let paid = redis.paid.entry(increment.key).or_default();
            *paid = now.max(*paid) + increment.microseconds;
            *paid - now
        });
        let owed = owed.collect();
        match redis.fault {
            Some(_) => lost,
            None => Ok(Answer::Owed(owed)),
        }
    }
}

/// A host, whose clock is ahead of Redis' clock.
struct Host {
    rates: Rates,
    ahead: u64,
    exchange: Option<Exchange>,
    redis: Shared,
}

impl Host {
    fn new(number: u64, redis: &Shared) -> Self {
        let plan = RatesPlan {
            memory: 1 << 16,
            workers: 1,
        };
        let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
        Self {
            rates: Rates::new(words, &plan, (number, number)).unwrap(),
            ahead: (number + 1) * 1000 * SECOND,
            exchange: None,
            redis: Rc::clone(redis),
        }
    }

    fn now(&self) -> u64 {
        self.redis.borrow().now + self.ahead
    }

    fn key(&self, client: u64, rate: GcraRate) -> RatedKey {
        let scope = scope(&[b"login", &rate.to_bits().to_le_bytes()]);
        RatedKey {
            hash: self.rates.key_hash(scope, &client.to_le_bytes()),
            rate,
            scope,
            shown: ShownKey::Everyone,
        }
    }

    fn is_allowed(&self, client: u64, rate: GcraRate) -> bool {
        let decision = (self.rates).count(&self.key(client, rate), self.now(), true);
        decision == Decision::Allowed
    }

    /// Connects if it has no connection, which a failure ends.
    fn exchange(&mut self) -> Result<(), Failure> {
        let now = self.now();
        let mut exchange = match self.exchange.take() {
            Some(exchange) => exchange,
            None => Exchange::begin(self.rates, &mut self.redis, now)?,
        };
        assert_eq!(exchange.step(&mut self.redis, now), Ok(false));
        self.exchange = Some(exchange);
        Ok(())
    }

    fn fail(&mut self, fault: Fault) {
        self.redis.borrow_mut().fault = Some(fault);
        let now = self.now();
        let exchange = self.exchange.take();
        exchange.unwrap().step(&mut self.redis, now).unwrap_err();
        self.redis.borrow_mut().fault = None;
    }

    /// How many requests Redis has counted and not seen paid off.
    fn owed_in_redis(&self, client: u64, rate: GcraRate) -> f64 {
        let redis = self.redis.borrow();
        let paid = redis.paid.get(&self.key(client, rate).hash).copied();
        let owed = (paid.unwrap_or_default() * 1000).saturating_sub(redis.now);
        owed as f64 / rate.interval() as f64
    }
}

fn hosts(number: u64) -> (Shared, Vec<Host>) {
    let redis = Shared::default();
    redis.borrow_mut().now = 50_000 * SECOND;
    let hosts = (0..number).map(|number| Host::new(number, &redis));
    (Rc::clone(&redis), hosts.collect())
}

fn wait(redis: &Shared, nanoseconds: u64) {
    redis.borrow_mut().now += nanoseconds;
}

fn rate(count: u32, seconds: u64, burst: u32) -> GcraRate {
    let [count, burst] = [count, burst].map(|number| NonZeroU32::new(number).unwrap());
    GcraRate::new(count, Duration::from_secs(seconds), burst)
}

/// The most that hosts allow in this time: the rate and its burst; and for each host but one the burst, and what the rate
/// allows until the others know of it, once.
fn bound(hosts: u64, rate: (u32, u64, u32), time: u64, delay: u64) -> f64 {
    let (count, seconds, burst) = rate;
    let per_nanosecond = f64::from(count) / (seconds * SECOND) as f64;
    let others = (hosts - 1) as f64 * (f64::from(burst) + per_nanosecond * delay as f64);
    per_nanosecond * time as f64 + f64::from(burst) + others
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Event {
    Wait(u64),
    Requests(usize, usize),
    Exchange(usize),
}

/// Requests arrive at any hosts at any times; each host exchanges at any times, and after 100 ms at the latest.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..70 * MILLISECOND).prop_map(Event::Wait),
        1 => (0..9_u64).prop_map(|seconds| Event::Wait(seconds * SECOND)),
        4 => (0..4_usize, 1..12_usize).prop_map(|(host, count)| Event::Requests(host, count)),
        1 => (0..4_usize).prop_map(Event::Exchange),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    #[test]
    fn hosts_exceed_a_rate_by_their_bursts_and_one_exchange_at_most(
        count in 1..20_u32, seconds in 1..8_u64, burst in 1..6_u32,
        number in 1..=4_u64, events in events(),
    ) {
        const DELAY: u64 = 100 * MILLISECOND;
        let (redis, mut hosts) = hosts(number);
        let rate = rate(count, seconds, burst);
        hosts.iter_mut().for_each(|host| host.exchange().unwrap());
        let mut exchanged = vec![redis.borrow().now; hosts.len()];
        let mut allowed = Vec::new();
        for event in events {
            match event {
                Event::Wait(time) => {
                    let until = redis.borrow().now + time;
                    // Exchanges that are due come in between.
                    loop {
                        let due = *exchanged.iter().min().unwrap() + DELAY;
                        redis.borrow_mut().now = due.min(until);
                        if due > until {
                            break;
                        }
                        let host = exchanged.iter().position(|at| at + DELAY == due).unwrap();
                        hosts[host].exchange().unwrap();
                        exchanged[host] = due;
                    }
                }
                Event::Requests(host, count) => {
                    let host = &hosts[host % hosts.len()];
                    let count = (0..count).filter(|_| host.is_allowed(1, rate)).count();
                    allowed.extend((0..count).map(|_| redis.borrow().now));
                }
                Event::Exchange(host) => {
                    let host = host % hosts.len();
                    hosts[host].exchange().unwrap();
                    exchanged[host] = redis.borrow().now;
                }
            }
        }
        for (first, start) in allowed.iter().enumerate() {
            for (last, end) in allowed.iter().enumerate().skip(first) {
                let most = bound(number, (count, seconds, burst), end - start, DELAY);
                let were = last - first + 1;
                prop_assert!(were as f64 <= most + 0.01, "{were} in {} ns, at most {most}", end - start);
            }
        }
    }
}

#[test]
fn three_hosts_under_attack_allow_what_one_host_would() {
    for (shares, least, most) in [(true, 5 * 60, 5 * 60 + 3 * 6), (false, 15 * 60, 15 * 61)] {
        let (redis, mut hosts) = hosts(3);
        let rate = rate(5, 1, 5);
        let mut allowed = 0;
        for _turn in 0..60 * 100 {
            for host in &mut hosts {
                allowed += usize::from(host.is_allowed(1, rate));
                if shares && redis.borrow().now.is_multiple_of(100 * MILLISECOND) {
                    host.exchange().unwrap();
                }
            }
            wait(&redis, 10 * MILLISECOND);
        }
        assert!((least..=most).contains(&allowed), "{shares}: {allowed}");
    }
}

#[test]
fn a_request_that_is_counted_on_one_host_counts_on_the_others() {
    let (redis, mut hosts) = hosts(3);
    let rate = rate(5, 60, 5);
    hosts.iter_mut().for_each(|host| host.exchange().unwrap());
    for turn in 0..4 {
        let host = &mut hosts[turn % 2];
        assert!(host.is_allowed(1, rate));
        host.exchange().unwrap();
    }
    // The third host learns of the others with its first exchange.
    assert!(hosts[2].is_allowed(1, rate));
    hosts[2].exchange().unwrap();
    assert!(!hosts[2].is_allowed(1, rate));
    assert!(hosts[2].is_allowed(2, rate), "another client");
    // Twelve seconds later one request is paid off, for all of them together.
    wait(&redis, 12 * SECOND);
    let mut allowed = 0;
    for _ in 0..3 {
        for host in &mut hosts {
            allowed += usize::from(host.is_allowed(1, rate));
            host.exchange().unwrap();
        }
    }
    assert!((1..=3).contains(&allowed), "{allowed}");
}

#[test]
fn counts_are_added_once_or_not_at_all() {
    for (fault, added) in [(Fault::LostRequest, 0.0), (Fault::LostAnswer, 3.0)] {
        let (_redis, mut hosts) = hosts(1);
        let rate = rate(5, 60, 5);
        let host = &mut hosts[0];
        host.exchange().unwrap();
        assert!((0..3).all(|_| host.is_allowed(1, rate)));
        host.fail(fault);
        assert_eq!(host.owed_in_redis(1, rate), added, "{fault:?}");
        // The next connection does not add them again, and this host has not forgotten them.
        for _ in 0..3 {
            host.exchange().unwrap();
        }
        assert_eq!(host.owed_in_redis(1, rate), added, "{fault:?}");
        assert!((0..2).all(|_| host.is_allowed(1, rate)));
        assert!(!host.is_allowed(1, rate));
    }
}

#[test]
fn after_a_long_outage_hosts_add_what_is_still_owed() {
    let (redis, mut hosts) = hosts(2);
    let rate = rate(6, 60, 5);
    hosts.iter_mut().for_each(|host| host.exchange().unwrap());
    hosts.iter_mut().for_each(|host| host.exchange = None);
    let mut allowed = 0;
    for _ in 0..3600 {
        for host in &hosts {
            allowed += usize::from(host.is_allowed(1, rate));
        }
        wait(&redis, SECOND);
    }
    // Each limits alone.
    assert!((720..=740).contains(&allowed), "{allowed}");
    for host in &mut hosts {
        host.exchange().unwrap();
    }
    // Not the 360 requests of each host, but at most its burst and a second.
    let owed = hosts[0].owed_in_redis(1, rate);
    assert!((8.0..=10.2).contains(&owed), "{owed}");
    // And so a minute and a half later the client may come again.
    wait(&redis, 100 * SECOND);
    assert!(hosts.iter().all(|host| host.is_allowed(1, rate)));
}

#[test]
fn redis_that_has_lost_its_data_makes_no_host_forget() {
    let (redis, mut hosts) = hosts(2);
    let rate = rate(5, 60, 5);
    for host in &mut hosts {
        host.exchange().unwrap();
        assert!((0..5).all(|_| host.is_allowed(1, rate)));
        host.exchange().unwrap();
    }
    let seed = redis.borrow_mut().seed.take();
    redis.borrow_mut().paid.clear();
    for host in &mut hosts {
        wait(&redis, SECOND);
        host.exchange().unwrap();
        assert!(!host.is_allowed(1, rate));
    }
    assert_eq!(redis.borrow().seed, seed, "the hosts have put it back");
}

#[test]
fn hosts_agree_on_the_seed_of_the_first() {
    let (redis, mut hosts) = hosts(3);
    let rate = rate(5, 60, 5);
    assert!(hosts[1].is_allowed(1, rate));
    hosts.iter_mut().for_each(|host| host.exchange().unwrap());
    for host in &hosts {
        assert_eq!(host.rates.seed(), (0, 0));
    }
    // What was counted before is forgotten.
    assert!(redis.borrow().paid.is_empty());
    assert!((0..5).all(|_| hosts[1].is_allowed(1, rate)));
    // Redis has lost its data, and another host came first.
    redis.borrow_mut().seed = Some(Seed(9, 9));
    hosts[1].exchange().unwrap();
    assert_eq!(hosts[1].rates.seed(), (9, 9));
    assert!(redis.borrow().paid.is_empty());
}

#[test]
fn redis_is_asked_when_something_was_counted_and_otherwise_once_a_second() {
    let (redis, mut hosts) = hosts(1);
    let host = &mut hosts[0];
    let rate = rate(5, 60, 5);
    host.exchange().unwrap();
    let calls = |redis: &Shared| std::mem::take(&mut redis.borrow_mut().calls);
    calls(&redis);
    for (count, waits, expected) in [
        (0, 100, 0),
        (1, 100, 1),
        (0, 100, 0),
        (0, 899, 0),
        (0, 1, 1),
    ] {
        (0..count).for_each(|_| assert!(host.is_allowed(1, rate)));
        wait(&redis, waits * MILLISECOND);
        host.exchange().unwrap();
        assert_eq!(calls(&redis), expected, "{count} {waits}");
    }
    assert_eq!(host.rates.sharing().exchanges, 2);
}
