//! Metrics (`ExportMetricsServiceRequest`): cumulative since the start of the server, all workers together.
//!
//! Each family of `/metrics` keeps its name in another spelling: `lockgate_requests_lost_total` is
//! `lockgate.requests_lost`, and a unit is a field of its own. OpenTelemetry's rules for Prometheus lead back to the
//! same name. Beside them are metrics of the semantic conventions (HTTP 1.23, processes 1.29).

use super::{Resource, export};
use crate::metrics::{Families, Family, Histogram, Kind, Points, Value, WORKER};
use crate::object::Json;
use crate::scoreboard::BOUNDS;

/// AGGREGATION_TEMPORALITY_CUMULATIVE.
const CUMULATIVE: u64 = 2;

/// Of the metrics, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct OtlpTimes {
    /// The start of the server, from which on it counts.
    pub start: u64,
    /// When the values were read.
    pub now: u64,
}

/// What the processes of a server use: the supervisor and its workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessView {
    /// Processor time in user mode since the start, in nanoseconds, that of workers that have ended included.
    pub user: u64,
    /// The same in the kernel.
    pub system: u64,
    /// Resident bytes now.
    pub memory: u64,
}

/// Families whose values, added, are the requests in progress.
const ACTIVE: [&str; 2] = ["lockgate_threads_busy", "lockgate_requests_waiting"];
const DURATION: &str = "lockgate_request_duration_seconds";
const UPTIME: &str = "lockgate_uptime_seconds";

/// Appends the text that tells a collector of these metrics.
pub fn write_otlp_metrics(
    out: &mut Vec<u8>,
    resource: Resource<'_>,
    families: &Families,
    process: ProcessView,
    times: OtlpTimes,
) {
    let keys = ["resourceMetrics", "scopeMetrics", "metrics"];
    export(out, resource, keys, |json| {
        let mut writer = Writer { json, times };
        families.iter().for_each(|family| writer.family(family));
        writer.conventions(families, process);
    });
}

struct Writer<'a> {
    json: &'a mut Json,
    times: OtlpTimes,
}

/// What the values of a metric may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Gauge,
    /// A sum that rises and falls.
    UpDown,
    Counter,
}

type Point<'a> = (Vec<(&'a str, &'a str)>, Value);

