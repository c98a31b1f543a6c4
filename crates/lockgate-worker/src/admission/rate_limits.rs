//! Rate limits: how often a client may come, and how many of its requests may run at once, over all workers.
//!
//! Every limit that concerns a request is asked. A request that one of them refuses counts against none: a client that
//! is refused here has not used what it may do elsewhere.

mod client_key;
mod limit;
mod report;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lockgate_config::{Config, HostPattern};
use lockgate_http::LocalResponse;
use lockgate_routes::HostName;
use lockgate_shm::rates::{Decision, Place, RatedKey};
use lockgate_shm::{Rates, RatesPlan};

use self::client_key::ClientKey;
use self::limit::{Limit, Measure};
use self::report::Report;
use super::stage::{Parts, Stage, route_path};
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::log::ErrorLog;
use crate::metrics::monotonic_nanos;

/// See the module documentation.
pub(super) struct RateLimits {
    limits: Vec<Limit>,
    rates: Rates,
    /// The number of this worker.
    slot: usize,
    /// Whether other hosts get what is counted.
    is_exported: bool,
    /// `root_path`, as it is written in a URL.
    root_path: Vec<u8>,
    needs_host: bool,
    /// The same moment on both clocks: an `Instant` means nothing to another process.
    base: (Instant, u64),
    error_log: Arc<ErrorLog>,
}

/// A place among the requests that run at once, until the request has ended.
struct HeldPlace {
    rates: Rates,
    place: Place,
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.rates.release(self.place);
    }
}

/// A request under one limit.
struct Concerned<'a> {
    limit: &'a Limit,
    key: ClientKey<'a>,
}

/// Which part of a limit a request exceeds.
struct Exceeded<'a> {
    limit: &'a Limit,
    measure: &'a Measure,
    key: RatedKey,
    retry_after: Duration,
}

impl RateLimits {
    /// `None`: there are none.
    pub(super) fn new(parts: &Parts<'_>) -> Option<Self> {
        let config = &parts.config.routes.rate_limits;
        if config.is_empty() {
            return None;
        }
        let (rates, slot) = match parts.rates {
            Some(rates) => (rates, parts.slot),
            None => (own_rates(parts.config)?, 0),
        };
        rates.enter(slot, std::process::id());
        Some(Self {
            limits: config.iter().map(|one| Limit::new(one, &rates)).collect(),
            rates,
            slot,
            is_exported: parts.config.rate_limits.redis.is_some(),
            root_path: parts.config.root_path.clone().into_bytes(),
            needs_host: config.iter().any(|limit| limit.host != HostPattern::Any),
            base: (Instant::now(), monotonic_nanos()),
            error_log: Arc::clone(parts.error_log),
        })
    }

