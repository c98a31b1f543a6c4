//! The writer of a response that may be stored: passes it on to the client and collects it.

mod collecting;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use lockgate_cache::{
    CacheStatus, Forwarded, Freshened, NotStored, freshen, invalidated_keys, invalidates,
    may_serve_stale_on_error, storable, tags,
};
use lockgate_http::conditional::{Condition, Validators, evaluate};
use lockgate_http::{BodyLength, RequestHead, ResponseHead, http_date, reason_phrase};
use lockgate_shm::responses::{FlightOutcome, PurgeEpoch};

pub(super) use self::collecting::Collecting;
use super::entries::Entries;
use super::flight::Flight;
use super::stored::{Stored, set_cache_status};
use super::target::Target;
use crate::date::unix_seconds;
use crate::exchange::prepared::{Prepared, PreparedBody, send_part};
use crate::exchange::writer::ResponseWriter;

/// How long requests for a URL do not wait for each other after a response that is not stored.
const AFTER_UNCACHEABLE: Duration = Duration::from_secs(10);

/// The same after an error: the next response may be another one.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// See the module documentation.
pub(super) struct CacheWriter {
    inner: Box<dyn ResponseWriter>,
    entries: Arc<Entries>,
    fill: Box<Fill>,
    state: State,
}

/// What is known of the request.
pub(super) struct Fill {
    /// As the client has sent it.
    pub(super) request: RequestHead,
    pub(super) target: Target,
    /// The primary key.
    pub(super) key: Vec<u8>,
    /// Purges after this moment concern the response.
    pub(super) since: PurgeEpoch,
    /// Others wait for the response.
    pub(super) flight: Option<Flight>,
    /// What they have in common.
    pub(super) flight_key: Option<Vec<u8>>,
    /// The stored response that the application validates, and that may be used when it fails.
    pub(super) stored: Option<Stored>,
    /// The conditions that the application sees are those of the cache, or it sees none.
    pub(super) has_own_conditions: bool,
    /// Why the stored responses were no answer.
    pub(super) forwarded: Forwarded,
    /// The response is not stored, because it may depend on more than the key.
    pub(super) is_bypassed: bool,
}

/// What becomes of the response.
enum State {
    /// It has not begun.
    Waiting,
    /// The client gets it; it is not stored.
    Passing,
    /// The client gets a stored one instead.
    Replaced,
    /// The client gets it, and it is stored when it is complete.
    Collecting(Box<Collecting>),
}

impl CacheWriter {
    pub(super) fn new(
        inner: Box<dyn ResponseWriter>,
        entries: Arc<Entries>,
        fill: Box<Fill>,
    ) -> Self {
        Self {
            inner,
            entries,
            fill,
            state: State::Waiting,
        }
    }

    /// The requests that wait go on.
    fn end_flight(&mut self, outcome: FlightOutcome) {
        if let Some(flight) = self.fill.flight.take() {
            flight.end(outcome);
        }
    }

    /// The requests that wait go on, all at once: there is no response for them, and the next ones do not wait for a
    /// while.
    fn end_flight_without_response(&mut self, pause: Duration, now: u64) {
        if let Some(key) = &self.fill.flight_key {
            self.entries
                .mark_uncacheable(key, pause, self.fill.since, now);
        }
        self.end_flight(FlightOutcome::NotStored);
    }

    fn begin(&mut self, head: &ResponseHead, length: BodyLength, now: u64) {
        let stored = self.fill.stored.take();
        if let Some(mut stored) = stored.clone() {
            if self.validates(head) {
                self.freshen(&mut stored, head, now);
                return self.begin_stored(&stored, Some(304), now);
            }
            let is_failure = matches!(head.status(), 500 | 502 | 503 | 504);
            if is_failure && may_serve_stale_on_error(&stored.meta, now) {
                self.end_flight_without_response(AFTER_ERROR, now);
                return self.begin_stored(&stored, Some(head.status()), now);
            }
        }
        let mut head = self.decide(head, length, stored, now);
        if self.fill.has_own_conditions && self.has_client(&head, now) {
            self.state = match std::mem::replace(&mut self.state, State::Replaced) {
                State::Collecting(mut collecting) => {
                    collecting.is_forwarded = false;
                    State::Collecting(collecting)
                }
                _ => State::Replaced,
            };
            become_not_modified(&mut head);
            return self.inner.start(&head, BodyLength::Known(0));
        }
        self.inner.start(&head, length);
    }

