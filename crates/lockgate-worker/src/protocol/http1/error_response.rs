//! Error responses to requests that do not reach the application.

use std::time::Instant;

use lockgate_http::{BodyLength, RequestHead, ResponseContext, ResponseHead};
use lockgate_observe::Outcome;

use super::{Http1, Next, Phase};
use crate::date::with_date;
use crate::exchange::answer::Answer;
use crate::exchange::body::minimum_rate::ClientRate;
use crate::exchange::body::spool::Spool;
use crate::exchange::prepared::{Prepared, send_part};
use crate::exchange::writer::ResponseWriter;
use crate::log::access_log::Entry;
use crate::protocol::intake::{Rejection, warn_of_refusal};

impl Http1 {
    /// Queues the response to a request that does not go to the application.
    pub(super) fn refuse(&mut self, rejection: Rejection, outcome: Outcome, now: Instant) -> Next {
        let mut request = self.reader.request.take().unwrap_or_default();
        let is_head = request.head.method() == b"HEAD";
        let admitted_id = request.admitted.request_id.take();
        let request_id = admitted_id.or_else(|| self.context.new_request_id());
        if let Rejection::OfPeer(refusal) = &rejection {
            warn_of_refusal(
                *refusal,
                &request.head,
                &mut self.reader.identity,
                &self.link.client,
                &self.context,
                now,
            );
        }
        self.log_refused_head(&mut request.head, now);
        self.reader.spool = Spool::Empty;
        let (status, detail) = (rejection.status(), rejection.detail());
        if rejection.is_of_peer() {
            self.context.report_refusal(&self.link.client, &detail);
        }
        if let Some(entry) = &mut self.response.entry {
            entry.status = status;
            entry.reason = rejection.reason();
            entry.request_id.clone_from(&request_id);
        }
        self.response.status = status;
        let length_before = self.link.out.len();
        let server = self.context.server_header.as_deref();
        let tail = self.link.out.tail();
        let from = tail.len();
        let mut response = rejection.response();
        if let Some(rules) = &self.response.rules {
            response = rules.applied(&response.into());
        }
        if let Some(id) = &request_id {
            response = id.added_to(response);
        }
        response.close = !self.link.local.is_uwsgi;
        let body_bytes = with_date(|date| {
            let context = ResponseContext {
                omits_connection: !response.close,
                ..ResponseContext::closing(is_head, date, server)
            };
            response.encode(tail, &context)
        });
        let added = tail.len() - from;
        self.link.out.record_appended(added);
        debug_assert!(self.link.out.len() > length_before);
        self.record_body(body_bytes as u64, outcome, now);
        self.link.read_rate = ClientRate::default();
        self.response.closes = true;
        self.response.body = None;
        self.phase = Phase::Writing;
        self.link.deadline = now + self.context.config.write_timeout;
        // The client may have sent more than was read: close by lingering.
        self.link.readable = !self.link.read_closed;
        Next::Flush
    }

    /// Queues an answer of the server itself to a request that was read in full: the connection may continue.
    pub(super) fn queue_answer(&mut self, answer: &Answer, now: Instant) {
        let replaced = (self.response.rules.as_deref()).and_then(|rules| rules.replaced(answer));
        let response = replaced.as_ref().unwrap_or(&answer.response);
        let body = &*response.body;
        let mut head = ResponseHead::default();
        response.write_head(&mut head);
        self.start(&head, BodyLength::Known(body.len() as u64));
        let is_body_sent = self.allows_body();
        if is_body_sent {
            // A client that has gone is found by the flush.
            let _ = self.send_copy(body);
        }
        self.response.closes |= !self.response.finish_body();
        self.end_body_stream();
        self.phase = Phase::Writing;
        self.link.deadline = now + self.context.config.write_timeout;
        if let Some(account) = answer.account {
            if let Some(entry) = &mut self.response.entry {
                entry.reason = account.reason;
                entry.status = account.logged_status.unwrap_or(entry.status);
            }
            let is_seen = is_body_sent && account.outcome != Outcome::ClientGone;
            let body_bytes = if is_seen { body.len() } else { 0 };
            self.record_body(body_bytes as u64, account.outcome, now);
            if let Some(loss) = account.loss {
                self.count_loss(loss);
            }
        }
    }

    /// As [`Http1::queue_answer`], with a body that is not copied.
    pub(super) fn queue_prepared(&mut self, response: Prepared, now: Instant) {
        let Prepared { head, body, .. } = response;
        self.start(&head, body.framing());
        if self.allows_body() {
            body.for_each(&mut |part| {
                // A client that has gone is found by the flush.
                let _sent = send_part(self, part);
            });
        }
        self.response.closes |= !self.response.finish_body();
        self.end_body_stream();
        self.phase = Phase::Writing;
        self.link.deadline = now + self.context.config.write_timeout;
    }

    /// Makes sure that a head which never became a request is logged, too.
    fn log_refused_head(&mut self, head: &mut RequestHead, now: Instant) {
        if self.response.entry.is_none() && self.context.records_requests() {
            let mut entry = Entry::take();
            std::mem::swap(&mut entry.head, head);
            entry.started = Some(now);
            self.response.entry = Some(entry);
        }
    }
}
