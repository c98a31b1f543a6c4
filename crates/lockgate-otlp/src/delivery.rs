//! Sending of one signal: the requests to its path, once more where OTLP allows it, and what is logged of failures.

use std::thread;
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
    pub(crate) reports: Reports,
}

impl Delivery {
    pub(crate) fn new(config: &OtlpConfig, signal: OtlpSignal, version: &str) -> Self {
        let OtlpConfig { host, port, .. } = config;
        let path = config.path_of(signal);
        Self {
            reports: Reports::new(signal, format!("http://{host}:{port}{path}")),
            path,
            config: config.clone(),
            version: version.to_owned(),
        }
    }

    /// Sends a body of `count` spans or the like. What the collector does not take is dropped.
    pub(crate) fn send(&mut self, host: &dyn Host, body: &[u8], count: u64) {
        let messages = match self.post(body) {
            Ok(refused) => [
                self.reports.on_sent(),
                self.reports.on_refused(refused, Instant::now()),
            ],
            Err(failure) => [self.reports.on_failed(&failure, count), None],
        };
        for (level, text) in messages.into_iter().flatten() {
            host.write(level, &text);
        }
    }

    /// Returns how much was refused. Tries twice, unless the last attempt for another body has failed, too.
    fn post(&self, body: &[u8]) -> Result<u64, collector::Failure> {
        let send = || collector::send(&self.config, &self.path, &self.version, body);
        let failure = match send() {
            Ok(refused) => return Ok(refused),
            Err(failure) => failure,
        };
        match failure.retry_after(RETRY) {
            Some(delay) if !self.reports.is_failing() => {
                thread::sleep(delay.min(LONGEST_RETRY));
                send()
            }
            _ => Err(failure),
        }
    }
}
