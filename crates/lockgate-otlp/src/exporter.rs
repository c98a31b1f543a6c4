//! The loop of the exporter: reads, collects, sends.

use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::OtlpConfig;
use lockgate_observe::{Level, Resource, SpanRecord, write_traces};
use lockgate_shm::{Cursor, Log, Read};

use crate::collector::{self, Failure};
use crate::reports::{Message, Reports};

/// How often the log is read. A reader that waits at the log would have to be woken by the workers.
const TICK: Duration = Duration::from_millis(100);
/// As many spans are sent at once, without waiting for the interval.
const MOST_SPANS: usize = 512;
/// How long the exporter waits before it sends spans once more, if the collector does not say, and at most.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Where spans are recorded.
const CHANNEL: &[u8] = b"spans";
/// Begins the records of the exporter itself: the sequence number up to which spans were sent or dropped.
const MARK: &[u8] = b"sent";

/// What the process that runs the exporter provides.
pub trait Host {
    /// Writes one message to the error log.
    fn write(&self, level: Level, message: &str);

    /// Whether the server stops: spans are sent at once from then on.
    fn is_stopping(&self) -> bool;
}

/// See the module.
pub struct Exporter {
    config: OtlpConfig,
    url: String,
    version: String,
    host_name: String,
    log: Log,
    cursor: Cursor,
    /// Sequence number of the last record.
    last: u64,
    batch: Vec<Vec<u8>>,
    due: Option<Instant>,
    reports: Reports,
}

impl Exporter {
    /// Begins with the spans that no earlier exporter has sent.
    pub fn new(config: OtlpConfig, version: &str, host_name: &str, log: Log) -> Self {
        let OtlpConfig {
            host, port, path, ..
        } = &config;
        let (cursor, last) = unsent(log);
        Self {
            url: format!("http://{host}:{port}{path}"),
            config,
            version: version.to_owned(),
            host_name: host_name.to_owned(),
            log,
            cursor,
            last,
            batch: Vec::new(),
            due: None,
            reports: Reports::default(),
        }
    }

    /// Sends spans until the process ends.
    pub fn run(&mut self, host: &dyn Host) -> ! {
        loop {
            if !self.step(host, Instant::now()) {
                thread::sleep(TICK);
            }
        }
    }

    /// Reads records, and sends them if it is time. Returns whether there may be more to read.
    fn step(&mut self, host: &dyn Host, now: Instant) -> bool {
        let lost = self.read(now);
        report(host, self.reports.on_lost(lost, now));
        let is_full = self.batch.len() >= MOST_SPANS;
        let is_due = self.due.is_some_and(|due| now >= due);
        if is_full || is_due || (host.is_stopping() && !self.batch.is_empty()) {
            self.send(host);
        }
        is_full
    }

    /// Reads what workers have recorded, up to a full batch. Returns how many records were lost.
    fn read(&mut self, now: Instant) -> u64 {
        let mut lost: u64 = 0;
        let mut record = Vec::new();
        while self.batch.len() < MOST_SPANS {
            match self.log.read(&mut self.cursor, &mut record) {
                Read::UpToDate => break,
                // The gap before the next record counts.
                Read::Overrun => {}
                Read::Record { sequence, .. } => {
                    lost += sequence.saturating_sub(self.last.saturating_add(1));
                    self.last = sequence;
                    // The others are the exporter's own.
                    let Some(span) = SpanRecord::decode(&record) else {
                        continue;
                    };
                    lost = lost.saturating_add(span.lost_before);
                    self.due.get_or_insert(now + self.config.interval);
                    self.batch.push(std::mem::take(&mut record));
                }
            }
        }
        lost
    }

    fn send(&mut self, host: &dyn Host) {
        let spans = self.batch.len() as u64;
        let body = self.body();
        self.batch.clear();
        self.due = None;
        let message = match self.post(&body) {
            Ok(()) => self.reports.on_sent(&self.url),
            Err(failure) => self.reports.on_failed(&self.url, &failure, spans),
        };
        // A successor of this process sends once more what has no mark: spans that come twice have the same ids.
        let mark = [MARK, &self.last.to_le_bytes()].concat();
        let _unmarked = self.log.append(CHANNEL, b"", &mark, 0);
        report(host, message);
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let resource = Resource {
            service: &self.config.service,
            version: &self.version,
            host: &self.host_name,
        };
        let spans = self
            .batch
            .iter()
            .filter_map(|record| SpanRecord::decode(record));
        write_traces(&mut body, resource, spans);
        body
    }