    /// Decides whether a response is stored, in place of the one that it replaces. Returns its head for the client.
    fn decide(
        &mut self,
        head: &ResponseHead,
        length: BodyLength,
        replaced: Option<Stored>,
        now: u64,
    ) -> ResponseHead {
        if invalidates(self.fill.request.method(), head.status()) {
            self.invalidate(head);
        }
        // The application's own length comes first, as in the framing.
        let expected = head.content_length().or(match length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Unknown => None,
        });
        let mut status = CacheStatus {
            forwarded: Some(self.fill.forwarded),
            ..CacheStatus::default()
        };
        let storable = match self.fill.is_bypassed {
            true => None,
            false => Some(storable(&self.fill.request, head, now)),
        };
        match storable {
            Some(Ok(freshness)) if self.entries.has_room_for(expected) => {
                let collecting = Collecting::new(head.clone(), freshness, expected);
                self.state = State::Collecting(Box::new(collecting));
                status.stored = true;
                status.ttl = Some(freshness.remaining(now));
            }
            outcome => {
                let why = outcome.and_then(Result::err);
                status.detail = match why {
                    // `fwd` says it.
                    Some(NotStored::Method) => None,
                    None if self.fill.is_bypassed => None,
                    why => Some(why.map_or("too-large", NotStored::as_str)),
                };
                if let Some(replaced) = replaced.filter(|_| head.status() < 500) {
                    // A new response replaces the stale one also where it may not be stored (RFC 9111 §4.3.3).
                    self.entries.remove(&replaced);
                }
                self.state = State::Passing;
                let is_of_request = matches!(
                    why,
                    Some(NotStored::Method | NotStored::RequestNoStore | NotStored::Authorization)
                );
                match head.status() {
                    _ if is_of_request => self.end_flight(FlightOutcome::NotStored),
                    500.. => self.end_flight_without_response(AFTER_ERROR, now),
                    _ => self.end_flight_without_response(AFTER_UNCACHEABLE, now),
                }
            }
        }
        let mut head = head.clone();
        tags::remove(&mut head);
        set_cache_status(&mut head, status);
        head
    }

    /// Whether the application has found the stored response to be right.
    fn validates(&self, head: &ResponseHead) -> bool {
        head.status() == 304 && self.fill.has_own_conditions
    }

    /// Removes what a request may have changed.
    fn invalidate(&self, head: &ResponseHead) {
        let Target {
            scheme,
            host,
            path_and_query,
        } = &self.fill.target;
        let ignored = self.entries.ignored_parameters();
        let keys = invalidated_keys(scheme.as_bytes(), host, path_and_query, head, ignored);
        for key in keys {
            self.entries.invalidate(&key);
        }
    }

    /// Updates a stored response which the application has found to be right.
    fn freshen(&mut self, stored: &mut Stored, head: &ResponseHead, now: u64) {
        let outcome = match freshen(&mut stored.meta, &self.fill.request, head, now) {
            Freshened::Updated => {
                self.entries.replace(stored, now);
                FlightOutcome::Stored
            }
            // The application answers the validators of one version with those of another: this request gets what it
            // was asked about, and the next one a new response.
            Freshened::Once(_) | Freshened::Mismatch => {
                self.entries.remove(stored);
                FlightOutcome::NotStored
            }
        };
        self.end_flight(outcome);
    }

    /// Whether the client has this response: its own conditions were not passed to the application.
    fn has_client(&self, head: &ResponseHead, now: u64) -> bool {
        let request = &self.fill.request;
        let validators = Validators {
            etag: head.header("etag"),
            last_modified: head.header("last-modified").and_then(http_date::parse),
        };
        head.status() == 200
            && evaluate(request.method(), request, &validators, now) == Condition::NotModified
    }

    /// The stored response, for this request. `answered` is the status of the application's response, if it has one.
    fn prepare_stored(&self, stored: &Stored, answered: Option<u16>, now: u64) -> Prepared {
        let status = CacheStatus {
            forwarded: Some(self.fill.forwarded),
            forwarded_status: answered,
            ttl: Some(stored.meta.freshness.remaining(now)),
            ..CacheStatus::default()
        };
        stored.prepare(&self.fill.request, (None, false), status, now)
    }

    /// A response in one piece: what `respond` gets.
    fn take_prepared(&mut self, mut response: Prepared, now: u64) -> Prepared {
        let replaced = self.fill.stored.take();
        if let Some(mut stored) = replaced.clone()
            && self.validates(&response.head)
        {
            self.freshen(&mut stored, &response.head, now);
            return self.prepare_stored(&stored, Some(304), now);
        }
        let mut head = self.decide(&response.head, response.body.framing(), replaced, now);
        if let State::Collecting(collecting) = &mut self.state
            && !(response.body).read_into(&mut collecting.body)
        {
            // The client's connection finds a file that is too short.
            self.state = State::Passing;
        }
        self.store();
        if self.fill.has_own_conditions && self.has_client(&head, now) {
            become_not_modified(&mut head);
            response.body = PreparedBody::Empty;
        }
        response.head = Arc::new(head);
        response
    }

    /// The connection is no longer HTTP's, or waits for messages: no other request gets the response.
    fn leave_flight(&mut self) {
        self.end_flight_without_response(AFTER_UNCACHEABLE, unix_seconds());
    }

    /// The client gets a stored response; what the application sends is dropped. `answered` is the status of the
    /// application's response, if it has one.
    fn begin_stored(&mut self, stored: &Stored, answered: Option<u16>, now: u64) {
        let prepared = self.prepare_stored(stored, answered, now);
        let length = prepared.body.framing();
        self.inner.start(&prepared.head, length);
        if self.inner.allows_body() {
            prepared.body.for_each(&mut |part| {
                // A client that has gone needs no answer.
                let _sent = send_part(&mut *self.inner, part);
            });
        }
        self.state = State::Replaced;
    }
}

/// RFC 9110 §15.4.5.
fn become_not_modified(head: &mut ResponseHead) {
    // A final status, and a standard reason.
    let _valid = head.set_status(304, reason_phrase(304).as_bytes());
    for name in ["Content-Type", "Content-Encoding", "Content-Language"] {
        head.remove(name.as_bytes());
    }
}
