//! An exchange: what this host has counted since the last one goes to Redis, and what all hosts owe comes back.
//!
//! Counts are sent at most once: those of an exchange that has failed are dropped, because Redis may have added them.
//! While Redis is away nothing is taken, and the counts wait in the table, which is of fixed size.

use lockgate_shm::Rates;
use lockgate_shm::rates::{Counted, KeyHash};

use crate::failure::Failure;

/// Keys of one exchange, about.
const MOST_KEYS: usize = 4096;
/// Nanoseconds by which what is sent may exceed what is owed here: between two exchanges some of it is paid off. After a
/// long outage the rest has no effect any more.
const SLACK: u64 = 1_000_000_000;
/// Nanoseconds after which Redis is asked also if nothing was counted.
const IDLE: u64 = 1_000_000_000;

/// The secret from which hosts make the same key for the same client. A client that knew it could choose whose key it
/// shares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(pub(super) u64, pub(super) u64);

/// What is added for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Increment {
    pub(super) key: KeyHash,
    /// How much later the key is paid off.
    pub(super) microseconds: u64,
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Microseconds until the key of each increment is paid off.
    Owed(Vec<u64>),
    /// Nothing was added: the hosts use this seed.
    OtherSeed(Seed),
}

/// What all hosts have counted.
pub(super) trait Ledger {
    /// Adds what was counted. Writes also without increments, so that success shows that Redis takes writes.
    fn add(&mut self, seed: Seed, increments: &[Increment]) -> Result<Answer, Failure>;
}

/// See the module. Times are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub(super) struct Exchange {
    rates: Rates,
    /// When Redis has last answered.
    answered: u64,
    counted: Vec<Counted>,
}

impl Exchange {
    /// Begins on a new connection, with nothing counted: the first answer shows that there is a Redis server which takes
    /// writes.
    pub(super) fn begin(rates: Rates, ledger: &mut dyn Ledger, now: u64) -> Result<Self, Failure> {
        let exchange = Self {
            rates,
            answered: now,
            counted: Vec::new(),
        };
        if let Answer::OtherSeed(seed) = ledger.add(exchange.seed(), &[])? {
            exchange.adopt(seed);
        }
        Ok(exchange)
    }

    /// Exchanges what was counted. Returns whether there may be more.
    pub(super) fn step(&mut self, ledger: &mut dyn Ledger, now: u64) -> Result<bool, Failure> {
        let seed = self.seed();
        self.counted.clear();
        (self.rates).take_local(MOST_KEYS, now, &mut self.counted);
        if self.counted.is_empty() && now.saturating_sub(self.answered) < IDLE {
            return Ok(false);
        }
        let increments: Vec<_> = self.counted.iter().map(increment).collect();
        match ledger.add(seed, &increments)? {
            // From the moment before the request: a key that owes too little is raised by its next exchange, and one
            // that owes too much would be refused requests that are within the rate.
            Answer::Owed(owed) => {
                for (counted, microseconds) in self.counted.iter().zip(owed) {
                    let owed = microseconds.saturating_mul(1000);
                    self.rates.raise(counted, owed, now);
                }
                self.rates.record_exchange(now);
            }
            // What was taken belongs to keys that no host has any more.
            Answer::OtherSeed(seed) => self.adopt(seed),
        }
        self.answered = now;
        Ok(self.counted.len() >= MOST_KEYS)
    }

    fn seed(&self) -> Seed {
        let (first, second) = self.rates.seed();
        Seed(first, second)
    }

    fn adopt(&self, Seed(first, second): Seed) {
        self.rates.adopt_seed((first, second));
    }
}

fn increment(counted: &Counted) -> Increment {
    let nanoseconds = (counted.count)
        .saturating_mul(counted.rate.interval())
        .min(counted.owed.saturating_add(SLACK));
    Increment {
        key: counted.key,
        microseconds: nanoseconds.saturating_add(500) / 1000,
    }
}

impl Seed {
    /// As Redis keeps it: 32 hexadecimal digits.
    pub(super) fn to_text(self) -> String {
        let Self(first, second) = self;
        format!("{first:016x}{second:016x}")
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (first, second) = text.split_at_checked(16).filter(|_| is_plain)?;
        let word = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self(word(first)?, word(second)?))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_read_from_its_text_and_from_no_other() {
        let seed = Seed(1, u64::MAX);
        let text = "0000000000000001ffffffffffffffff";
        assert_eq!(seed.to_text(), text);
        assert_eq!(Seed::parse(text), Some(seed));
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            "+000000000000001ffffffffffffffff",
            "000000000000000éffffffffffffffff",
            "000000000000000gffffffffffffffff",
        ] {
            assert_eq!(Seed::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{seed:?}"), "Seed(…)");
    }
}
