//! Load shedding: the response to requests that get no thread (503, or none for clients that have gone), and a warning
//! for the operator. The queue decides which requests those are.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lockgate_config::Config;

use crate::exchange::route_limits::longest_wait;
use crate::exchange::writer::DropReason;
use crate::log::throttle::LogThrottle;

/// Refusals that have not been logged yet.
#[derive(Default)]
pub struct SheddingReport {
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct Refusals {
    throttle: LogThrottle,
    too_late: u64,
    queue_full: u64,
}

impl SheddingReport {
    /// Counts a refusal. Returns a warning from time to time.
    pub fn warning(
        &self,
        why: DropReason,
        config: &Config,
        has_route_limits: bool,
        now: Instant,
    ) -> Option<String> {
        let (too_late, queue_full) = self.record(why, now)?;
        let mut parts = Vec::new();
        if too_late > 0 {
            let limit = longest_wait(config.queue_timeout, config.request_timeout);
            let setting = if config.queue_timeout == limit {
                "queue_timeout"
            } else {
                "request_timeout"
            };
            let limit = match (has_route_limits, limit) {
                (false, Some(limit)) => format!("{setting} = {limit:?}"),
                _ => "queue_timeout or request_timeout of their route".to_owned(),
            };
            parts.push(format!(
                "{too_late} waited for a thread for longer than {limit}"
            ));
        }
        if queue_full > 0 {
            let size = config.queue_size;
            parts.push(format!(
                "{queue_full} arrived while queue_size = {size} requests were waiting"
            ));
        }
        Some(format!(
            "this worker is overloaded; refused with 503: {}",
            parts.join(", ")
        ))
    }

    /// Counts a refusal. When a line is due: how many were too late, and how many found the queue full.
    fn record(&self, why: DropReason, now: Instant) -> Option<(u64, u64)> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            DropReason::TooLate => refusals.too_late += 1,
            DropReason::QueueFull => refusals.queue_full += 1,
            DropReason::Gone | DropReason::HalfClosed => return None,
        }
        refusals.throttle.record(now)?;
        Some((
            std::mem::take(&mut refusals.too_late),
            std::mem::take(&mut refusals.queue_full),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_refusal_is_logged_at_once_and_later_ones_together() {
        let start = Instant::now();
        let report = SheddingReport::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(report.record(DropReason::Gone, at(0)), None);
        assert_eq!(report.record(DropReason::QueueFull, at(0)), Some((0, 1)));
        assert_eq!(report.record(DropReason::QueueFull, at(1)), None);
        assert_eq!(report.record(DropReason::TooLate, at(9)), None);
        assert_eq!(report.record(DropReason::HalfClosed, at(11)), None);
        assert_eq!(report.record(DropReason::TooLate, at(11)), Some((2, 1)));
        assert_eq!(report.record(DropReason::TooLate, at(20)), None);
    }

    #[test]
    fn the_warning_names_the_setting_that_refused_the_requests() {
        let mut config = Config::with_defaults(lockgate_config::AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        });
        config.queue_size = 5;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (queue_timeout, request_timeout, why, expected) in [
            (
                seconds(3),
                seconds(9),
                DropReason::TooLate,
                "1 waited for a thread for longer than queue_timeout = 3s",
            ),
            (
                None,
                None,
                DropReason::TooLate,
                "1 waited for a thread for longer than queue_timeout or request_timeout of their route",
            ),
            (
                None,
                seconds(9),
                DropReason::TooLate,
                "1 waited for a thread for longer than request_timeout = 9s",
            ),
            (
                seconds(9),
                seconds(3),
                DropReason::TooLate,
                "1 waited for a thread for longer than request_timeout = 3s",
            ),
            (
                None,
                None,
                DropReason::QueueFull,
                "1 arrived while queue_size = 5 requests were waiting",
            ),
        ] {
            config.queue_timeout = queue_timeout;
            config.request_timeout = request_timeout;
            let report = SheddingReport::default();
            let warning = report.warning(why, &config, false, Instant::now());
            let warning = warning.unwrap();
            assert!(warning.ends_with(expected), "{warning}");
        }
    }
}
