//! What the rate limits of all hosts share: each host adds what it has counted to Redis, and gets back how much all hosts
//! together have counted.
//!
//! Redis has one key for each client and rate: the moment at which what was counted is used up, the theoretical arrival
//! time of GCRA. No request waits for Redis, and what is counted here counts here at once
//! ([0060](../../../docs/decisions/0060-hosts-share-what-rate-limits-owe.md)).

mod exchange;
mod outage;
mod script;
mod sharing;

pub use sharing::SharedLimits;

#[cfg(test)]
mod tests;
