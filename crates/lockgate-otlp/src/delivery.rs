//! Sending of one signal: the requests to its path, once more where OTLP allows it, and what is logged of failures.
//!
//! It never sleeps until a retry: the same thread sends the other signals.

use std::time::{Duration, Instant};

use lockgate_config::{OtlpConfig, OtlpSignal};

use crate::collector;
use crate::exporter::Host;
use crate::reports::Reports;

/// How long the exporter waits before it sends once more, if the collector does not say, and at most.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Delivery {
    config: OtlpConfig,
    path: String,
    version: String,
    /// Nothing is sent before: the last body waits to be sent once more, or the collector has asked for it.
    not_before: Option<Instant>,
    pub(crate) reports: Reports,
}

impl Delivery {
    pub(crate) fn new(config: &OtlpConfig, signal: OtlpSignal, version: &str) -> Self {
        let OtlpConfig { host, port, .. } = config;
        let path = config.path_of(signal);
        Self {
            reports: Reports::new(signal, format!("http://{host}:{port}{path}")),
            path,
            not_before: None,
            config: config.clone(),
            version: version.to_owned(),
        }
    }

    /// Whether the time of a retry has come, if the collector has asked for one.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// Sends a body of `count` spans or the like. `false`: send them once more as soon as it [is open](Self::is_open).
    /// That is asked for once, not while the collector fails, and not if this attempt `is_last`; then they are dropped.
    /// The next ones wait as long as the collector asks.
    pub(crate) fn send(
        &mut self,
        host: &dyn Host,
        body: &[u8],
        count: u64,
        (now, is_last): (Instant, bool),
    ) -> bool {
        let begun = Instant::now();
        let sent = collector::send(&self.config, &self.path, &self.version, body);
        let may_retry = self.not_before.take().is_none() && !self.reports.is_failing() && !is_last;
        let messages = match sent {
            Ok(answer) => [
                self.reports.on_sent(),
                self.reports.on_refused(&answer, Instant::now()),
            ],
            Err(failure) => {
                let is_again = may_retry && failure.is_passing();
                let delay = failure.retry_after().or(is_again.then_some(RETRY));
                let waits_until =
                    |delay: Duration| now + begun.elapsed() + delay.min(LONGEST_RETRY);
                self.not_before = delay.map(waits_until);
                if is_again {
                    return false;
                }
                [self.reports.on_failed(&failure, count), None]
            }
        };
        for (level, text) in messages.into_iter().flatten() {
            host.write(level, &text);
        }
        true
    }
}
