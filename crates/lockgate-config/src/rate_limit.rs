//! Limits on how often a client may come, and on how many of its requests run at the same time.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{HostPattern, RedisAddress};

/// One entry of `rate_limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Its name in logs, metrics and `ctl`: given, or the path.
    pub name: String,
    /// Which hosts.
    pub host: HostPattern,
    /// As of a route, and compared without regard to case; empty: every path.
    pub path: String,
    /// Which methods, in capitals; empty: all.
    pub methods: Vec<String>,
    /// Who is counted as one.
    pub key: RateKey,
    /// Each of them counts; not empty, unless `concurrency` is set.
    pub rates: Vec<Rate>,
    /// How many requests may come at once under the first rate; its count if the operator gives none. The other rates
    /// have their counts.
    pub burst: Option<NonZeroU32>,
    /// Most requests with one key at the same time over all workers; `None`: no limit.
    pub concurrency: Option<NonZeroU32>,
    /// Requests beyond it are counted and logged, and served.
    pub is_dry_run: bool,
}

/// `5/min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub count: NonZeroU32,
    /// In this time: from a second to a day.
    pub period: Duration,
}

/// Who is counted as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; of IPv6 its /64.
    Address,
    /// The value of a field of the request; a request without it is counted by its address.
    Header(String),
    /// The value of a cookie; a request without it is counted by its address.
    Cookie(String),
    /// All requests together.
    Everyone,
}

/// What all rate limits share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitsConfig {
    /// Bytes of shared memory for what is counted.
    pub memory: usize,
    /// Where hosts add up what they count; `None`: each counts alone. No request waits for it.
    pub redis: Option<RedisAddress>,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        Self {
            memory: 4 * 1024 * 1024,
            redis: None,
        }
    }
}