    /// A moment on the clock that all processes share.
    fn nanos(&self, now: Instant) -> u64 {
        let (base, base_nanos) = self.base;
        let since = now.saturating_duration_since(base).as_nanos();
        base_nanos.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// What a limit of rates refuses, or would: the longest wait. Counts nothing.
    fn examine_rates<'a>(&self, concerned: &Concerned<'a>, now: u64) -> Option<Exceeded<'a>> {
        let measures = concerned.limit.rates.iter();
        let exceeded = measures.filter_map(|measure| {
            let key = measure.key(&self.rates, &concerned.key);
            match self.rates.examine(&key, now) {
                Decision::Allowed => None,
                Decision::Limited { retry_after } => Some(Exceeded {
                    limit: concerned.limit,
                    measure,
                    key,
                    retry_after,
                }),
            }
        });
        exceeded.max_by_key(|exceeded| exceeded.retry_after)
    }

    /// Counts a request under all rates of a limit. If another process was faster, a rate can refuse it even now: then
    /// it has counted under those before.
    fn count_rates<'a>(&self, concerned: &Concerned<'a>, now: u64) -> Option<Exceeded<'a>> {
        concerned.limit.rates.iter().find_map(|measure| {
            let key = measure.key(&self.rates, &concerned.key);
            match self.rates.count(&key, now, self.is_exported) {
                Decision::Allowed => None,
                Decision::Limited { retry_after } => Some(Exceeded {
                    limit: concerned.limit,
                    measure,
                    key,
                    retry_after,
                }),
            }
        })
    }

    /// Takes a place among the requests that run at once, if the limit has such.
    fn hold<'a>(&self, concerned: &Concerned<'a>) -> Result<Option<HeldPlace>, Exceeded<'a>> {
        let Some((most, measure)) = &concerned.limit.concurrency else {
            return Ok(None);
        };
        let key = measure.key(&self.rates, &concerned.key);
        match self.rates.acquire(key.hash, self.slot, most.get()) {
            Some(place) => Ok(Some(HeldPlace {
                rates: self.rates,
                place,
            })),
            None => Err(Exceeded {
                limit: concerned.limit,
                measure,
                key,
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    /// Decides about a request under the limits that are enforced.
    fn enforce<'a>(
        &self,
        concerned: &[Concerned<'a>],
        now: u64,
    ) -> Result<Vec<HeldPlace>, Exceeded<'a>> {
        let enforced = || concerned.iter().filter(|one| !one.limit.is_dry_run);
        // One rate alone decides when it counts.
        if enforced().map(|one| one.limit.rates.len()).sum::<usize>() > 1 {
            let exceeded = enforced().filter_map(|one| self.examine_rates(one, now));
            if let Some(exceeded) = exceeded.max_by_key(|exceeded| exceeded.retry_after) {
                return Err(exceeded);
            }
        }
        let held = enforced().filter_map(|one| self.hold(one).transpose());
        let held = held.collect::<Result<Vec<_>, _>>()?;
        match enforced().find_map(|one| self.count_rates(one, now)) {
            Some(exceeded) => Err(exceeded),
            None => Ok(held),
        }
    }

    /// Counts a request that is served under a limit in a dry run.
    fn rehearse<'a>(
        &self,
        concerned: &Concerned<'a>,
        now: u64,
    ) -> Result<Option<HeldPlace>, Exceeded<'a>> {
        if let Some(exceeded) = self.examine_rates(concerned, now) {
            return Err(exceeded);
        }
        let held = self.hold(concerned)?;
        match self.count_rates(concerned, now) {
            Some(exceeded) => Err(exceeded),
            None => Ok(held),
        }
    }

    #[cold]
    fn record(&self, exceeded: &Exceeded<'_>, client: &crate::client::Client, at: (Instant, u64)) {
        self.rates.record_refusal(&exceeded.key, at.1);
        if let Some(totals) = &exceeded.measure.totals {
            totals.add(exceeded.limit.is_dry_run);
        }
        let report = Report {
            limit: exceeded.limit,
            measure: exceeded.measure,
            key: &exceeded.key,
            client,
        };
        report.log(&self.error_log, at.0);
    }
}

impl Stage for RateLimits {
    fn examine(&self, request: &mut Request, now: Instant) -> Option<Answer> {
        let path = route_path(&request.head, &self.root_path);
        let name;
        let host = if self.needs_host {
            name = HostName::of(request.head.host());
            &name
        } else {
            HostName::NONE
        };
        let concerned: Vec<_> = (self.limits.iter())
            .filter(|limit| limit.concerns(request.head.method(), host, &path))
            .map(|limit| Concerned {
                limit,
                key: ClientKey::of(&limit.key, request),
            })
            .collect();
        if concerned.is_empty() {
            return None;
        }
        let nanos = self.nanos(now);
        let mut held = match self.enforce(&concerned, nanos) {
            Ok(held) => held,
            Err(exceeded) => {
                self.record(&exceeded, &request.client, (now, nanos));
                return Some(refusal(exceeded.retry_after));
            }
        };
        for one in concerned.iter().filter(|one| one.limit.is_dry_run) {
            match self.rehearse(one, nanos) {
                Ok(place) => held.extend(place),
                Err(exceeded) => self.record(&exceeded, &request.client, (now, nanos)),
            }
        }
        let held = held.into_iter().map(|place| Box::new(place) as Box<_>);
        request.admitted.held.extend(held);
        None
    }
}

/// 429 (RFC 6585 §4). The fields of the draft `draft-ietf-httpapi-ratelimit-headers` are left out: their syntax has
/// changed between its versions, and it is no standard.
fn refusal(retry_after: Duration) -> Answer {
    // Rounded up: a client that comes at that second is in time.
    let seconds = retry_after.as_nanos().div_ceil(1_000_000_000).max(1);
    let detail = format!("try again in {seconds} s");
    let response = LocalResponse::text(429, &detail)
        .with_header("Retry-After", seconds.to_string())
        .with_header("Cache-Control", "no-store");
    Answer::refused(response, "rate_limited")
}

/// A table of this process alone, for a worker without a supervisor. `None`: there are no limits.
pub fn own_rates(config: &Config) -> Option<Rates> {
    let memory = config.rate_limits.memory;
    if config.routes.rate_limits.is_empty() {
        return None;
    }
    let plan = RatesPlan { memory, workers: 1 };
    let words: Vec<_> = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    // It is all zero and large enough, and so always a table.
    Rates::new(Vec::leak(words), &plan, random_seed())
}

/// From the operating system, through the keys of the standard library's hash maps.
fn random_seed() -> (u64, u64) {
    use std::hash::{BuildHasher, RandomState};
    (
        RandomState::new().hash_one(0),
        RandomState::new().hash_one(1),
    )
}

#[cfg(test)]
mod tests;
