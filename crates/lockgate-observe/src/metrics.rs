//! The metrics of a server, all workers together: families, which are written for Prometheus (`text`) or for
//! OpenTelemetry (`otlp`).
//!
//! Invariant: counters never fall while the server lives, even when workers die.

mod family;
mod text;

use crate::scoreboard::{
    ExitCause, FIRST_WAIT, HandshakeResult, HeldEnd, Loss, LossyLog, Scoreboard, State, Totals,
    WorkerView,
};
use crate::uwsgi::Memory;

pub use family::Families;
pub(crate) use family::{Family, Histogram, Kind, Points, Value, WORKER};
pub use text::CONTENT_TYPE;

/// Adds what every server counts. `now` is the monotonic clock in nanoseconds, as on the scoreboard; `memory` gives a
/// process's memory.
pub fn server_metrics(
    families: &mut Families,
    scoreboard: Scoreboard,
    version: &str,
    now: u64,
    memory: impl Fn(u64) -> Memory,
) {
    let workers: Vec<WorkerView> = scoreboard.workers().collect();
    let totals = scoreboard.totals();
    let (_, started) = scoreboard.supervisor();

    families.add("lockgate_info", Kind::Gauge, "Version of the server.");
    families.sample(&[("version", version)], Value::Whole(1));
    families.add(
        "lockgate_uptime_seconds",
        Kind::Gauge,
        "Time since the server started.",
    );
    families.sample(&[], Value::Nanoseconds(now.saturating_sub(started)));
    families.add(
        "lockgate_workers",
        Kind::Gauge,
        "Number of workers by state.",
    );
    for state in State::ALL {
        let count = workers.iter().filter(|worker| worker.state == state);
        families.sample(
            &[("state", state.name())],
            Value::Whole(count.count() as u64),
        );
    }
    families.add(
        "lockgate_worker_starts_total",
        Kind::Counter,
        "Number of workers that have begun to serve.",
    );
    families.sample(&[], Value::Whole(scoreboard.starts()));
    exits_and_reloads(families, scoreboard);
    for gauge in &GAUGES {
        families.add(gauge.name, Kind::Gauge, gauge.help);
        for worker in &workers {
            families.worker_sample(worker, (gauge.read)(worker));
        }
    }
    families.add(
        "lockgate_worker_memory_bytes",
        Kind::Gauge,
        "Resident set size of a worker.",
    );
    for worker in &workers {
        families.worker_sample(worker, memory(worker.pid).resident);
    }
    families.add(
        "lockgate_busy_ratio",
        Kind::Gauge,
        "Running requests divided by the number that may run at once, over all serving workers.",
    );
    families.sample(&[], Value::Thousandths(busy_thousandths(&workers)));
    families.add(
        "lockgate_longest_request_seconds",
        Kind::Gauge,
        "Age of the oldest running request, including its wait for a thread; 0 if none is running.",
    );
    let began = workers
        .iter()
        .flat_map(|worker| &worker.calls)
        .filter(|call| !call.is_upgraded())
        .filter_map(|call| Some(call.request.as_ref()?.began))
        .min();
    let longest = began.map_or(0, |began| now.saturating_sub(began));
    families.sample(&[], Value::Nanoseconds(longest));
    totals_of(families, &totals);
}

/// Adds what a server with a broadcast log counts. `published` is the number of messages in all its time.
pub fn push_metrics(families: &mut Families, scoreboard: Scoreboard, published: u64) {
    let totals = scoreboard.totals();
    families.add(
        "lockgate_held_requests",
        Kind::Gauge,
        "Requests of a worker that are held for published messages.",
    );
    for worker in scoreboard.workers() {
        families.worker_sample(&worker, worker.held);
    }
    for (name, help, value) in [
        (
            "lockgate_messages_published_total",
            "Messages that were published.",
            published,
        ),
        (
            "lockgate_messages_delivered_total",
            "Messages that were written to held requests, each once for each request.",
            totals.delivered,
        ),
    ] {
        families.add(name, Kind::Counter, help);
        families.sample(&[], Value::Whole(value));
    }
    families.add(
        "lockgate_held_requests_ended_total",
        Kind::Counter,
        "Held requests that the server has ended because they have missed messages, by reason.",
    );
    for (reason, count) in HeldEnd::ALL.iter().zip(&totals.held_ends) {
        families.sample(&[("reason", reason.name())], Value::Whole(*count));
    }
}

