//! The loop of the exporter: reads, collects, sends.

use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::{OtlpConfig, OtlpSignal};
use lockgate_observe::{Level, LogLine, Resource, SpanRecord, write_logs, write_traces};
use lockgate_shm::Log;

use crate::delivery::Delivery;
use crate::queue::Queue;

/// How often the logs are read. A reader that waits at a log would have to be woken by the workers.
const TICK: Duration = Duration::from_millis(100);
/// While the server stops, metrics are sent this often, so that the last counts are among them.
const LAST_METRICS: Duration = Duration::from_secs(1);

/// Channels of the logs in which spans and lines of the error log are recorded.
const SPANS: &[u8] = b"spans";
const LINES: &[u8] = b"lines";

/// What the process that runs the exporter provides.
pub trait Host {
    /// Writes one message to the error log.
    fn write(&self, level: Level, message: &str);

    /// How far the end of the server is.
    fn stage(&self) -> Stage;

    /// Appends the metrics of the server as a body for the collector.
    fn write_metrics(&self, out: &mut Vec<u8>, resource: Resource<'_>);
}

/// How far the end of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It runs.
    Running,
    /// It stops: spans are sent at once.
    Stopping,
    /// All workers have ended, and this process is about to.
    Ending,
}

/// Who sends: the attributes of the resource.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The version of the server.
    pub version: String,
    /// `host.name`
    pub host_name: String,
    /// `service.instance.id`
    pub instance: String,
}

/// The logs in shared memory; `None`: there is no memory for it, or it is not sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded {
    /// What workers record of sampled requests.
    pub spans: Option<Log>,
    /// Lines of the error log of all processes.
    pub lines: Option<Log>,
}

/// See the module.
pub struct Exporter {
    config: OtlpConfig,
    sender: Sender,
    spans: Option<Queue>,
    traces: Delivery,
    lines: Option<Queue>,
    logs: Delivery,
    metrics: Delivery,
    /// When metrics are sent again.
    metrics_due: Option<Instant>,
}

impl Exporter {
    /// Begins with the spans and lines that no earlier exporter has sent.
    pub fn new(config: OtlpConfig, sender: Sender, recorded: Recorded, now: Instant) -> Self {
        let delivery = |signal| Delivery::new(&config, signal, &sender.version);
        let before_span = |record: &[u8]| Some(SpanRecord::decode(record)?.lost_before);
        let before_line = |record: &[u8]| Some(LogLine::decode(record)?.lost_before);
        let lines = recorded.lines.filter(|_| config.logs);
        Self {
            spans: (recorded.spans).map(|log| Queue::new(log, SPANS, before_span)),
            traces: delivery(OtlpSignal::Traces),
            lines: lines.map(|log| Queue::new(log, LINES, before_line)),
            logs: delivery(OtlpSignal::Logs),
            metrics: delivery(OtlpSignal::Metrics),
            metrics_due: config.metrics.then(|| now + config.metrics_interval),
            config,
            sender,
        }
    }

    /// Sends until the server ends.
    pub fn run(&mut self, host: &dyn Host) {
        loop {
            // Before the step: what was recorded until then is sent.
            let stage = host.stage();
            let may_have_more = self.step(host, stage, Instant::now());
            match stage {
                _ if may_have_more => {}
                Stage::Ending => return,
                Stage::Running | Stage::Stopping => thread::sleep(TICK),
            }
        }
    }

    /// Reads records, and sends what is due. Returns whether there may be more to read.
    fn step(&mut self, host: &dyn Host, stage: Stage, now: Instant) -> bool {
        let (config, sender) = (&self.config, &self.sender);
        let moment = (now, stage, config.interval);
        let mut is_full = false;
        if let Some(queue) = &mut self.spans {
            is_full |= send(queue, &mut self.traces, host, moment, |out, batch| {
                let spans = batch.iter().filter_map(|record| SpanRecord::decode(record));
                write_traces(out, resource(config, sender), spans);
            });
        }
        if let Some(queue) = &mut self.lines {
            is_full |= send(queue, &mut self.logs, host, moment, |out, batch| {
                let lines = batch.iter().filter_map(|record| LogLine::decode(record));
                write_logs(out, resource(config, sender), lines);
            });
        }
        self.send_metrics(host, now, stage);
        is_full
    }

    fn send_metrics(&mut self, host: &dyn Host, now: Instant, stage: Stage) {
        let Some(due) = self.metrics_due else {
            return;
        };
        let interval = self.config.metrics_interval;
        let is_due = match stage {
            Stage::Running => now >= due,
            Stage::Stopping => now + interval >= due + LAST_METRICS.min(interval),
            Stage::Ending => true,
        };
        let is_last = stage == Stage::Ending;
        if is_due && (is_last || self.metrics.is_open(now)) {
            let mut body = Vec::new();
            host.write_metrics(&mut body, resource(&self.config, &self.sender));
            if self.metrics.send(host, &body, 1, (now, is_last)) {
                self.metrics_due = Some(now + interval);
            }
        }
    }
}

