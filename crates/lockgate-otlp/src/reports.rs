//! What is logged about one signal: a change for the worse once, with the number of spans or the like that were lost when
//! it is over.

use std::fmt::Display;
use std::time::{Duration, Instant};

use lockgate_config::OtlpSignal;
use lockgate_observe::Level;

use crate::answer::Answer;

/// Losses of one kind are reported at most this often.
const BETWEEN: Duration = Duration::from_secs(60);

/// A message of the error log.
pub(crate) type Message = (Level, String);

/// See the module.
pub(crate) struct Reports {
    signal: OtlpSignal,
    /// Where it is sent.
    url: String,
    /// What was dropped since the collector has failed; `None`: it works.
    dropped: Option<u64>,
    /// Records that workers have lost.
    lost: Losses,
    /// What the collector has refused of requests that it has taken.
    refused: Losses,
}

/// Losses of one kind since the last report.
#[derive(Default)]
struct Losses {
    count: u64,
    reported_at: Option<Instant>,
}

impl Losses {
    /// Adds losses; returns how many there are if it is time for a report.
    fn add(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.count = self.count.saturating_add(count);
        let is_due = self.reported_at.is_none_or(|at| now >= at + BETWEEN);
        if self.count == 0 || !is_due {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

impl Reports {
    pub(crate) fn new(signal: OtlpSignal, url: String) -> Self {
        Self {
            signal,
            url,
            dropped: None,
            lost: Losses::default(),
            refused: Losses::default(),
        }
    }

    /// The collector has taken a request.
    pub(crate) fn on_sent(&mut self) -> Option<Message> {
        let dropped = self.dropped.take()?;
        let url = &self.url;
        let text = match self.signal {
            OtlpSignal::Traces => format!("spans are sent to {url} again; {dropped} were lost"),
            OtlpSignal::Metrics => {
                format!(
                    "metrics are sent to {url} again, for the first time after {dropped} failures"
                )
            }
            OtlpSignal::Logs => format!("log lines are sent to {url} again; {dropped} were lost"),
        };
        Some((Level::Info, text))
    }

    /// The collector has not taken `count` spans or the like.
    pub(crate) fn on_failed(&mut self, failure: &dyn Display, count: u64) -> Option<Message> {
        if let Some(dropped) = &mut self.dropped {
            *dropped += count;
            return None;
        }
        self.dropped = Some(count);
        let url = &self.url;
        let text = match self.signal {
            OtlpSignal::Traces => format!(
                "cannot send spans to {url}: {failure}; they are dropped until it takes them again (setting: otlp)"
            ),
            OtlpSignal::Metrics => format!(
                "cannot send metrics to {url}: {failure}; no count is lost, since later metrics include it (setting: otlp_metrics)"
            ),
            OtlpSignal::Logs => format!(
                "cannot send log lines to {url}: {failure}; they are dropped until it takes them again (setting: otlp_logs)"
            ),
        };
        Some((Level::Warning, text))
    }

    /// Whether the collector has failed the last time.
    pub(crate) fn is_failing(&self) -> bool {
        self.dropped.is_some()
    }

    /// The collector has taken a request but not all that was in it.
    pub(crate) fn on_refused(&mut self, answer: &Answer, now: Instant) -> Option<Message> {
        let refused = self.refused.add(answer.refused, now)?;
        let url = &self.url;
        let (what, setting) = match self.signal {
            OtlpSignal::Traces => ("spans", "otlp"),
            OtlpSignal::Metrics => ("data points", "otlp_metrics"),
            OtlpSignal::Logs => ("log lines", "otlp_logs"),
        };
        let reason = match &answer.message {
            Some(message) => format!(" ({message})"),
            None => String::new(),
        };
        let text = format!(
            "{url} has refused {refused} {what} of requests that it has taken{reason}; they are dropped (setting: {setting})"
        );
        Some((Level::Warning, text))
    }

    /// Workers could not write these records, or have overwritten them.
    pub(crate) fn on_lost(&mut self, records: u64, now: Instant) -> Option<Message> {
        let lost = self.lost.add(records, now)?;
        let text = match self.signal {
            OtlpSignal::Logs => format!(
                "{lost} log lines were lost before they could be sent: there are more than the collector takes (setting: otlp_logs)"
            ),
            OtlpSignal::Traces | OtlpSignal::Metrics => format!(
                "{lost} spans were lost before they could be sent: there are more than the collector takes (setting: otlp_sample)"
            ),
        };
        Some((Level::Warning, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_fails_is_reported_once_and_when_it_works_again() {
        for (signal, failed, works) in [
            (
                OtlpSignal::Traces,
                "cannot send spans to u: it answers 500;",
                "spans are sent to u again; 7 were lost",
            ),
            (
                OtlpSignal::Metrics,
                "cannot send metrics to u: it answers 500;",
                "metrics are sent to u again, for the first time after 7 failures",
            ),
            (
                OtlpSignal::Logs,
                "cannot send log lines to u: it answers 500;",
                "log lines are sent to u again; 7 were lost",
            ),
        ] {
            let mut reports = Reports::new(signal, "u".to_owned());
            assert_eq!(reports.on_sent(), None);
            let (level, text) = reports.on_failed(&"it answers 500", 3).unwrap();
            assert_eq!(level, Level::Warning);
            assert!(text.starts_with(failed), "{text}");
            assert_eq!(reports.on_failed(&"it answers 500", 4), None);
            assert!(reports.is_failing());
            assert_eq!(reports.on_sent(), Some((Level::Info, works.to_owned())));
            assert!(!reports.is_failing() && reports.on_sent().is_none());
        }
    }

    #[test]
    fn lost_records_are_reported_once_a_minute() {
        let mut reports = Reports::new(OtlpSignal::Traces, String::new());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(reports.on_lost(0, at(0)), None);
        let count = |message: Option<Message>| {
            message.map(|(_, text)| text.split(' ').next().unwrap().parse::<u64>().unwrap())
        };
        assert_eq!(count(reports.on_lost(5, at(1))), Some(5));
        assert_eq!(reports.on_lost(6, at(2)), None);
        assert_eq!(reports.on_lost(0, at(60)), None);
        assert_eq!(count(reports.on_lost(1, at(61))), Some(7));
        assert_eq!(reports.on_lost(0, at(200)), None);
    }

    #[test]
    fn what_was_refused_is_reported_apart_from_what_was_lost() {
        let mut reports = Reports::new(OtlpSignal::Logs, "u".to_owned());
        let now = Instant::now();
        assert!(reports.on_lost(5, now).is_some());
        let refused = |refused, message: &str| Answer {
            refused,
            message: Some(message.to_owned()),
            ..Answer::default()
        };
        assert_eq!(reports.on_refused(&refused(0, ""), now), None);
        let (level, text) = reports.on_refused(&refused(3, "too old"), now).unwrap();
        assert_eq!(level, Level::Warning);
        let begin = "u has refused 3 log lines of requests that it has taken (too old);";
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(reports.on_refused(&refused(3, "too old"), now), None);
    }
}