    /// Tries twice, unless the last attempt for other spans has failed, too.
    fn post(&self, body: &[u8]) -> Result<(), Failure> {
        let Err(failure) = collector::send(&self.config, &self.version, body) else {
            return Ok(());
        };
        match failure.retry_after(RETRY) {
            Some(delay) if !self.reports.is_failing() => {
                thread::sleep(delay.min(LONGEST_RETRY));
                collector::send(&self.config, &self.version, body)
            }
            _ => Err(failure),
        }
    }
}

/// The position of the first span that was not sent, and the sequence number before it.
fn unsent(log: Log) -> (Cursor, u64) {
    let (mut cursor, mut record, mut sent) = (log.oldest(), Vec::new(), 0);
    loop {
        match log.read(&mut cursor, &mut record) {
            Read::UpToDate => break,
            Read::Overrun => {}
            Read::Record { .. } => sent = marked(&record).unwrap_or(sent),
        }
    }
    let (mut cursor, mut last) = (log.oldest(), sent);
    loop {
        let before = cursor;
        match log.read(&mut cursor, &mut record) {
            Read::UpToDate => return (before, last),
            Read::Overrun => {}
            Read::Record { sequence, .. } if sequence > sent => return (before, sequence - 1),
            Read::Record { sequence, .. } => last = sequence,
        }
    }
}

/// The sequence number in a record of the exporter.
fn marked(record: &[u8]) -> Option<u64> {
    let number = record.strip_prefix(MARK)?.try_into().ok()?;
    Some(u64::from_le_bytes(number))
}

fn report(host: &dyn Host, message: Option<Message>) {
    if let Some((level, text)) = message {
        host.write(level, &text);
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

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Host for Recorder {
        fn write(&self, _level: Level, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }

        fn is_stopping(&self) -> bool {
            false
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
            log.append(CHANNEL, b"", &record, 0).unwrap();
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
        };
        Exporter::new(config, "1.2.3", "web1", log)
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
        assert!(!exporter.step(&host, start));
        assert!(!exporter.step(&host, start + Duration::from_millis(4999)));
        assert_eq!(exporter.batch.len(), 3);
        assert!(!exporter.step(&host, start + Duration::from_secs(5)));
        append(log, MOST_SPANS as u64 + 1);
        assert!(exporter.step(&host, start + Duration::from_secs(6)));
        let requests = collector.join().unwrap();
        let spans = requests.iter().map(|text| text.matches("spanId").count());
        assert_eq!(spans.collect::<Vec<_>>(), [3, MOST_SPANS]);
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
        let cases: [(&'static [&'static str], &[&str]); 4] = [
            (&[AGAIN, "HTTP/1.1 200 OK\r\n\r\n"], &[]),
            (&[AGAIN, AGAIN], &["cannot send spans", "it answers 503"]),
            (
                &["HTTP/1.1 400 x\r\n\r\n"],
                &["cannot send spans", "it answers 400"],
            ),
            (&["what?\r\n"], &["cannot send spans", "not HTTP"]),
        ];
        for (answers, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let log = log(1 << 20);
            let mut exporter = exporter(log, listener.local_addr().unwrap().port());
            let collector = thread::spawn(move || collect(listener, answers));
            let (host, start) = (Recorder::default(), Instant::now());
            append(log, 1);
            exporter.step(&host, start);
            exporter.step(&host, start + Duration::from_secs(5));
            let requests = collector.join().unwrap();
            assert!(requests.windows(2).all(|two| two[0] == two[1]));
            let messages = host.0.into_inner().unwrap().join("\n");
            assert_eq!(messages.is_empty(), expected.is_empty(), "{messages}");
            assert!(
                expected.iter().all(|part| messages.contains(part)),
                "{messages}"
            );
            assert!(exporter.batch.is_empty());
        }
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
        first.step(&host, start);
        assert_eq!(first.batch.len(), 2, "recorded before it was there");
        first.step(&host, start + Duration::from_secs(5));
        collector.join().unwrap();
        append(log, 3);
        first.step(&host, start + Duration::from_secs(6));
        for _ in 0..2 {
            let mut second = exporter(log, port);
            assert_eq!(second.read(start), 0);
            assert_eq!(
                second.batch.len(),
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
        let lost = exporter.read(Instant::now());
        assert_eq!(lost + exporter.batch.len() as u64, 100);
        assert!(lost > 50);
    }
}
