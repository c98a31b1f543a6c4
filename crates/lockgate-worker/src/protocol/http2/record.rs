//! How the responses of a connection are logged and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::RequestHead;
use lockgate_observe::{Loss, Outcome, Response};

use crate::client::Client;
use crate::event_loop::context::Context;
use crate::log::access_log::Entry;
use crate::protocol::intake::Rejection;

/// A response of which nothing is left but to send what is queued.
pub(super) struct Ended {
    pub(super) entry: Option<Box<Entry>>,
    pub(super) status: u16,
    /// When the request was complete, by the clock of the scoreboard; `None`: not counted with its duration.
    pub(super) ready_at: Option<u64>,
    pub(super) body_bytes: u64,
    /// It is in the counters already.
    pub(super) is_counted: bool,
}

/// The responses that wait for the socket, in the order in which they end.
#[derive(Default)]
pub(super) struct Unsent {
    responses: VecDeque<(u64, Ended)>,
}

impl Unsent {
    /// Adds responses that end before the byte `ends_at` of the connection's output.
    #[inline]
    pub(super) fn extend(&mut self, ended: &mut Vec<Ended>, ends_at: u64) {
        if !ended.is_empty() {
            (self.responses).extend(ended.drain(..).map(|ended| (ends_at, ended)));
        }
    }

    /// Takes a response that was sent in full when `departed` bytes had been sent.
    pub(super) fn take_sent(&mut self, departed: u64) -> Option<Ended> {
        let &(ends_at, _) = self.responses.front()?;
        if ends_at > departed {
            return None;
        }
        self.responses.pop_front().map(|(_, ended)| ended)
    }

    pub(super) fn shrink(&mut self, spare: usize) {
        self.responses.shrink_to(spare);
    }

    /// Takes any response.
    pub(super) fn take(&mut self) -> Option<Ended> {
        self.responses.pop_front().map(|(_, ended)| ended)
    }
}

impl Ended {
    /// The response was sent in full. `bytes`: how many were sent since another response was counted.
    pub(super) fn record_sent(
        self,
        bytes: u64,
        peer: &Arc<Client>,
        context: &Context,
        now: Instant,
    ) {
        if let Some(counters) = context.metrics.counted() {
            let nanos = context.metrics.nanos(now);
            let duration = (self.ready_at).map(|ready_at| nanos.saturating_sub(ready_at));
            let response = Response {
                status: self.status,
                bytes,
                duration,
            };
            match self.is_counted {
                true => counters.record_sent(bytes),
                false => context.metrics.record_response(counters, response),
            }
        }
        log(
            self.entry,
            self.body_bytes,
            Outcome::Complete,
            peer,
            context,
            now,
        );
    }

    /// The client does not get all of the response.
    #[cold]
    pub(super) fn record_lost(
        self,
        outcome: Outcome,
        loss: Loss,
        peer: &Arc<Client>,
        context: &Context,
        now: Instant,
    ) {
        count_loss(self.ready_at, loss, context);
        log(self.entry, self.body_bytes, outcome, peer, context, now);
    }
}

/// A request does not get the application's complete response.
#[cold]
pub(super) fn count_loss(ready_at: Option<u64>, loss: Loss, context: &Context) {
    if ready_at.is_some()
        && let Some(counters) = context.metrics.counted()
    {
        counters.record_loss(loss, 0);
    }
}

/// The access-log entry of a refused request, if requests are logged.
#[cold]
pub(super) fn logged(
    entry: Option<Box<Entry>>,
    rejection: &Rejection,
    head: &RequestHead,
    context: &Context,
    now: Instant,
) -> Option<Box<Entry>> {
    if !context.records_requests() {
        return None;
    }
    let mut entry = entry.unwrap_or_else(|| {
        let mut entry = Entry::take();
        entry.head.clone_from(head);
        entry.started = Some(now);
        entry
    });
    entry.status = rejection.status();
    entry.reason = rejection.reason();
    if entry.request_id.is_none() {
        entry.request_id = context.new_request_id();
    }
    Some(entry)
}

/// Writes the access-log line of a request.
#[inline]
pub(super) fn log(
    entry: Option<Box<Entry>>,
    body_bytes: u64,
    outcome: Outcome,
    peer: &Arc<Client>,
    context: &Context,
    now: Instant,
) {
    let Some(mut entry) = entry else {
        return;
    };
    if entry.status == 0 {
        // The client left before it received any of the response; 499 as in nginx.
        entry.status = 499;
    }
    context.record(
        &entry,
        entry.client.as_ref().unwrap_or(peer),
        body_bytes,
        outcome,
        now,
    );
    entry.reuse();
}
