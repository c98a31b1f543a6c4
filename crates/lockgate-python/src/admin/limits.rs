//! What the rate limits have refused, from the table that all workers share.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use lockgate_observe::{LimitView, LimitsView, OffenderView, SharingView};
use lockgate_shm::Rates;
use lockgate_shm::rates::{Offender, ShownKey};

/// How many clients of a limit are shown.
const MOST_OFFENDERS: usize = 20;

/// All limits, and through which Redis server hosts share what they count; `now` is the monotonic clock in nanoseconds.
pub(crate) fn view(rates: Option<&Rates>, redis: Option<&str>, now: u64) -> LimitsView {
    let Some(rates) = rates else {
        return LimitsView::default();
    };
    let counts = rates.counts();
    let mut offenders: Vec<Offender> = rates.offenders().collect();
    offenders.sort_by_key(|offender| Reverse(offender.refused));
    let limits = rates.totals().map(|totals| {
        // A name is one line, and so is what is measured.
        let (name, measure) = totals.name.rsplit_once('\n').unwrap_or((&totals.name, ""));
        let own = (offenders.iter()).filter(|offender| offender.scope == totals.scope);
        LimitView {
            name: name.to_owned(),
            measure: measure.to_owned(),
            refused: totals.refused,
            would_refuse: totals.would_refuse,
            offenders: own
                .take(MOST_OFFENDERS)
                .map(|offender| OffenderView {
                    key: key_text(offender),
                    refused: offender.refused,
                    since: now.saturating_sub(offender.since),
                })
                .collect(),
        }
    });
    LimitsView {
        limits: limits.collect(),
        capacity: counts.capacity,
        evicted: counts.evicted,
        uncounted: counts.uncounted,
        sharing: redis.map(|redis| sharing(rates, redis, now)),
    }
}

fn sharing(rates: &Rates, redis: &str, now: u64) -> SharingView {
    let sharing = rates.sharing();
    SharingView {
        redis: redis.to_owned(),
        is_up: sharing.is_connected,
        since: now.saturating_sub(sharing.changed),
        exchanges: sharing.exchanges,
    }
}

fn key_text(offender: &Offender) -> String {
    match offender.shown {
        ShownKey::V4(address) => Ipv4Addr::from(address).to_string(),
        ShownKey::V6(prefix) => {
            let mut address = [0; 16];
            address[..8].copy_from_slice(&prefix);
            format!("{}/64", Ipv6Addr::from(address))
        }
        ShownKey::Unix => "unix sockets".to_owned(),
        ShownKey::Everyone => "all clients".to_owned(),
        ShownKey::Hash => format!("key {:08x}", offender.key.short()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use lockgate_shm::RatesPlan;
    use lockgate_shm::rates::{GcraRate, RatedKey};

    #[test]
    fn the_worst_come_first_and_values_are_hashes() {
        let plan = RatesPlan {
            memory: 1 << 16,
            workers: 1,
        };
        let words = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
        let rates = Rates::new(Vec::leak(words), &plan, (1, 2)).unwrap();
        assert_eq!(view(None, Some(""), 0), LimitsView::default());
        let totals = rates.open_totals(7, "login\n5/min").unwrap();
        rates.open_totals(8, "api\n10 at once").unwrap();
        for (times, shown) in [
            (1, ShownKey::V4([192, 0, 2, 1])),
            (3, ShownKey::V6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 7])),
            (2, ShownKey::Hash),
            (4, ShownKey::Everyone),
            (5, ShownKey::Unix),
        ] {
            let key = RatedKey {
                hash: rates.key_hash(7, &[times]),
                rate: GcraRate::new(NonZeroU32::MIN, Duration::from_secs(1), NonZeroU32::MIN),
                scope: 7,
                shown,
            };
            for _ in 0..times {
                rates.record_refusal(&key, 64_000);
                totals.add(false);
            }
        }
        assert_eq!(view(Some(&rates), None, 0).sharing, None);
        rates.set_connected(true, 64_000);
        rates.record_exchange(100_000);
        let view = view(Some(&rates), Some("redis://cache:6379/0"), 164_000);
        let sharing = SharingView {
            redis: "redis://cache:6379/0".to_owned(),
            is_up: true,
            since: 100_000,
            exchanges: 1,
        };
        assert_eq!(view.sharing, Some(sharing));
        let names: Vec<_> = (view.limits.iter())
            .map(|limit| (limit.name.as_str(), limit.measure.as_str(), limit.refused))
            .collect();
        assert_eq!(names, [("login", "5/min", 15), ("api", "10 at once", 0)]);
        let shown: Vec<_> = (view.limits[0].offenders.iter())
            .map(|one| (one.key.as_str(), one.refused, one.since))
            .collect();
        let hash = rates.key_hash(7, &[2]).short();
        assert_eq!(
            shown,
            [
                ("unix sockets", 5, 100_000),
                ("all clients", 4, 100_000),
                ("2001:db8:0:7::/64", 3, 100_000),
                (&*format!("key {hash:08x}"), 2, 100_000),
                ("192.0.2.1", 1, 100_000),
            ]
        );
    }
}
