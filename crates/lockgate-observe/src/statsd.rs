//! statsd metrics by gunicorn's names: what a worker reports at a time, as datagrams of several lines.
//!
//! Invariant: memory and output are bounded; beyond [`MOST_DURATIONS`] a report has a sample with its rate.

use std::fmt::Write;

/// The payload of a datagram that Ethernet and most tunnels carry in one packet.
pub const LARGEST_DATAGRAM: usize = 1432;

/// Durations in one report.
pub const MOST_DURATIONS: usize = 1000;

/// Statuses are below this number.
const STATUSES: usize = 1000;

/// The requests since the last report.
#[derive(Debug, Default)]
pub struct RequestSample {
    /// By status; allocated at the first request.
    statuses: Vec<u64>,
    /// Microseconds.
    durations: Vec<u64>,
    /// How many requests had a duration.
    timed: u64,
}

impl RequestSample {
    /// Adds a response. `duration` is in nanoseconds; `None`: the application has not seen the request.
    pub fn record(&mut self, status: u16, duration: Option<u64>) {
        if self.statuses.is_empty() {
            self.statuses.resize(STATUSES, 0);
        }
        if let Some(count) = self.statuses.get_mut(usize::from(status)) {
            *count += 1;
        }
        let Some(duration) = duration else { return };
        let microseconds = duration / 1000;
        self.timed += 1;
        if self.durations.len() < MOST_DURATIONS {
            return self.durations.push(microseconds);
        }
        // Algorithm R: each duration is in the sample with the same probability.
        let place = usize::try_from(mix(self.timed ^ duration.rotate_left(32)) % self.timed);
        if let Some(kept) = place.ok().and_then(|place| self.durations.get_mut(place)) {
            *kept = microseconds;
        }
    }

    /// Writes the metrics, and begins again.
    pub fn report(&mut self, out: &mut StatsdWriter) {
        let requests = self.statuses.iter().sum();
        out.count("gunicorn.requests", requests);
        for (status, count) in self.statuses.iter_mut().enumerate() {
            if *count > 0 {
                out.count(&format!("gunicorn.request.status.{status}"), *count);
                *count = 0;
            }
        }
        for &microseconds in &self.durations {
            out.timer(microseconds, self.durations.len(), self.timed);
        }
        self.durations.clear();
        self.timed = 0;
    }
}

/// The finalizer of splitmix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Messages of the error log by gunicorn's method, those below `log_level` included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// In the order of [`LogCounts::NAMES`].
    pub counts: [u64; Self::NAMES.len()],
}

impl LogCounts {
    /// The last parts of the metrics' names. An error with a traceback is an exception.
    pub const NAMES: [&str; 4] = ["critical", "error", "warning", "exception"];

    /// Writes the metrics.
    pub fn report(&self, out: &mut StatsdWriter) {
        for (name, count) in Self::NAMES.into_iter().zip(self.counts) {
            out.count(&format!("gunicorn.log.{name}"), count);
        }
    }
}

/// Collects metrics in datagrams.
#[derive(Debug)]
pub struct StatsdWriter {
    prefix: String,
    suffix: String,
    line: String,
    datagrams: Vec<Vec<u8>>,
}

