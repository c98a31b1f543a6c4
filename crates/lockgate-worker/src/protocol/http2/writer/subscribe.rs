//! A response that waits for messages from now on: it goes from its writer to the event loop.

use std::sync::Arc;

use lockgate_observe::{Loss, Outcome, Response};

use super::StreamWriter;
use crate::connection::inbox::Returned;
use crate::exchange::subscription::Subscription;
use crate::protocol::http2::open_response::{OpenResponse, SubscribedStream};

impl StreamWriter {
    pub(super) fn begin_subscription(mut self, subscription: Box<Subscription>) {
        if self.release_call_slot() {
            return self.end_without_response(Outcome::Expired, None);
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if self.is_gone || !state.is_open(self.stream) {
            drop(state);
            return self.end_without_response(Outcome::ClientGone, Some(Loss::ClientGone));
        }
        let has_begun = self.body.is_some();
        if has_begun {
            self.unsent.pass_on(self.stream, false, None, &mut state);
            self.count_call();
        }
        if let Some(body) = self.request_body.take() {
            state.remove_incoming(self.stream);
            drop(body);
        }
        state.subscribed.push(Box::new(SubscribedStream {
            subscription,
            response: OpenResponse {
                stream: self.stream,
                body: self.body.take(),
                is_head_request: self.is_head_request,
                entry: self.entry.take(),
                request_id: self.request_id.take(),
                status: self.status,
                is_counted: has_begun,
            },
        }));
        let subscriber = shared.subscriber(self.stream);
        if let Some(state) = self.leave(&shared, state) {
            shared.send_soon(state);
            shared
                .context
                .inbox
                .push(Returned::Subscribed(subscriber), true);
        }
        self.keep_buffer();
    }

    /// Counts the response with the duration of its call; how long it stays open is in the access log.
    fn count_call(&mut self) {
        let metrics = &self.shared.context.metrics;
        if let (Some(ready_at), Some(counters)) = (self.ready_at.take(), metrics.counted()) {
            let duration = metrics
                .nanos(std::time::Instant::now())
                .saturating_sub(ready_at);
            let response = Response {
                status: self.status,
                bytes: 0,
                duration: Some(duration),
            };
            metrics.record_response_among_others(counters, response);
        }
    }
}
