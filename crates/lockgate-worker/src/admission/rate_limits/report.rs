//! The warning about clients that a limit refuses: from time to time, and without the values of fields and cookies.

use std::time::Instant;

use lockgate_observe::Level;
use lockgate_shm::rates::{RatedKey, ShownKey};

use super::limit::{Limit, Measure};
use crate::client::Client;
use crate::log::ErrorLog;

/// A request that a limit refuses, or would.
pub(super) struct Report<'a> {
    pub(super) limit: &'a Limit,
    pub(super) measure: &'a Measure,
    pub(super) key: &'a RatedKey,
    pub(super) client: &'a Client,
}

impl Report<'_> {
    pub(super) fn log(&self, log: &ErrorLog, now: Instant) {
        if let Some(suppressed) = self.limit.throttle.record(now) {
            log.write_unless_blocked(Level::Warning, &self.message(&suppressed));
        }
    }

    pub(super) fn message(&self, suppressed: &str) -> String {
        let (name, allowed, key) = (&self.limit.name, &self.measure.notation, self.key_text());
        match self.limit.is_dry_run {
            false => format!(
                "the limit {name} ({allowed}) refuses requests of {key} with 429{suppressed}"
            ),
            true => format!(
                "the limit {name} ({allowed}) would refuse requests of {key} without dry_run{suppressed}"
            ),
        }
    }

    fn key_text(&self) -> String {
        match self.key.shown {
            ShownKey::Everyone => "all clients".to_owned(),
            ShownKey::Hash => format!("the key {:08x}", self.key.hash.short()),
            ShownKey::V4(_) | ShownKey::V6(_) | ShownKey::Unix => self.client.shown().to_owned(),
        }
    }
}