impl StatsdWriter {
    /// Begins every name with this prefix and a dot, and ends every line with these tags of DogStatsD.
    pub fn new(prefix: &str, tags: &str) -> Self {
        let prefix = prefix.trim_end_matches('.');
        Self {
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}."),
            },
            suffix: match tags {
                "" => String::new(),
                tags => format!("|#{tags}"),
            },
            line: String::new(),
            datagrams: Vec::new(),
        }
    }

    /// Adds to a counter; nothing if `value` is 0.
    pub fn count(&mut self, name: &str, value: u64) {
        if value > 0 {
            self.add(format_args!("{name}:{value}|c|@1.0"));
        }
    }

    /// Sets a gauge.
    pub fn gauge(&mut self, name: &str, value: u64) {
        self.add(format_args!("{name}:{value}|g"));
    }

    /// Adds a value to a histogram.
    pub fn histogram(&mut self, name: &str, value: u64) {
        self.add(format_args!("{name}:{value}|h"));
    }

    /// The duration of one request, of `sampled` ones out of `all`.
    fn timer(&mut self, microseconds: u64, sampled: usize, all: u64) {
        const NAME: &str = "gunicorn.request.duration";
        let (whole, rest) = (microseconds / 1000, microseconds % 1000);
        if all == sampled as u64 {
            self.add(format_args!("{NAME}:{whole}.{rest:03}|ms"));
        } else {
            let rate = sampled as f64 / all as f64;
            self.add(format_args!("{NAME}:{whole}.{rest:03}|ms|@{rate:.6}"));
        }
    }

    /// The datagrams since the last call.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.datagrams)
    }

    fn add(&mut self, metric: std::fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{}{metric}{}", self.prefix, self.suffix);
        match self.datagrams.last_mut() {
            Some(datagram) if datagram.len() + 1 + self.line.len() <= LARGEST_DATAGRAM => {
                datagram.push(b'\n');
                datagram.extend_from_slice(self.line.as_bytes());
            }
            _ => self.datagrams.push(self.line.clone().into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(datagrams: &[Vec<u8>]) -> String {
        String::from_utf8(datagrams.join(&b'\n')).unwrap()
    }

    #[test]
    fn metrics_have_gunicorns_names_and_formats() {
        let mut out = StatsdWriter::new("", "");
        let mut sample = RequestSample::default();
        sample.record(200, Some(12_345_678));
        sample.record(200, Some(999));
        sample.record(400, None);
        sample.report(&mut out);
        let log = LogCounts {
            counts: [1, 0, 3, 4],
        };
        log.report(&mut out);
        out.gauge("gunicorn.workers", 0);
        out.histogram("gunicorn.backlog", 7);
        let datagrams = out.take();
        assert_eq!(datagrams.len(), 1);
        let expected = "gunicorn.requests:3|c|@1.0\n\
                        gunicorn.request.status.200:2|c|@1.0\n\
                        gunicorn.request.status.400:1|c|@1.0\n\
                        gunicorn.request.duration:12.345|ms\n\
                        gunicorn.request.duration:0.000|ms\n\
                        gunicorn.log.critical:1|c|@1.0\n\
                        gunicorn.log.warning:3|c|@1.0\n\
                        gunicorn.log.exception:4|c|@1.0\n\
                        gunicorn.workers:0|g\n\
                        gunicorn.backlog:7|h";
        assert_eq!(text(&datagrams), expected);
        sample.report(&mut out);
        assert!(out.take().is_empty());
    }

    #[test]
    fn prefix_and_tags_surround_each_metric() {
        for (prefix, tags, expected) in [
            ("app", "", "app.x:1|c|@1.0"),
            ("a.b..", "", "a.b.x:1|c|@1.0"),
            ("", "env:prod,zone:1", "x:1|c|@1.0|#env:prod,zone:1"),
            ("p", "t", "p.x:1|c|@1.0|#t"),
        ] {
            let mut out = StatsdWriter::new(prefix, tags);
            out.count("x", 1);
            assert_eq!(text(&out.take()), expected);
        }
    }

    #[test]
    fn no_datagram_is_larger_than_a_packet_and_no_metric_is_split() {
        let mut out = StatsdWriter::new("prefix", "tag:value");
        let mut sample = RequestSample::default();
        for index in 0..MOST_DURATIONS as u64 {
            sample.record(200, Some(index * 1_000_000));
        }
        sample.report(&mut out);
        let datagrams = out.take();
        assert!(datagrams.iter().all(|one| one.len() <= LARGEST_DATAGRAM));
        assert!(datagrams[0].len() > LARGEST_DATAGRAM - 70);
        let lines = text(&datagrams);
        assert!(lines.lines().all(|line| line.ends_with("|#tag:value")));
        assert_eq!(lines.lines().count(), MOST_DURATIONS + 2);
    }

    #[test]
    fn beyond_the_bound_durations_are_a_uniform_sample_with_its_rate() {
        let mut out = StatsdWriter::new("", "");
        let mut sample = RequestSample::default();
        let all = 4 * MOST_DURATIONS as u64;
        for index in 0..all {
            sample.record(200, Some(index * 1_000_000));
        }
        sample.report(&mut out);
        let lines = text(&out.take());
        let timers = lines.lines().filter(|line| line.contains("|ms"));
        let mut quarters = [0; 4];
        for line in timers {
            let (_, rest) = line.split_once(':').unwrap();
            let (value, rate) = rest.split_once("|ms|@").unwrap();
            assert_eq!(rate, "0.250000");
            let value: f64 = value.parse().unwrap();
            quarters[value as usize / MOST_DURATIONS] += 1;
        }
        assert_eq!(quarters.iter().sum::<usize>(), MOST_DURATIONS);
        assert!(
            quarters.iter().all(|count| (180..320).contains(count)),
            "{quarters:?}"
        );
        assert!(lines.contains(&format!("gunicorn.requests:{all}|c|@1.0")));
    }
}