/// What a response cache counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheCounts {
    /// Requests that were answered from the cache.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
    /// Requests that have waited for the response to another one.
    pub collapsed: u64,
    /// Entries that were written.
    pub stored: u64,
    /// Entries that were removed to make room.
    pub evicted: u64,
    /// Entries that were removed by purges.
    pub purged: u64,
    /// Entries that were not written because of a purge meanwhile.
    pub refused: u64,
    /// Entries that another program has overwritten.
    pub corrupt: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes that they occupy.
    pub bytes: u64,
    /// Bytes that they may occupy.
    pub capacity: u64,
}

/// Adds what a server with a response cache counts.
pub fn cache_metrics(families: &mut Families, counts: &CacheCounts) {
    families.add(
        "lockgate_cache_requests_total",
        Kind::Counter,
        "Requests that the cache may answer, by result.",
    );
    for (result, count) in [("hit", counts.hits), ("miss", counts.misses)] {
        families.sample(&[("result", result)], Value::Whole(count));
    }
    for (name, kind, help, value) in [
        (
            "lockgate_cache_collapsed_requests_total",
            Kind::Counter,
            "Requests that have waited for the response to another request.",
            counts.collapsed,
        ),
        (
            "lockgate_cache_stored_total",
            Kind::Counter,
            "Entries that were written.",
            counts.stored,
        ),
        (
            "lockgate_cache_evicted_total",
            Kind::Counter,
            "Entries that were removed to make room for others.",
            counts.evicted,
        ),
        (
            "lockgate_cache_purged_total",
            Kind::Counter,
            "Entries that were removed by purges.",
            counts.purged,
        ),
        (
            "lockgate_cache_refused_total",
            Kind::Counter,
            "Entries that were not written because they were purged before they were complete.",
            counts.refused,
        ),
        (
            "lockgate_cache_corrupt_total",
            Kind::Counter,
            "Lookups that found an entry that another program has overwritten.",
            counts.corrupt,
        ),
        (
            "lockgate_cache_entries",
            Kind::Gauge,
            "Entries in the cache.",
            counts.entries,
        ),
        (
            "lockgate_cache_bytes",
            Kind::Gauge,
            "Memory that the entries occupy.",
            counts.bytes,
        ),
        (
            "lockgate_cache_capacity_bytes",
            Kind::Gauge,
            "Memory that the entries may occupy.",
            counts.capacity,
        ),
    ] {
        families.add(name, kind, help);
        families.sample(&[], Value::Whole(value));
    }
}

/// 0 if no worker serves.
fn busy_thousandths(workers: &[WorkerView]) -> u64 {
    let serving = workers
        .iter()
        .filter(|worker| worker.state == State::Serving);
    let (busy, threads) = serving.fold((0, 0), |(busy, threads), worker| {
        (busy + worker.busy() as u64, threads + worker.threads)
    });
    (1000 * busy).checked_div(threads).unwrap_or(0)
}

struct Gauge {
    name: &'static str,
    help: &'static str,
    read: fn(&WorkerView) -> u64,
}

/// One sample per live worker.
const GAUGES: [Gauge; 6] = [
    Gauge {
        name: "lockgate_connections",
        help: "Open connections of a worker.",
        read: |worker| worker.connections,
    },
    Gauge {
        name: "lockgate_requests_waiting",
        help: "Requests that wait for a thread.",
        read: |worker| worker.waiting,
    },
    Gauge {
        name: "lockgate_threads_limit",
        help: "Maximum number of requests that a worker runs at once.",
        read: |worker| worker.threads,
    },
    Gauge {
        name: "lockgate_threads",
        help: "Threads of a worker that run requests.",
        read: |worker| worker.pool() as u64,
    },
    Gauge {
        name: "lockgate_threads_busy",
        help: "Threads of a worker that are running a request.",
        read: |worker| worker.busy() as u64,
    },
    Gauge {
        name: "lockgate_websockets",
        help: "Calls that have taken their connection over, each on a thread beyond the limit.",
        read: |worker| worker.websockets,
    },
];