impl Writer<'_> {
    fn family(&mut self, family: &Family) {
        let (name, unit) = otlp_name(family);
        match &family.points {
            Points::Histogram(histogram) => {
                self.histogram(&name, unit, family.help, histogram);
            }
            Points::Samples(kind, _) => {
                let shape = match kind {
                    Kind::Gauge => Shape::Gauge,
                    Kind::Counter => Shape::Counter,
                };
                self.metric(&name, unit, family.help, shape, &points(family));
            }
        }
    }

    fn conventions(&mut self, families: &Families, process: ProcessView) {
        let named = |name: &'static str| families.iter().filter(move |family| family.name == name);
        for family in named(DURATION) {
            if let Points::Histogram(histogram) = &family.points {
                let name = "http.server.request.duration";
                self.histogram(name, "s", "Duration of HTTP server requests.", histogram);
            }
        }
        let active = ACTIVE.into_iter().flat_map(named).flat_map(points);
        let active = (active.map(|(_, value)| value)).fold(Value::Whole(0), Value::plus);
        self.metric(
            "http.server.active_requests",
            "{request}",
            "Number of active HTTP server requests.",
            Shape::UpDown,
            &[(Vec::new(), active)],
        );
        let modes = [("user", process.user), ("system", process.system)];
        self.metric(
            "process.cpu.time",
            "s",
            "Processor time of the supervisor and its workers.",
            Shape::Counter,
            &modes.map(|(mode, used)| (vec![("cpu.mode", mode)], Value::Nanoseconds(used))),
        );
        self.metric(
            "process.memory.usage",
            "By",
            "Resident memory of the supervisor and its workers.",
            Shape::UpDown,
            &[(Vec::new(), Value::Whole(process.memory))],
        );
        for uptime in named(UPTIME).map(points) {
            let text = "Time since the server started.";
            self.metric("process.uptime", "s", text, Shape::Gauge, &uptime);
        }
    }

    fn metric(&mut self, name: &str, unit: &str, help: &str, shape: Shape, points: &[Point<'_>]) {
        self.begin(name, unit, help);
        match shape {
            Shape::Gauge => {
                self.json.key("gauge");
                self.json.open('{');
            }
            Shape::UpDown | Shape::Counter => {
                self.json.key("sum");
                self.json.open('{');
                self.json.number("aggregationTemporality", CUMULATIVE);
                self.json.truth("isMonotonic", shape == Shape::Counter);
            }
        }
        self.json.key("dataPoints");
        self.json.open('[');
        for (labels, value) in points {
            self.json.separate();
            self.json.open('{');
            self.json.key("attributes");
            self.json.open('[');
            for (label, text) in labels {
                self.json.attribute(label, text.as_bytes());
            }
            self.json.close(']');
            if shape != Shape::Gauge {
                self.json.long("startTimeUnixNano", self.times.start);
            }
            self.json.long("timeUnixNano", self.times.now);
            match value {
                Value::Whole(_) | Value::Signed(_) => {
                    self.json.text("asInt", value.to_string().as_bytes());
                }
                Value::Nanoseconds(_) | Value::Thousandths(_) => {
                    self.json.decimal("asDouble", value);
                }
            }
            self.json.close('}');
        }
        self.end();
    }

    fn histogram(&mut self, name: &str, unit: &str, help: &str, histogram: &Histogram) {
        let Histogram { counts, sum, first } = histogram;
        // Buckets below the first bound that is shown are one.
        let (low, high) = counts.split_at(counts.len().min(first + 1));
        let buckets: Vec<u64> = [low.iter().sum()]
            .into_iter()
            .chain(high.iter().copied())
            .collect();
        self.begin(name, unit, help);
        self.json.key("histogram");
        self.json.open('{');
        self.json.number("aggregationTemporality", CUMULATIVE);
        self.json.key("dataPoints");
        self.json.open('[');
        self.json.open('{');
        self.json.long("startTimeUnixNano", self.times.start);
        self.json.long("timeUnixNano", self.times.now);
        self.json.long("count", buckets.iter().sum());
        self.json.decimal("sum", Value::Nanoseconds(*sum));
        let texts: Vec<String> = buckets.iter().map(u64::to_string).collect();
        self.json.texts("bucketCounts", &texts);
        self.json.key("explicitBounds");
        self.json.open('[');
        for (_, bound) in BOUNDS.iter().skip(*first) {
            self.json.bare(bound);
        }
        self.json.close(']');
        self.json.close('}');
        self.end();
    }

    fn begin(&mut self, name: &str, unit: &str, help: &str) {
        self.json.separate();
        self.json.open('{');
        self.json.text("name", name.as_bytes());
        self.json.text("unit", unit.as_bytes());
        self.json.text("description", help.as_bytes());
    }

    /// Closes the points, their kind, and the metric.
    fn end(&mut self) {
        [']', '}', '}']
            .into_iter()
            .for_each(|bracket| self.json.close(bracket));
    }
}

/// The samples of a family, those of all workers added.
fn points(family: &Family) -> Vec<Point<'_>> {
    let Points::Samples(_, samples) = &family.points else {
        return Vec::new();
    };
    let mut points: Vec<Point<'_>> = Vec::new();
    for sample in samples {
        let labels = sample.labels.iter().filter(|(name, _)| *name != WORKER);
        let labels: Vec<_> = labels.map(|(name, text)| (*name, text.as_str())).collect();
        match points.iter_mut().find(|(other, _)| *other == labels) {
            Some((_, value)) => *value = value.plus(sample.value),
            None => points.push((labels, sample.value)),
        }
    }
    if points.is_empty() {
        // There is no worker now.
        points.push((Vec::new(), Value::Whole(0)));
    }
    points
}

