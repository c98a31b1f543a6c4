//! The response that a connection is sending, and how it is logged and counted.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{ResponseBody, ResponseHead};
use lockgate_observe::{Loss, Outcome, Response};

use super::Http1;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::exchange::request_id::RequestId;
use crate::exchange::response_rules::{ResponseRules, without_request_id};
use crate::log::access_log::Entry;

/// The current response, and what its framing needs of the request.
#[derive(Default)]
pub(super) struct ResponseState {
    /// The body in progress.
    pub(super) body: Option<ResponseBody>,
    /// The connection closes after it.
    pub(super) closes: bool,
    /// Some of it may have been sent.
    pub(super) is_committed: bool,
    /// Pieces of it may be held in the kernel (MSG_MORE).
    pub(super) is_corked: bool,
    /// Bytes in the output queue before it.
    pub(super) begins_at: u64,
    pub(super) is_head_request: bool,
    /// Its framing is that of HTTP/1.0.
    pub(super) is_http10: bool,
    /// It has no Connection.
    pub(super) omits_connection: bool,
    pub(super) client_keeps_alive: bool,
    /// What changes its head, and the texts of the server.
    pub(super) rules: Option<Arc<ResponseRules>>,
    /// The id of its request, if requests have one.
    pub(super) request_id: Option<RequestId>,
    /// Its line of the access log.
    pub(super) entry: Option<Box<Entry>>,
    pub(super) status: u16,
    /// When the request was complete, by the clock of the scoreboard; `None` once its response has been sent or is no
    /// longer waited for.
    pub(super) ready_at: Option<u64>,
    /// It is counted, although it has not ended.
    pub(super) is_counted: bool,
    /// Watches the request's deadline, while there is one.
    pub(super) call_slot: Option<Arc<CallSlot>>,
}

impl ResponseState {
    /// The head that is sent in place of `head`; `None`: no rule changes it.
    #[inline]
    pub(super) fn edited(&self, head: &ResponseHead) -> Option<ResponseHead> {
        if self.rules.is_none() && self.request_id.is_none() {
            return None;
        }
        self.edited_by_rules(head)
    }

    #[inline(never)]
    fn edited_by_rules(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let edited = (self.rules.as_deref()).and_then(|rules| rules.edited(head));
        let stripped = (self.request_id.as_ref())
            .and_then(|_| without_request_id(edited.as_ref().unwrap_or(head)));
        stripped.or(edited)
    }

    /// It goes to a web server over the uwsgi protocol, which reads until the connection ends and has no chunks.
    pub(super) fn begin_uwsgi(&mut self) {
        self.is_http10 = true;
        self.omits_connection = true;
        self.client_keeps_alive = false;
    }

    /// Whether the body is complete and the connection may continue.
    pub(super) fn finish_body(&mut self) -> bool {
        self.body
            .as_mut()
            .is_some_and(|body| body.finish().is_ok() && body.keep_alive())
    }
}

impl Http1 {
    /// Writes the access-log line of the present request, once.
    pub(super) fn record(&mut self, outcome: Outcome, now: Instant) {
        if self.response.entry.is_some() {
            let queued = (self.response.body.as_ref()).map_or(0, ResponseBody::sent);
            // What never reached the socket is not counted; chunk framing makes this an upper bound of the loss.
            self.record_body(queued.saturating_sub(self.link.out.len()), outcome, now);
        }
    }

    /// As [`Http1::record`], with the number of bytes of the response's body.
    pub(super) fn record_body(&mut self, body_bytes: u64, outcome: Outcome, now: Instant) {
        let Some(mut entry) = self.response.entry.take() else {
            return;
        };
        let has_begun = entry.status != 0 && self.link.out.departed() > entry.response_begins_at;
        if entry.status == 0 || (outcome == Outcome::ClientGone && !has_begun) {
            // The client left before it received any of the response; 499 as in nginx.
            entry.status = 499;
        }
        let client = entry.client.as_ref().unwrap_or(&self.link.client);
        (self.context).record(&entry, client, body_bytes, outcome, now);
        entry.reuse();
    }

    /// The response has been sent in full, by the thread that runs the event loop.
    pub(super) fn count_response(&mut self, now: Instant) {
        if self.response.is_counted {
            return self.count_rest();
        }
        if let Some(counters) = self.context.metrics.counted() {
            let response = self.counted_response(now);
            self.context.metrics.record_response(counters, response);
        }
    }

    /// The response has been sent in full, by another thread.
    pub(super) fn count_response_among_others(&mut self, now: Instant) {
        if let Some(counters) = self.context.metrics.counted() {
            let response = self.counted_response(now);
            (self.context.metrics).record_response_among_others(counters, response);
        }
    }

    /// The current request, if any, does not get the application's complete response. It may itself be incomplete.
    #[cold]
    pub(super) fn count_loss(&mut self, loss: Loss) {
        let is_request = self.response.ready_at.take().is_some() || self.reader.is_reading_body();
        if is_request && let Some(counters) = self.context.metrics.counted() {
            counters.record_loss(loss, self.link.out.take_departed());
        }
    }

    /// The loss of the current request was counted at its deadline: only the bytes sent are left to count.
    #[cold]
    pub(super) fn count_rest(&mut self) {
        self.response.ready_at = None;
        if let Some(counters) = self.context.metrics.counted() {
            counters.record_sent(self.link.out.take_departed());
        }
    }

    fn counted_response(&mut self, now: Instant) -> Response {
        let now = self.context.metrics.nanos(now);
        let ready_at = self.response.ready_at.take();
        Response {
            status: self.response.status,
            bytes: self.link.out.take_departed(),
            duration: ready_at.map(|ready_at| now.saturating_sub(ready_at)),
        }
    }
}