fn totals_of(families: &mut Families, totals: &Totals) {
    families.add(
        "lockgate_responses_total",
        Kind::Counter,
        "Responses sent in full, by status class.",
    );
    // Interim responses (1xx) are not counted.
    for (class, count) in CLASSES.iter().zip(totals.classes.iter().skip(1)) {
        families.sample(&[("class", class)], Value::Whole(*count));
    }
    families.add(
        "lockgate_requests_lost_total",
        Kind::Counter,
        "Requests that did not get the application's complete response, by reason.",
    );
    for (loss, count) in Loss::ALL.iter().zip(&totals.losses) {
        families.sample(&[("reason", loss.name())], Value::Whole(*count));
    }
    families.add(
        "lockgate_tls_handshakes_total",
        Kind::Counter,
        "TLS handshakes by result.",
    );
    for (result, count) in HandshakeResult::ALL.iter().zip(&totals.handshakes) {
        families.sample(&[("result", result.name())], Value::Whole(*count));
    }
    for (name, help, value) in [
        (
            "lockgate_received_bytes_total",
            "Bytes read from clients.",
            totals.received,
        ),
        (
            "lockgate_sent_bytes_total",
            "Bytes sent for finished requests.",
            totals.sent,
        ),
    ] {
        families.add(name, Kind::Counter, help);
        families.sample(&[], Value::Whole(value));
    }
    families.histogram(
        "lockgate_request_duration_seconds",
        "Time from the complete request to the end of its response, for requests that the application answered.",
        (&totals.durations, totals.duration),
        0,
    );
    families.histogram(
        "lockgate_queue_duration_seconds",
        "Time from the complete request to its start on a thread.",
        (&totals.waits, totals.waited),
        FIRST_WAIT,
    );
}

/// Status classes that are counted.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

