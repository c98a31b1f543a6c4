//! Log throttling for recurring events: the first is logged at once, later ones at most once per interval, with a
//! count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time between two lines about the same event.
const INTERVAL: Duration = Duration::from_secs(10);

/// An event that may recur many times.
#[derive(Debug, Default)]
pub struct LogThrottle {
    logged_at: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// Records an occurrence. `Some(n)`: log it now; n occurrences since the last line were not logged.
    pub fn record(&mut self, now: Instant) -> Option<u64> {
        let is_due = self
            .logged_at
            .is_none_or(|logged_at| now.saturating_duration_since(logged_at) >= INTERVAL);
        if !is_due {
            self.suppressed += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// An event that any thread may cause.
#[derive(Debug, Default)]
pub struct SharedThrottle(Mutex<LogThrottle>);

impl SharedThrottle {
    /// Records an occurrence. `Some`: log it now, with this at the end of the line.
    pub fn record(&self, now: Instant) -> Option<String> {
        let mut throttle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.record(now).map(and_suppressed)
    }
}

/// The part of a line that counts the occurrences that were not logged.
pub fn and_suppressed(suppressed: u64) -> String {
    match suppressed {
        0 => String::new(),
        more => format!(" (and {more} more since the last such line)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_is_logged_at_once_and_later_ones_are_counted() {
        let start = Instant::now();
        let mut throttle = LogThrottle::default();
        let found: Vec<Option<u64>> = [0, 0, 1, 9, 10, 11, 35, 36]
            .into_iter()
            .map(|second| throttle.record(start + Duration::from_secs(second)))
            .collect();
        let expected = [Some(0), None, None, None, Some(3), None, Some(1), None];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_count_of_suppressed_events_is_left_out_if_zero() {
        assert_eq!(and_suppressed(0), "");
        assert_eq!(and_suppressed(1), " (and 1 more since the last such line)");
        assert!(and_suppressed(12).contains("and 12 more"));
    }
}
