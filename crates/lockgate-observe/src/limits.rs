//! Rate limits as one JSON object and as Prometheus metrics: what each limit has refused, and whom most often.

use crate::metrics::{Families, Kind, Value};
use crate::object::Json;

/// What all limits have done since the start of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsView {
    /// The rates of all limits, in the order in which they were first seen.
    pub limits: Vec<LimitView>,
    /// Keys that there is room for.
    pub capacity: u64,
    /// Keys that were forgotten before they had paid off what they had used.
    pub evicted: u64,
    /// Requests whose concurrency was not limited, for want of room.
    pub uncounted: u64,
    /// Whether hosts share what they count; `None`: this server counts alone.
    pub sharing: Option<SharingView>,
}

/// How hosts share what they count. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharingView {
    /// The Redis server, without its password.
    pub redis: String,
    /// Whether the last exchange has worked.
    pub is_up: bool,
    /// Since when that is so.
    pub since: u64,
    /// How many exchanges there were.
    pub exchanges: u64,
}

/// One rate of a limit, or its number of requests at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitView {
    /// The name of the limit.
    pub name: String,
    /// What it measures: `5/min`, `10 at once`.
    pub measure: String,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that were served in a dry run and would have been refused.
    pub would_refuse: u64,
    /// Those that were refused most often, the first one most.
    pub offenders: Vec<OffenderView>,
}

/// A client that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffenderView {
    /// Its address, or a hash of what it is counted by.
    pub key: String,
    /// How often.
    pub refused: u64,
    /// Nanoseconds since the first time.
    pub since: u64,
}

/// Appends the object.
pub fn write_limits(out: &mut Vec<u8>, view: &LimitsView) {
    let mut json = Json::default();
    json.limits(view);
    json.finish(out);
}

impl Json {
    /// The object of all rate limits.
    pub fn limits(&mut self, view: &LimitsView) {
        self.open('{');
        self.text("name", b"lockgate");
        self.key("limits");
        self.open('[');
        for limit in &view.limits {
            self.separate();
            self.open('{');
            self.text("name", limit.name.as_bytes());
            self.text("measure", limit.measure.as_bytes());
            self.number("refused", limit.refused);
            self.number("would_refuse", limit.would_refuse);
            self.key("offenders");
            self.open('[');
            for offender in &limit.offenders {
                self.separate();
                self.open('{');
                self.text("key", offender.key.as_bytes());
                self.number("refused", offender.refused);
                self.seconds("since", offender.since);
                self.close('}');
            }
            self.close(']');
            self.close('}');
        }
        self.close(']');
        self.number("capacity", view.capacity);
        self.number("evicted", view.evicted);
        self.number("uncounted", view.uncounted);
        if let Some(sharing) = &view.sharing {
            self.key("sharing");
            self.open('{');
            self.text("redis", sharing.redis.as_bytes());
            self.truth("up", sharing.is_up);
            self.seconds("since", sharing.since);
            self.number("exchanges", sharing.exchanges);
            self.close('}');
        }
        self.close('}');
    }
}

/// Adds the metrics; nothing if there was no limit yet.
pub fn limit_metrics(families: &mut Families, view: &LimitsView) {
    if view.limits.is_empty() {
        return;
    }
    families.add(
        "lockgate_rate_limited_requests_total",
        Kind::Counter,
        "Requests that a rate limit has refused, or would have refused without its dry run.",
    );
    for limit in &view.limits {
        for (dry_run, count) in [("false", limit.refused), ("true", limit.would_refuse)] {
            let labels = [
                ("limit", limit.name.as_str()),
                ("measure", &limit.measure),
                ("dry_run", dry_run),
            ];
            families.sample(&labels, Value::Whole(count));
        }
    }
    for (name, help, count) in [
        (
            "lockgate_rate_limit_evicted_keys_total",
            "Clients that were forgotten, for want of rate_limit_memory, before they had paid off what they had used.",
            view.evicted,
        ),
        (
            "lockgate_rate_limit_uncounted_requests_total",
            "Requests whose concurrency was not limited, for want of rate_limit_memory.",
            view.uncounted,
        ),
    ] {
        families.add(name, Kind::Counter, help);
        families.sample(&[], Value::Whole(count));
    }
    if let Some(sharing) = &view.sharing {
        let help = "Whether hosts share what they count: 0 while this server limits alone.";
        families.add("lockgate_rate_limit_redis_up", Kind::Gauge, help);
        families.sample(&[], Value::Whole(u64::from(sharing.is_up)));
        families.add(
            "lockgate_rate_limit_redis_exchanges_total",
            Kind::Counter,
            "Exchanges of counts with Redis.",
        );
        families.sample(&[], Value::Whole(sharing.exchanges));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> LimitsView {
        LimitsView {
            limits: vec![LimitView {
                name: "a\"b".to_owned(),
                measure: "5/min".to_owned(),
                refused: 3,
                would_refuse: 1,
                offenders: vec![OffenderView {
                    key: "192.0.2.1".to_owned(),
                    refused: 2,
                    since: 1_500_000_000,
                }],
            }],
            capacity: 100,
            evicted: 4,
            uncounted: 5,
            sharing: Some(SharingView {
                redis: "redis://cache:6379/0".to_owned(),
                is_up: true,
                since: 2_000_000_000,
                exchanges: 6,
            }),
        }
    }

    #[test]
    fn limits_are_an_object_and_metrics() {
        let (mut object, mut metrics) = (Vec::new(), Vec::new());
        let mut families = Families::default();
        write_limits(&mut object, &view());
        assert_eq!(
            String::from_utf8(object).unwrap().trim_end(),
            "{\"name\":\"lockgate\",\"limits\":[{\"name\":\"a\\\"b\",\"measure\":\"5/min\",\"refused\":3,\"would_refuse\":1,\
             \"offenders\":[{\"key\":\"192.0.2.1\",\"refused\":2,\"since\":1.500000}]}],\
             \"capacity\":100,\"evicted\":4,\"uncounted\":5,\
             \"sharing\":{\"redis\":\"redis://cache:6379/0\",\"up\":true,\"since\":2.000000,\"exchanges\":6}}"
        );
        limit_metrics(&mut families, &view());
        families.write_text(&mut metrics);
        let text = String::from_utf8(metrics).unwrap();
        for line in [
            "lockgate_rate_limited_requests_total{limit=\"a\\\"b\",measure=\"5/min\",dry_run=\"false\"} 3",
            "lockgate_rate_limited_requests_total{limit=\"a\\\"b\",measure=\"5/min\",dry_run=\"true\"} 1",
            "lockgate_rate_limit_evicted_keys_total 4",
            "lockgate_rate_limit_uncounted_requests_total 5",
            "lockgate_rate_limit_redis_up 1",
            "lockgate_rate_limit_redis_exchanges_total 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        let mut none = Families::default();
        limit_metrics(&mut none, &LimitsView::default());
        assert!(none.iter().next().is_none());
    }
}