/// Reads a queue, and sends its batch if it is due. Returns whether there may be more to read.
fn send(
    queue: &mut Queue,
    delivery: &mut Delivery,
    host: &dyn Host,
    (now, stage, interval): (Instant, Stage, Duration),
    write: impl FnOnce(&mut Vec<u8>, &[Vec<u8>]),
) -> bool {
    let is_last = stage == Stage::Ending;
    if !is_last && !delivery.is_open(now) {
        return false;
    }
    let lost = queue.read(now, interval);
    if let Some((level, text)) = delivery.reports.on_lost(lost, now) {
        host.write(level, &text);
    }
    let is_full = queue.is_full();
    if queue.is_due(now, stage != Stage::Running) {
        let mut body = Vec::new();
        write(&mut body, queue.batch());
        let count = queue.batch().len() as u64;
        // A successor of this process sends what is not cleared.
        if !delivery.send(host, &body, count, (now, is_last)) {
            return false;
        }
        queue.clear();
    }
    is_full
}

fn resource<'a>(config: &'a OtlpConfig, sender: &'a Sender) -> Resource<'a> {
    Resource {
        service: &config.service,
        version: &sender.version,
        host: &sender.host_name,
        instance: &sender.instance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, AtomicU64};

    use lockgate_observe::SpanText;
    use lockgate_shm::LogPlan;

    use crate::queue::BATCH;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Host for Recorder {
        fn write(&self, _level: Level, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }

        fn stage(&self) -> Stage {
            Stage::Running
        }

        fn write_metrics(&self, out: &mut Vec<u8>, resource: Resource<'_>) {
            out.extend_from_slice(format!("{{{}}}\n", resource.instance).as_bytes());
        }
    }

    fn log(size: usize) -> Log {
        let plan = LogPlan { size, channels: 1 };
        let locks: Vec<AtomicU32> = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
        let words: Vec<AtomicU64> = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
        Log::new(Vec::leak(locks), Vec::leak(words), plan, (1, 2)).unwrap()
    }

    fn append(log: Log, count: u64) {
        for span_id in 1..=count {
            let span = SpanRecord {
                trace_id: 1,
                span_id,
                status: 200,
                texts: [&b"GET"[..]; SpanText::COUNT],
                ..SpanRecord::default()
            };
            let mut record = Vec::new();
            span.encode(&mut record);
            log.append(SPANS, b"", &record, 0).unwrap();
        }
    }

    fn exporter(log: Log, port: u16) -> Exporter {
        let config = OtlpConfig {
            host: "127.0.0.1".into(),
            port,
            path: "/v1/traces".into(),
            sample: 10_000,
            service: "shop".into(),
            interval: Duration::from_secs(5),
            ..OtlpConfig::default()
        };
        let recorded = Recorded {
            spans: Some(log),
            lines: None,
        };
        started(config, recorded, Instant::now())
    }

    fn started(config: OtlpConfig, recorded: Recorded, now: Instant) -> Exporter {
        let sender = Sender {
            version: "1.2.3".to_owned(),
            host_name: "web1".to_owned(),
            instance: "web1:7".to_owned(),
        };
        Exporter::new(config, sender, recorded, now)
    }

    fn batch(exporter: &Exporter) -> usize {
        exporter.spans.as_ref().unwrap().batch().len()
    }

    fn read(exporter: &mut Exporter, now: Instant) -> u64 {
        let queue = exporter.spans.as_mut().unwrap();
        queue.read(now, Duration::from_secs(5))
    }

    /// Answers one connection with each of these, and returns the requests.
    fn collect(listener: TcpListener, answers: &'static [&'static str]) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"}\n") {
                let count = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            requests.push(String::from_utf8(request).unwrap());
        }
        requests
    }

    #[test]
    fn spans_are_sent_when_the_interval_is_over_or_the_batch_is_full() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = log(1 << 20);
        let mut exporter = exporter(log, listener.local_addr().unwrap().port());
        let collector = thread::spawn(move || collect(listener, &["HTTP/1.1 200 OK\r\n\r\n"; 2]));
        let (host, start) = (Recorder::default(), Instant::now());
        append(log, 3);
        assert!(!exporter.step(&host, Stage::Running, start));
        assert!(!exporter.step(&host, Stage::Running, start + Duration::from_millis(4999)));
        assert_eq!(batch(&exporter), 3);
        assert!(!exporter.step(&host, Stage::Running, start + Duration::from_secs(5)));
        append(log, BATCH as u64 + 1);
        assert!(exporter.step(&host, Stage::Running, start + Duration::from_secs(6)));
        let requests = collector.join().unwrap();
        let spans = requests.iter().map(|text| text.matches("spanId").count());
        assert_eq!(spans.collect::<Vec<_>>(), [3, BATCH]);
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        let head: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(head[0], "POST /v1/traces HTTP/1.1");
        assert!(head.contains(&"Content-Type: application/json"));
        assert!(head.contains(&&*format!("Content-Length: {}", body.len())));
        assert!(host.0.into_inner().unwrap().is_empty());
    }

    #[test]
    fn spans_are_sent_once_more_and_then_dropped() {
        const AGAIN: &str = "HTTP/1.1 503 x\r\nRetry-After: 0\r\n\r\n";
        let cases: [(&'static [&'static str], &[&str]); 5] = [
            (&[AGAIN, "HTTP/1.1 200 OK\r\n\r\n"], &[]),
            (&[AGAIN, AGAIN], &["cannot send spans", "it answers 503"]),
            (
                &["HTTP/1.1 400 x\r\nContent-Length: 17\r\n\r\n{\"message\":\"why\"}"],
                &["cannot send spans", "it answers 400: why;"],
            ),
            (&["", ""], &["cannot send spans", "without an answer"]),
            (&["what?\r\n"], &["cannot send spans", "not HTTP"]),
        ];
        for (answers, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let log = log(1 << 20);
            let mut exporter = exporter(log, listener.local_addr().unwrap().port());
            let collector = thread::spawn(move || collect(listener, answers));
            let (host, start) = (Recorder::default(), Instant::now());
            append(log, 1);
            exporter.step(&host, Stage::Running, start);
            exporter.step(&host, Stage::Running, start + Duration::from_secs(5));
            exporter.step(&host, Stage::Running, start + Duration::from_secs(30));
            let requests = collector.join().unwrap();
            assert!(requests.windows(2).all(|two| two[0] == two[1]));
            let messages = host.0.into_inner().unwrap().join("\n");
            assert_eq!(messages.is_empty(), expected.is_empty(), "{messages}");
            assert!(
                expected.iter().all(|part| messages.contains(part)),
                "{messages}"
            );
            assert!(batch(&exporter) == 0);
        }
    }

    #[test]
    fn a_collector_that_fails_gets_nothing_before_the_time_that_it_asks_for() {
        const LATER: &str = "HTTP/1.1 503 x\r\nRetry-After: 20\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = log(1 << 20);
        let mut exporter = exporter(log, listener.local_addr().unwrap().port());
        let collector =
            thread::spawn(move || collect(listener, &[LATER, LATER, "HTTP/1.1 200 OK\r\n\r\n"]));
        let (host, start) = (Recorder::default(), Instant::now());
        let mut step = |seconds| {
            append(log, 1);
            exporter.step(&host, Stage::Running, start + Duration::from_secs(seconds));
            host.0.lock().unwrap().len()
        };
        // The first batch is sent twice and dropped, the second waits for the time of the second answer.
        assert_eq!(
            [0, 5, 24, 30, 49, 60, 66].map(&mut step),
            [0, 0, 0, 1, 1, 1, 2]
        );
        assert_eq!(collector.join().unwrap().len(), 3);
    }

    #[test]
    fn a_collector_that_asks_for_a_retry_of_spans_delays_neither_lines_nor_metrics() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (spans, lines) = (log(1 << 20), log(1 << 20));
        let config = OtlpConfig {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            path: "/v1/traces".into(),
            logs: true,
            metrics: true,
            metrics_interval: Duration::from_secs(1),
            ..OtlpConfig::default()
        };
        let recorded = Recorded {
            spans: Some(spans),
            lines: Some(lines),
        };
        const LATER: &str = "HTTP/1.1 503 x\r\nRetry-After: 3600\r\n\r\n";
        const TAKEN: &str = "HTTP/1.1 200 OK\r\n\r\n";
        let answers = &[LATER, TAKEN, TAKEN, TAKEN, TAKEN];
        let collector = thread::spawn(move || collect(listener, answers));
        let start = Instant::now();
        let mut exporter = started(config, recorded, start);
        let host = Recorder::default();
        append(spans, BATCH as u64);
        let line = LogLine {
            time: 1,
            level: Level::Info,
            pid: 1,
            worker: None,
            trace_id: 0,
            span_id: 0,
            lost_before: 0,
            logger: "lockgate",
            message: b"m",
        };
        let mut record = Vec::new();
        line.encode(&mut record);
        lines.append(LINES, b"", &record, 0).unwrap();
        for seconds in [0, 10, 11, 29, 45] {
            let now = start + Duration::from_secs(seconds);
            exporter.metrics_due = exporter.metrics_due.filter(|_| seconds < 29);
            assert!(
                !exporter.step(&host, Stage::Running, now) || seconds == 45,
                "the loop spins at {seconds} s"
            );
            assert_eq!(batch(&exporter), if seconds < 45 { BATCH } else { 0 });
        }
        assert!(start.elapsed() < Duration::from_secs(25), "it has slept");
        let requests = collector.join().unwrap();
        let paths = requests.iter().map(|text| text.split(' ').nth(1).unwrap());
        assert_eq!(
            paths.collect::<Vec<_>>(),
            [
                "/v1/traces",
                "/v1/logs",
                "/v1/metrics",
                "/v1/metrics",
                "/v1/traces"
            ]
        );
        assert!(host.0.into_inner().unwrap().is_empty());
    }

    #[test]
    fn another_exporter_continues_where_one_has_stopped() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = log(1 << 20);
        append(log, 2);
        let mut first = exporter(log, port);
        let collector = thread::spawn(move || collect(listener, &["HTTP/1.1 200 OK\r\n\r\n"]));
        let (host, start) = (Recorder::default(), Instant::now());
        first.step(&host, Stage::Running, start);
        assert_eq!(batch(&first), 2, "recorded before it was there");
        first.step(&host, Stage::Running, start + Duration::from_secs(5));
        collector.join().unwrap();
        append(log, 3);
        first.step(&host, Stage::Running, start + Duration::from_secs(6));
        for _ in 0..2 {
            let mut second = exporter(log, port);
            assert_eq!(read(&mut second, start), 0);
            assert_eq!(
                batch(&second),
                3,
                "what the first one has read and not sent"
            );
        }
    }

    #[test]
    fn records_that_were_overwritten_are_counted() {
        let log = log(4096);
        let mut exporter = exporter(log, 1);
        append(log, 100);
        let lost = read(&mut exporter, Instant::now());
        assert_eq!(lost + batch(&exporter) as u64, 100);
        assert!(lost > 50);
    }

    #[test]
    fn metrics_are_sent_at_their_interval_and_each_second_while_the_server_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = OtlpConfig {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            path: "/otlp/v1/traces".into(),
            metrics: true,
            metrics_interval: Duration::from_secs(60),
            ..OtlpConfig::default()
        };
        let start = Instant::now();
        let collector = thread::spawn(move || collect(listener, &["HTTP/1.1 200 OK\r\n\r\n"; 4]));
        let mut exporter = started(config, Recorded::default(), start);
        let host = Recorder::default();
        let mut sent_at = Vec::new();
        for (milliseconds, stage) in [
            (59_000, Stage::Running),
            (60_000, Stage::Running),
            (61_000, Stage::Running),
            (119_000, Stage::Running),
            (120_000, Stage::Running),
            (121_000, Stage::Stopping),
            (121_500, Stage::Stopping),
            (121_600, Stage::Ending),
        ] {
            let due = exporter.metrics_due;
            exporter.send_metrics(&host, start + Duration::from_millis(milliseconds), stage);
            if exporter.metrics_due != due {
                sent_at.push(milliseconds);
            }
        }
        assert_eq!(sent_at, [60_000, 120_000, 121_000, 121_600]);
        let requests = collector.join().unwrap();
        for request in requests {
            assert!(request.starts_with("POST /otlp/v1/metrics HTTP/1.1\r\n"));
            assert!(request.ends_with("\r\n\r\n{web1:7}\n"), "{request}");
        }
    }

    #[test]
    fn lines_are_sent_beside_spans_and_a_batch_is_bounded_in_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lines = log(4 << 20);
        let message = vec![b'a'; 16 * 1024];
        for count in 0..100 {
            let line = LogLine {
                time: count,
                level: Level::Info,
                pid: 1,
                worker: None,
                trace_id: 0,
                span_id: 0,
                lost_before: 0,
                logger: "lockgate",
                message: &message,
            };
            let mut record = Vec::new();
            line.encode(&mut record);
            lines.append(LINES, b"", &record, 0).unwrap();
        }
        let config = OtlpConfig {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            path: "/v1/traces".into(),
            logs: true,
            ..OtlpConfig::default()
        };
        let recorded = Recorded {
            spans: None,
            lines: Some(lines),
        };
        let start = Instant::now();
        let collector = thread::spawn(move || collect(listener, &["HTTP/1.1 200 OK\r\n\r\n"; 2]));
        let mut exporter = started(config, recorded, start);
        let host = Recorder::default();
        assert!(exporter.step(&host, Stage::Running, start), "1 MiB at once");
        assert!(!exporter.step(&host, Stage::Ending, start));
        let requests = collector.join().unwrap();
        let sent: Vec<usize> = requests
            .iter()
            .map(|request| request.matches("severityText").count())
            .collect();
        assert_eq!(sent, [64, 36]);
        assert!(requests[0].starts_with("POST /v1/logs HTTP/1.1\r\n"));
        assert!(host.0.into_inner().unwrap().is_empty());
    }
}
