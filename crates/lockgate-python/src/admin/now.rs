//! `GET /now`: what the server is doing, for the page of the admin listener.

use std::collections::HashMap;

use lockgate_history::{Now, Usage};

use super::answer::{Answer, JSON, VERSION};
use super::sources::Reader;
use super::{Admin, readiness};
use crate::clock::moment;
use crate::metrics::cache_counts;

/// The path of this moment.
pub(super) const PATH: &[u8] = b"/now";

impl Admin {
    pub(super) fn now(&self, reader: Reader) -> Answer {
        let at = moment();
        let usage: HashMap<u64, Usage> = (self.recording.as_ref())
            .map(|recording| recording.usage())
            .unwrap_or_default();
        let (_, readiness) = readiness(self.scoreboard);
        let now = Now {
            version: VERSION,
            at,
            scoreboard: self.scoreboard,
            shows_queries: self.shows_queries,
            page_may_act: self.actions.page_may_act,
            readiness: &readiness,
            usage: &usage,
            threads: &self.sampling.threads(at.monotonic),
            limits: &self.counted.limits(at.monotonic),
            certificates: &self.certificates(),
            cache: self.counted.responses.as_ref().map(cache_counts),
        };
        let mut body = Vec::new();
        let sources = self.sources.sources(reader);
        let mut lines = |file: &str, line, loaded| sources.line(file, line, loaded);
        now.write(&mut body, &mut lines);
        Answer::ok(JSON, body)
    }
}
