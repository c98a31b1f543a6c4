//! What the server counts, for the admin listener and for the OTLP exporter, each in a process of its own.

use lockgate_config::Config;
use lockgate_observe::{
    CacheCounts, CertificatesView, Families, LimitsView, Scoreboard, cache_metrics,
    certificate_metrics, limit_metrics, push_metrics, server_metrics,
};
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates};
use lockgate_supervisor::process_memory;

use crate::admin::limits_view;

/// The memory that is counted in, and settings that decide what is shown of it.
pub(crate) struct Counted {
    pub(crate) scoreboard: Scoreboard,
    /// With `push`.
    pub(crate) broadcast_log: Option<Log>,
    /// With `cache`.
    pub(crate) responses: Option<ResponseStore>,
    pub(crate) rates: Option<Rates>,
    /// Where hosts share what their rate limits count.
    pub(crate) limits_redis: Option<String>,
}

impl Counted {
    /// All metrics; `now` is the monotonic clock in nanoseconds.
    pub(crate) fn families(&self, certificates: &CertificatesView, now: u64) -> Families {
        let (mut families, version) = (Families::default(), env!("CARGO_PKG_VERSION"));
        server_metrics(&mut families, self.scoreboard, version, now, process_memory);
        certificate_metrics(&mut families, certificates);
        if let Some(log) = self.broadcast_log {
            push_metrics(&mut families, self.scoreboard, log.last_sequence());
        }
        if let Some(responses) = self.responses {
            cache_metrics(&mut families, &cache_counts(&responses));
        }
        limit_metrics(&mut families, &self.limits(now));
        families
    }

    /// What the rate limits have refused.
    pub(crate) fn limits(&self, now: u64) -> LimitsView {
        limits_view(self.rates.as_ref(), self.limits_redis.as_deref(), now)
    }
}

/// The Redis server through which hosts share what their rate limits count.
pub(crate) fn limits_redis(config: &Config) -> Option<String> {
    config.shared_rate_limits().map(ToString::to_string)
}

pub(crate) fn cache_counts(responses: &ResponseStore) -> CacheCounts {
    let counts = responses.counts();
    CacheCounts {
        hits: counts.hits,
        misses: counts.misses,
        collapsed: counts.collapsed,
        stored: counts.stored,
        evicted: counts.evicted,
        purged: counts.purged,
        refused: counts.refused,
        corrupt: counts.corrupt,
        entries: counts.entries,
        bytes: counts.bytes,
        capacity: counts.capacity,
    }
}
