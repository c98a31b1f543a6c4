//! Validation in the background: clients get a stale response meanwhile (RFC 5861 §3).

use std::sync::Arc;
use std::time::Instant;

use lockgate_cache::{Forwarded, revalidation};
use lockgate_http::Limits;
use lockgate_shm::responses::{Flight as Joined, PurgeEpoch};

use super::entries::Entries;
use super::fill::{CacheWriter, Fill};
use super::flight::Flight;
use super::stored::Stored;
use super::target::Target;
use crate::date::unix_seconds;
use crate::exchange::Exchange;
use crate::exchange::body::buffer::BodyPool;
use crate::exchange::collector::Collector;
use crate::exchange::handler::Resume;
use crate::exchange::origin::{Origin, Subrequest};

/// See the module documentation.
pub(super) struct Background {
    pub(super) entries: Arc<Entries>,
    pub(super) resume: Arc<dyn Resume>,
    pub(super) limits: Limits,
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
        let client = &exchange.request.head;
        let conditions = revalidation(&stored.meta);
        let mut fields: Vec<(&[u8], &[u8])> = conditions
            .map(|(name, value)| (name.as_bytes(), value))
            .collect();
        let codings = client.headers();
        fields.extend(codings.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding")));
        let subrequest = Subrequest {
            method: b"GET",
            target: client.target(),
            fields: &fields,
            omits: |_| false,
            body: None,
        };
        let bodies = Arc::new(BodyPool::new(0));
        let origin = Origin::of(&exchange.request);
        let Ok(request) = origin.request(subrequest, &self.limits, &bodies) else {
            // The client's own request was valid; with these fields it exceeds a limit.
            return;
        };
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