fn exits_and_reloads(families: &mut Families, scoreboard: Scoreboard) {
    families.add(
        "lockgate_worker_exits_total",
        Kind::Counter,
        "Worker exits by cause.",
    );
    for cause in ExitCause::ALL {
        families.sample(
            &[("cause", cause.name())],
            Value::Whole(scoreboard.exits(cause)),
        );
    }
    families.add(
        "lockgate_log_lines_lost_total",
        Kind::Counter,
        "Lines that could not be written, by log.",
    );
    for log in LossyLog::ALL {
        families.sample(
            &[("log", log.name())],
            Value::Whole(scoreboard.lost_lines(log)),
        );
    }
    let reload = scoreboard.reload();
    families.add(
        "lockgate_reloads_total",
        Kind::Counter,
        "Finished reloads by result.",
    );
    let done = reload.ended.saturating_sub(reload.failures);
    for (result, count) in [("done", done), ("failed", reload.failures)] {
        families.sample(&[("result", result)], Value::Whole(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::atomic::AtomicU64;

    use crate::scoreboard::Response;

    fn scoreboard() -> Scoreboard {
        Scoreboard::new(Vec::leak(
            (0..Scoreboard::WORDS).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    fn written(scoreboard: Scoreboard, now: u64) -> String {
        let mut families = Families::default();
        let memory = |pid| Memory {
            resident: 1000 * pid,
            address_space: 0,
        };
        server_metrics(&mut families, scoreboard, "1.2.3", now, memory);
        text(&families)
    }

    fn text(families: &Families) -> String {
        let mut out = Vec::new();
        families.write_text(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// A parser of the part of the format that is written here. Returns every sample by name and labels.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let mut families = BTreeSet::new();
        let mut samples = BTreeMap::new();
        let mut family = String::new();
        let mut lines = text.lines().peekable();
        assert!(text.ends_with('\n'));
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(
                    !help.is_empty() && families.insert(name.to_owned()),
                    "{line}"
                );
                let (typed, kind) = lines
                    .next()
                    .unwrap()
                    .strip_prefix("# TYPE ")
                    .unwrap()
                    .split_once(' ')
                    .unwrap();
                assert_eq!(typed, name);
                assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                family = name.to_owned();
                continue;
            }
            let (key, value) = line.rsplit_once(' ').unwrap();
            assert!(key.starts_with(&family), "{line} stands under {family}");
            let labels = key.split_once('{').map_or("", |(_, labels)| labels);
            assert!(labels.is_empty() || labels.ends_with("\"}"), "{line}");
            let previous = samples.insert(key.to_owned(), value.parse().unwrap());
            assert_eq!(previous, None, "{line}");
        }
        samples
    }

    #[test]
    fn a_server_without_workers_has_all_families() {
        let scoreboard = scoreboard();
        scoreboard.record_start(7, 1_000_000_000);
        let samples = parse(&written(scoreboard, 3_500_000_000));
        assert_eq!(samples["lockgate_uptime_seconds"], 2.5);
        assert_eq!(samples["lockgate_info{version=\"1.2.3\"}"], 1.0);
        assert_eq!(samples["lockgate_workers{state=\"serving\"}"], 0.0);
        assert_eq!(samples["lockgate_request_duration_seconds_count"], 0.0);
    }

    #[test]
    fn a_server_with_a_cache_counts_hits_and_entries() {
        let mut families = Families::default();
        let counts = CacheCounts {
            hits: 3,
            misses: 2,
            bytes: 4096,
            ..CacheCounts::default()
        };
        cache_metrics(&mut families, &counts);
        let samples = parse(&text(&families));
        for (name, value) in [
            ("lockgate_cache_requests_total{result=\"hit\"}", 3.0),
            ("lockgate_cache_requests_total{result=\"miss\"}", 2.0),
            ("lockgate_cache_bytes", 4096.0),
            ("lockgate_cache_evicted_total", 0.0),
        ] {
            assert_eq!(samples[name], value, "{name}");
        }
    }

    #[test]
    fn a_server_with_a_broadcast_log_counts_messages_and_held_requests() {
        let scoreboard = scoreboard();
        for (slot, held) in [(0, 3), (1, 4)] {
            let worker_slot = scoreboard.worker_slot(slot).unwrap();
            worker_slot.enter();
            let counters = worker_slot.counters().unwrap();
            counters.open(100 + slot as u32, 0);
            counters.record_held(held);
            counters.record_delivered(10 * held);
            counters.record_held_end(HeldEnd::Overrun);
        }
        scoreboard.clear(1);
        let mut families = Families::default();
        push_metrics(&mut families, scoreboard, 9);
        let samples = parse(&text(&families));
        let expected = [
            (
                "lockgate_held_requests_ended_total{reason=\"client_too_slow\"}",
                0.0,
            ),
            (
                "lockgate_held_requests_ended_total{reason=\"overrun\"}",
                2.0,
            ),
            ("lockgate_held_requests{worker=\"0\"}", 3.0),
            ("lockgate_messages_delivered_total", 70.0),
            ("lockgate_messages_published_total", 9.0),
        ];
        let samples: Vec<_> = samples
            .iter()
            .map(|(key, value)| (key.as_str(), *value))
            .collect();
        assert_eq!(samples, expected);
    }

    #[test]
    fn counts_of_dead_workers_are_included_in_the_sums() {
        let scoreboard = scoreboard();
        for (slot, count) in [(0, 3), (1, 4), (2, 5)] {
            let worker_slot = scoreboard.worker_slot(slot).unwrap();
            worker_slot.enter();
            worker_slot.publish(slot as u64, 9);
            let counters = worker_slot.counters().unwrap();
            counters.open(100 + slot as u32, 0);
            counters.record_threads(4);
            let entry = counters.claim(1, 0).unwrap();
            counters.record_taken(entry, 2_000_000);
            counters.record_taken(entry, 20_000);
            if slot == 1 {
                entry.begin(2_000_000_000, b"GET", b"/", None, b"");
                let websocket = counters.claim(2, 0).unwrap();
                websocket.begin(1_000_000_000, b"GET", b"/echo", None, b"");
                counters.begin_upgraded(Some(websocket));
            }
            for index in 0..count {
                counters.record_response(Response {
                    status: if index == 0 { 404 } else { 200 },
                    bytes: 10,
                    duration: Some(200_000),
                });
            }
            counters.record_loss(Loss::QueueFull, 0);
            counters.record_handshake(HandshakeResult::Resumed);
        }
        scoreboard.clear(2);
        scoreboard.record_exit(ExitCause::Signal);
        scoreboard.count_lost_lines(LossyLog::Access, 5);
        for _ in 0..3 {
            scoreboard.record_reload_begun(1);
            scoreboard.record_reload_done(2);
        }
        scoreboard.record_reload_begun(3);
        scoreboard.record_reload_failed("no", 4);
        let samples = parse(&written(scoreboard, 5_000_000_000));
        for (key, value) in [
            ("lockgate_workers{state=\"serving\"}", 2.0),
            ("lockgate_worker_starts_total", 3.0),
            ("lockgate_connections{worker=\"1\"}", 1.0),
            ("lockgate_threads_busy{worker=\"0\"}", 0.0),
            ("lockgate_threads_busy{worker=\"1\"}", 1.0),
            ("lockgate_threads{worker=\"1\"}", 1.0),
            ("lockgate_threads_limit{worker=\"0\"}", 4.0),
            ("lockgate_websockets{worker=\"0\"}", 0.0),
            ("lockgate_websockets{worker=\"1\"}", 1.0),
            ("lockgate_busy_ratio", 0.125),
            ("lockgate_worker_memory_bytes{worker=\"1\"}", 101_000.0),
            ("lockgate_worker_exits_total{cause=\"signal\"}", 1.0),
            ("lockgate_worker_exits_total{cause=\"asked\"}", 0.0),
            ("lockgate_log_lines_lost_total{log=\"access\"}", 5.0),
            ("lockgate_log_lines_lost_total{log=\"error\"}", 0.0),
            ("lockgate_reloads_total{result=\"done\"}", 3.0),
            ("lockgate_reloads_total{result=\"failed\"}", 1.0),
            ("lockgate_queue_duration_seconds_bucket{le=\"0.001\"}", 3.0),
            ("lockgate_queue_duration_seconds_bucket{le=\"0.0025\"}", 6.0),
            ("lockgate_queue_duration_seconds_count", 6.0),
            ("lockgate_queue_duration_seconds_sum", 0.00606),
            ("lockgate_longest_request_seconds", 3.0),
            ("lockgate_responses_total{class=\"2xx\"}", 9.0),
            ("lockgate_responses_total{class=\"4xx\"}", 3.0),
            ("lockgate_requests_lost_total{reason=\"queue_full\"}", 3.0),
            ("lockgate_tls_handshakes_total{result=\"full\"}", 0.0),
            ("lockgate_tls_handshakes_total{result=\"resumed\"}", 3.0),
            ("lockgate_sent_bytes_total", 120.0),
            (
                "lockgate_request_duration_seconds_bucket{le=\"0.0001\"}",
                0.0,
            ),
            (
                "lockgate_request_duration_seconds_bucket{le=\"0.00025\"}",
                12.0,
            ),
            (
                "lockgate_request_duration_seconds_bucket{le=\"+Inf\"}",
                12.0,
            ),
            ("lockgate_request_duration_seconds_count", 12.0),
            ("lockgate_request_duration_seconds_sum", 0.0024),
        ] {
            assert_eq!(samples[key], value, "{key}");
        }
        assert!(!samples.contains_key("lockgate_connections{worker=\"2\"}"));
    }
}
