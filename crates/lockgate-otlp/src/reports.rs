//! What is logged about the exporter: a change for the worse once, with the number of spans that were lost when it is
//! over.

use std::time::{Duration, Instant};

use lockgate_observe::Level;

/// Lost records are reported at most this often.
const BETWEEN: Duration = Duration::from_secs(60);

/// A message of the error log.
pub(crate) type Message = (Level, String);

/// See the module.
#[derive(Default)]
pub(crate) struct Reports {
    /// Spans that were dropped since the collector has failed; `None`: it works.
    dropped: Option<u64>,
    /// Records that workers have lost since the last report.
    lost: u64,
    reported_at: Option<Instant>,
}

impl Reports {
    /// The collector has taken spans.
    pub(crate) fn on_sent(&mut self, url: &str) -> Option<Message> {
        let dropped = self.dropped.take()?;
        let text = format!("spans are sent to {url} again; {dropped} were lost");
        Some((Level::Info, text))
    }

    /// The collector has not taken these spans.
    pub(crate) fn on_failed(
        &mut self,
        url: &str,
        failure: &dyn std::fmt::Display,
        spans: u64,
    ) -> Option<Message> {
        if let Some(dropped) = &mut self.dropped {
            *dropped += spans;
            return None;
        }
        self.dropped = Some(spans);
        let text = format!(
            "cannot send spans to {url}: {failure}; they are dropped until it takes them again (setting: otlp)"
        );
        Some((Level::Warning, text))
    }

    /// Whether the collector has failed the last time.
    pub(crate) fn is_failing(&self) -> bool {
        self.dropped.is_some()
    }

    /// Workers could not write these records, or have overwritten them.
    pub(crate) fn on_lost(&mut self, records: u64, now: Instant) -> Option<Message> {
        self.lost = self.lost.saturating_add(records);
        let is_due = self.reported_at.is_none_or(|at| now >= at + BETWEEN);
        if self.lost == 0 || !is_due {
            return None;
        }
        self.reported_at = Some(now);
        let lost = std::mem::take(&mut self.lost);
        let text = format!(
            "{lost} spans were lost before they could be sent: there are more than the collector takes (setting: otlp_sample)"
        );
        Some((Level::Warning, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_fails_is_reported_once_and_when_it_works_again() {
        let mut reports = Reports::default();
        assert_eq!(reports.on_sent("u"), None);
        let (level, text) = reports.on_failed("u", &"it answers 500", 3).unwrap();
        assert_eq!(level, Level::Warning);
        assert!(
            text.starts_with("cannot send spans to u: it answers 500;"),
            "{text}"
        );
        assert_eq!(reports.on_failed("u", &"it answers 500", 4), None);
        assert!(reports.is_failing());
        let expected = "spans are sent to u again; 7 were lost".to_owned();
        assert_eq!(reports.on_sent("u"), Some((Level::Info, expected)));
        assert!(!reports.is_failing() && reports.on_sent("u").is_none());
    }

    #[test]
    fn lost_records_are_reported_once_a_minute() {
        let mut reports = Reports::default();
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
}
