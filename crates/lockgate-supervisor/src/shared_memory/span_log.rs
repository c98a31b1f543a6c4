//! The log of spans: what workers record of sampled requests, for the OTLP exporter.

use std::os::fd::OwnedFd;

use lockgate_config::IdentityConfig;
use lockgate_observe::Level;
use lockgate_shm::{Log, LogPlan};

use super::region::Region;
use crate::Hooks;

/// What is kept until the exporter reads it, ten times a second: about 10,000 spans.
const PLAN: LogPlan = LogPlan {
    size: 4 << 20,
    channels: 1,
};

/// The log that the previous program in this process has left, or a new one, if spans are sent.
pub(super) fn open(
    inherited: Option<OwnedFd>,
    config: &IdentityConfig,
    hooks: &dyn Hooks,
) -> Region<Log> {
    if config.otlp.is_none() {
        return Region::default();
    }
    if let Some(log) = inherited.and_then(|memory| Region::inherit(memory, &PLAN)) {
        return log;
    }
    Region::create(&PLAN).unwrap_or_else(|error| {
        let message = format!("cannot create the memory of spans: {error}; no spans are sent");
        hooks.log(Level::Error, &message);
        Region::default()
    })
}