/// The name and the unit (UCUM) of a family.
fn otlp_name(family: &Family) -> (String, &'static str) {
    let is_counter = matches!(family.points, Points::Samples(Kind::Counter, _));
    let name = family.name;
    let name = name.strip_prefix("lockgate_").unwrap_or(name);
    let name = match is_counter {
        true => name.strip_suffix("_total").unwrap_or(name),
        false => name,
    };
    let units = [("_seconds", "s"), ("_bytes", "By"), ("_ratio", "1")];
    let found = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, unit)));
    let (name, unit) = found.unwrap_or((name, ""));
    (format!("lockgate.{name}"), unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Object, json};
    use std::sync::atomic::AtomicU64;

    use crate::metrics::{CacheCounts, cache_metrics, push_metrics, server_metrics};
    use crate::scoreboard::{Response, Scoreboard};
    use crate::uwsgi::Memory;
    use crate::{LimitView, LimitsView, SharingView, limit_metrics};

    const RESOURCE: Resource<'_> = Resource {
        service: "shop",
        version: "1.2.3",
        host: "web1",
        instance: "web1:7",
    };
    const TIMES: OtlpTimes = OtlpTimes {
        start: 1_700_000_000_000_000_000,
        now: 1_700_000_060_000_000_000,
    };

    /// Two workers, one of which has died, with 3 and 4 responses of 0.2 ms, and everything that has metrics.
    fn families() -> Families {
        let words = (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect();
        let scoreboard = Scoreboard::new(Vec::leak(words));
        scoreboard.record_start(7, 1_000_000_000);
        for (slot, count) in [(0, 3), (1, 4), (2, 5)] {
            let worker_slot = scoreboard.worker_slot(slot).unwrap();
            worker_slot.enter();
            worker_slot.publish(slot as u64 + 1, 9);
            let counters = worker_slot.counters().unwrap();
            counters.open(100 + slot as u32, 0);
            let entry = counters.claim(1, 0).unwrap();
            counters.record_taken(entry, 2_000_000);
            counters.record_taken(entry, 20_000);
            if slot == 1 {
                entry.begin(2_000_000_000, b"GET", b"/", None, b"");
            }
            for _ in 0..count {
                counters.record_response(Response {
                    status: 200,
                    bytes: 10,
                    duration: Some(200_000),
                });
            }
        }
        scoreboard.clear(2);
        let mut families = Families::default();
        let memory = |pid| Memory {
            resident: pid,
            address_space: 0,
        };
        server_metrics(&mut families, scoreboard, "1.2.3", 3_500_000_000, memory);
        push_metrics(&mut families, scoreboard, 9);
        cache_metrics(&mut families, &CacheCounts::default());
        let view = LimitsView {
            limits: vec![LimitView {
                name: "login".to_owned(),
                refused: 3,
                ..LimitView::default()
            }],
            sharing: Some(SharingView {
                redis: String::new(),
                is_up: true,
                since: 0,
                exchanges: 6,
            }),
            ..LimitsView::default()
        };
        limit_metrics(&mut families, &view);
        families
    }

    fn written() -> Vec<Object> {
        let mut out = Vec::new();
        let process = ProcessView {
            user: 1_500_000_000,
            system: 250_000_000,
            memory: 4096,
        };
        write_otlp_metrics(&mut out, RESOURCE, &families(), process, TIMES);
        assert!(out.is_ascii());
        let text: Object = serde_json::from_slice(&out).unwrap();
        let resource = &text["resourceMetrics"][0];
        assert_eq!(
            resource["resource"]["attributes"][1],
            json!({"key": "service.instance.id", "value": {"stringValue": "web1:7"}})
        );
        let metrics = &resource["scopeMetrics"][0]["metrics"];
        metrics.as_array().unwrap().clone()
    }

    fn named<'a>(metrics: &'a [Object], name: &str) -> &'a Object {
        let mut found = metrics.iter().filter(|metric| metric["name"] == name);
        let metric = found.next().expect(name);
        assert!(found.next().is_none(), "{name}");
        metric
    }

    #[test]
    fn values_are_cumulative_since_the_start_and_of_all_workers() {
        let metrics = written();
        for (name, unit, kind, value) in [
            ("lockgate.uptime", "s", "gauge", json!(2.5)),
            ("lockgate.connections", "", "gauge", json!("3")),
            ("lockgate.worker_memory", "By", "gauge", json!("201")),
            ("lockgate.busy", "1", "gauge", json!(0.0)),
            ("lockgate.worker_starts", "", "sum", json!("3")),
            ("lockgate.sent", "By", "sum", json!("120")),
            ("lockgate.rate_limit_redis_up", "", "gauge", json!("1")),
            (
                "http.server.active_requests",
                "{request}",
                "sum",
                json!("1"),
            ),
            ("process.memory.usage", "By", "sum", json!("4096")),
            ("process.uptime", "s", "gauge", json!(2.5)),
        ] {
            let metric = named(&metrics, name);
            assert_eq!(metric["unit"], unit, "{name}");
            let [point] = metric[kind]["dataPoints"]
                .as_array()
                .expect(name)
                .as_slice()
            else {
                panic!("{name} has one point");
            };
            let found = point.get("asInt").or(point.get("asDouble")).unwrap();
            assert_eq!(*found, value, "{name}");
            assert_eq!(point["attributes"], json!([]), "{name}");
            assert_eq!(point["timeUnixNano"], "1700000060000000000");
            if kind == "sum" {
                assert_eq!(metric["sum"]["aggregationTemporality"], 2, "{name}");
                assert_eq!(point["startTimeUnixNano"], "1700000000000000000");
            }
        }
        for (name, is_monotonic) in [
            ("lockgate.worker_starts", true),
            ("http.server.active_requests", false),
            ("process.memory.usage", false),
            ("process.cpu.time", true),
        ] {
            let metric = named(&metrics, name);
            assert_eq!(metric["sum"]["isMonotonic"], is_monotonic, "{name}");
        }
        let times = &named(&metrics, "process.cpu.time")["sum"]["dataPoints"];
        assert_eq!(
            (&times[0]["asDouble"], &times[1]["asDouble"]),
            (&json!(1.5), &json!(0.25))
        );
        let classes = &named(&metrics, "lockgate.responses")["sum"]["dataPoints"];
        assert_eq!(
            (&classes[0]["attributes"], &classes[0]["asInt"]),
            (
                &json!([{"key": "class", "value": {"stringValue": "2xx"}}]),
                &json!("12")
            )
        );
    }

    #[test]
    fn durations_are_histograms_with_the_bounds_of_the_scoreboard() {
        let metrics = written();
        for name in ["lockgate.request_duration", "http.server.request.duration"] {
            let histogram = &named(&metrics, name)["histogram"];
            assert_eq!(histogram["aggregationTemporality"], 2);
            let point = &histogram["dataPoints"][0];
            let bounds = point["explicitBounds"].as_array().unwrap();
            let counts = point["bucketCounts"].as_array().unwrap();
            assert_eq!((bounds.len(), counts.len()), (18, 19));
            assert_eq!((&bounds[0], &bounds[17]), (&json!(0.0001), &json!(60.0)));
            assert_eq!((&counts[0], &counts[1]), (&json!("0"), &json!("12")));
            assert_eq!(
                (&point["count"], &point["sum"]),
                (&json!("12"), &json!(0.0024))
            );
        }
        let queue = &named(&metrics, "lockgate.queue_duration")["histogram"]["dataPoints"][0];
        let counts = queue["bucketCounts"].as_array().unwrap();
        assert_eq!(queue["explicitBounds"][0], json!(0.001));
        assert_eq!(
            (
                counts.len(),
                queue["explicitBounds"].as_array().unwrap().len()
            ),
            (16, 15)
        );
        assert_eq!((&counts[0], &counts[1]), (&json!("3"), &json!("3")));
    }

    /// The specification of OpenTelemetry for Prometheus: dots become underscores, units are written out, sums get
    /// `_total`.
    #[test]
    fn names_lead_back_to_those_of_prometheus() {
        let metrics = written();
        let names: Vec<String> = metrics
            .iter()
            .map(|metric| {
                let name = metric["name"].as_str().unwrap().replace('.', "_");
                let unit = match metric["unit"].as_str().unwrap() {
                    "s" => "_seconds",
                    "By" => "_bytes",
                    "1" => "_ratio",
                    _ => "",
                };
                let is_counter = metric["sum"]["isMonotonic"] == true;
                format!("{name}{unit}{}", if is_counter { "_total" } else { "" })
            })
            .collect();
        let families = families();
        for family in families.iter() {
            assert!(
                names.iter().any(|name| name == family.name),
                "{}",
                family.name
            );
        }
        assert_eq!(names.len(), families.iter().count() + 5);
    }
}
