//! Validation in the background: clients get a stale response meanwhile (RFC 5861 §3).

use std::sync::Arc;
use std::time::Instant;

use lockgate_cache::{Forwarded, revalidation};
use lockgate_shm::responses::{Flight as Joined, PurgeEpoch};

use super::entries::Entries;
use super::fill::{CacheWriter, Fill};
use super::flight::Flight;
use super::stored::Stored;
use super::target::Target;
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::collector::Collector;
use crate::exchange::handler::Resume;

/// See the module documentation.
pub(super) struct Background {
    pub(super) entries: Arc<Entries>,
    pub(super) resume: Arc<dyn Resume>,
}

impl Background {
    /// Asks the application for the response to this request again, unless another request does.
    pub(super) fn validate(
        &self,
        exchange: &Exchange,
        key: &[u8],
        stored: &Stored,
        since: PurgeEpoch,
    ) {
        let store = self.entries.store();
        let joined = store.begin_flight(&stored.key, std::process::id(), unix_seconds());
        let Ok(Joined::Leader(token)) = joined else {
            return;
        };
        // Ends when it is dropped.
        let flight = Flight::new(store, token);
        let mut request = exchange.request.without_body();
        request.head.remove_fields(is_of_client_alone);
        for (name, value) in revalidation(&stored.meta) {
            request.head.set_field(name.as_bytes(), value);
        }
        let fill = Fill {
            request: request.head.clone(),
            target: Target::of(&exchange.request),
            key: key.to_vec(),
            since,
            flight: Some(flight),
            flight_key: Some(stored.key.clone()),
            stored: Some(stored.clone()),
            has_own_conditions: true,
            forwarded: Forwarded::Stale,
            is_bypassed: false,
        };
        let client = Box::new(Collector::new(usize::MAX, Box::new(|_| {})));
        let writer = CacheWriter::new(client, Arc::clone(&self.entries), Box::new(fill));
        let mut background = Exchange::new(
            request,
            Box::new(writer),
            Instant::now(),
            exchange.ready_nanos,
        );
        background.next_handler = exchange.next_handler;
        self.resume.resume(background);
    }
}

/// Fields that choose a part or a version for one client (RFC 9110 §13.1, §14.2).
fn is_of_client_alone(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"range")
        || name
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"if-"))
}
