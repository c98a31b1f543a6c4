//! The log of spans: what workers record of sampled requests, for the OTLP exporter.

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

/// A new log, if spans are sent. It is not handed over at an upgrade: the exporter of the next program begins with the
/// spans of its own workers.
pub(super) fn open(config: &IdentityConfig, hooks: &dyn Hooks) -> Region<Log> {
    if config.otlp.is_none() {
        return Region::default();
    }
    Region::create(&PLAN).unwrap_or_else(|error| {
        let message = format!("cannot create the memory of spans: {error}; no spans are sent");
        hooks.log(Level::Error, &message);
        Region::default()
    })
}
