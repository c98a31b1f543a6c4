//! One limit: which requests it concerns, and what it counts them by.

use std::num::NonZeroU32;
use std::time::Duration;

use lockgate_config::{HostPattern, Rate, RateKey, RateLimitConfig};
use lockgate_routes::{HostName, PathKey, covers_ignoring_case, matches_host};
use lockgate_shm::Rates;
use lockgate_shm::rates::{GcraRate, RatedKey, TotalsRow, scope};

use super::client_key::ClientKey;
use crate::log::throttle::SharedThrottle;

/// See the module documentation.
pub(super) struct Limit {
    pub(super) name: String,
    host: HostPattern,
    path: Vec<u8>,
    methods: Vec<String>,
    pub(super) key: RateKey,
    pub(super) rates: Vec<Measure>,
    pub(super) concurrency: Option<(NonZeroU32, Measure)>,
    pub(super) is_dry_run: bool,
    pub(super) throttle: SharedThrottle,
}

/// One rate of a limit, or its number of requests at once.
pub(super) struct Measure {
    /// As operators write it.
    pub(super) notation: String,
    rate: GcraRate,
    scope: u64,
    /// `None`: there were too many limits since the start of the server.
    pub(super) totals: Option<TotalsRow>,
}

impl Limit {
    pub(super) fn new(config: &RateLimitConfig, rates: &Rates) -> Self {
        let key = match &config.key {
            RateKey::Address => "address".to_owned(),
            RateKey::Header(name) => format!("header:{}", name.to_ascii_lowercase()),
            RateKey::Cookie(name) => format!("cookie:{name}"),
            RateKey::Everyone => "all".to_owned(),
        };
        let measure = |text: String, rate| {
            // What it is called, and not its number: a reload that adds another limit changes nothing for this one.
            let scope = scope(&[config.name.as_bytes(), key.as_bytes(), text.as_bytes()]);
            let shown = format!("{}\n{text}", config.name);
            Measure {
                totals: rates.open_totals(scope, &shown),
                notation: text,
                rate,
                scope,
            }
        };
        let all = config.rates.iter().enumerate().map(|(index, rate)| {
            // The burst that the operator gives is that of the first rate: the others have their counts.
            let burst = config.burst.filter(|_| index == 0).unwrap_or(rate.count);
            let gcra = GcraRate::new(rate.count, rate.period, burst);
            measure(rate_text(*rate), gcra)
        });
        Self {
            rates: all.collect(),
            concurrency: config.concurrency.map(|most| {
                // Only its refusals are recorded in the table of rates.
                let rate = GcraRate::new(NonZeroU32::MIN, Duration::from_secs(1), NonZeroU32::MIN);
                (most, measure(format!("{most} at once"), rate))
            }),
            name: config.name.clone(),
            host: config.host.clone(),
            path: config.path.clone().into_bytes(),
            methods: config.methods.clone(),
            key: config.key.clone(),
            is_dry_run: config.is_dry_run,
            throttle: SharedThrottle::default(),
        }
    }

    /// Whether a request counts. In doubt it does: applications compare paths in different ways.
    #[inline]
    pub(super) fn concerns(&self, method: &[u8], host: &HostName, path: &PathKey<'_>) -> bool {
        let covers = |path: &[u8]| covers_ignoring_case(&self.path, path);
        (covers(&path.key) || path.others.iter().any(|other| covers(other)))
            && (self.methods.is_empty() || self.has_method(method))
            && matches_host(&self.host, host)
    }

    /// Frameworks compare methods without regard to case, and answer HEAD where they answer GET.
    fn has_method(&self, method: &[u8]) -> bool {
        let is = |name: &String| name.as_bytes().eq_ignore_ascii_case(method);
        let answers_head = method.eq_ignore_ascii_case(b"HEAD");
        (self.methods.iter()).any(|name| is(name) || answers_head && name == "GET")
    }
}

impl Measure {
    /// The key of a client under it.
    #[inline]
    pub(super) fn key(&self, rates: &Rates, key: &ClientKey<'_>) -> RatedKey {
        let (kind, bytes) = key.parts();
        RatedKey {
            hash: rates.key_hash(self.scope.wrapping_add(kind), bytes),
            rate: self.rate,
            scope: self.scope,
            shown: key.shown(),
        }
    }
}

/// `5/min`, or `5/90s` where the time has no name.
fn rate_text(rate: Rate) -> String {
    let period = match rate.period.as_secs() {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3600 => "h".to_owned(),
        86_400 => "d".to_owned(),
        seconds => format!("{seconds}s"),
    };
    format!("{}/{period}", rate.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_as_it_is_written() {
        for (seconds, text) in [
            (1, "7/s"),
            (60, "7/min"),
            (3600, "7/h"),
            (86_400, "7/d"),
            (90, "7/90s"),
        ] {
            let rate = Rate {
                count: NonZeroU32::new(7).unwrap(),
                period: Duration::from_secs(seconds),
            };
            assert_eq!(rate_text(rate), text);
        }
    }
}
