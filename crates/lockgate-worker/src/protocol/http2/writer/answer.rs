//! Answers of the server itself to requests that are not passed to the application.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::ResponseHead;
use lockgate_observe::{Loss, Outcome};

use super::StreamWriter;
use crate::exchange::answer::Answer;
use crate::exchange::prepared::{Prepared, send_part};
use crate::exchange::writer::ResponseWriter;
use crate::protocol::http2::record::{Ended, count_loss, log};

impl StreamWriter {
    /// Queues an answer of the server itself.
    pub(super) fn answer_locally(mut self, answer: &Answer, now: Instant) {
        let _ending = self.release_call_slot();
        let mut changed = self.rules.as_deref().map(|rules| rules.applied(answer));
        if let Some(id) = &self.request_id {
            changed = Some(id.added_to(changed.unwrap_or_else(|| answer.response.clone())));
        }
        let response = changed.as_ref().unwrap_or(&answer.response);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut head = ResponseHead::default();
        response.write_head(&mut head);
        if let Some(entry) = &mut self.entry {
            entry.status = answer.response.status;
            entry.response.clone_from(&head);
        }
        self.status = answer.response.status;
        let mut body_bytes = response.body.len() as u64;
        if let Some(account) = answer.account {
            if let Some(entry) = &mut self.entry {
                entry.reason = account.reason;
                entry.status = account.logged_status.unwrap_or(entry.status);
            }
            if let Some(loss) = account.loss {
                count_loss(self.ready_at.take(), loss, &shared.context);
            }
            if self.is_head_request || account.outcome == Outcome::ClientGone {
                body_bytes = 0;
            }
            let entry = self.entry.take();
            log(
                entry,
                body_bytes,
                account.outcome,
                &self.shared.peer,
                &shared.context,
                now,
            );
        }
        let is_recorded = self.entry.is_some() || shared.context.metrics.counted().is_some();
        let ended = is_recorded.then(|| Ended {
            entry: self.entry.take(),
            status: self.status,
            ready_at: self.ready_at.take(),
            body_bytes,
            is_counted: false,
        });
        let (stream, is_head_request) = (self.stream, self.is_head_request);
        if state.is_open(stream) {
            state.respond(stream, response, is_head_request, &shared.context, ended);
        }
        self.end_request_body(&mut state);
        if let Some(state) = self.leave(&shared, state) {
            shared.send_from_outside(state);
        }
    }

    /// As [`StreamWriter::answer_locally`], with a body that is not copied.
    pub(super) fn respond_locally(mut self, response: Prepared) {
        let _ending = self.release_call_slot();
        let Prepared { head, body, .. } = response;
        self.start(&head, body.framing());
        if self.allows_body() {
            body.for_each(&mut |part| {
                // A client that has gone is found below.
                let _sent = send_part(&mut self, part);
            });
        }
        let ended = self.ended();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if !state.is_open(self.stream) {
            drop(state);
            if let Some(ended) = ended {
                (self.entry, self.ready_at) = (ended.entry, ended.ready_at);
            }
            return self.end_without_response(Outcome::ClientGone, Some(Loss::ClientGone));
        }
        self.unsent.pass_on(self.stream, true, ended, &mut state);
        self.end_request_body(&mut state);
        if let Some(state) = self.leave(&shared, state) {
            shared.send_from_outside(state);
        }
        self.keep_buffer();
    }
}
