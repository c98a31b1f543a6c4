//! How a connection leaves the thread that ran its request: to the event loop, to its slot, or closed.

use std::sync::Arc;
use std::time::Instant;

use lockgate_observe::Outcome;

use super::{Http1, Next};
use crate::connection::inbox::{Returned, StopMode};
use crate::detached_work::DetachedWork;
use crate::exchange::deadlines::ending::Ending;
use crate::transport::outbox::Flushed;

impl Http1 {
    /// The response is complete. If this thread still leads, the event loop sends it with the others of the turn.
    pub(super) fn return_finished(self: Box<Self>) {
        if self.context.pool.defers_responses() {
            let shared = Arc::clone(&self.event_loop);
            if let Some(mut event_loop) = shared.try_lock() {
                return event_loop.defer_flush(self);
            }
        }
        // The call has outlived its turn: only its client still waits for it.
        let app = Arc::clone(&self.context.app);
        let mut connection = Some(self);
        app.detached(DetachedWork::new(&mut || {
            if let Some(connection) = connection.take() {
                connection.finish_on_this_thread();
            }
        }));
    }

    /// Sends a response from the thread that made it, and leaves the connection where the event loop finds it.
    fn finish_on_this_thread(mut self: Box<Self>) {
        match self.flush_link() {
            Ok(Flushed::Blocked | Flushed::Bounded | Flushed::Reading) => {
                return self.return_to_event_loop();
            }
            Ok(Flushed::All) => {}
            Err(_) => {
                self.lose(Instant::now());
                return self.close();
            }
        }
        let now = Instant::now();
        self.count_response_among_others(now);
        let inbox = Arc::clone(&self.context.inbox);
        match self.end_response(now) {
            Next::Wait if !self.has_input() && inbox.stop_mode() == StopMode::Serve => {}
            Next::Close => return self.close(),
            _ => return self.return_to_event_loop(),
        }
        let slot = Arc::clone(&self.link.slot);
        let deadline = self.link.deadline;
        let mut returned = slot.content().store(self, deadline);
        // A stop that began meanwhile has skipped this slot, because it was empty.
        if returned.is_none() && inbox.stop_mode() != StopMode::Serve {
            returned = slot.content().take();
        }
        if let Some(connection) = returned {
            inbox.push(Returned::Connection(connection), true);
        }
    }

    /// The event loop continues with the connection.
    pub(super) fn return_to_event_loop(self: Box<Self>) {
        let inbox = Arc::clone(&self.context.inbox);
        inbox.push(Returned::Connection(self), true);
    }

    /// Drops a connection that a thread owns. The event loop is notified before the client can see the close, so
    /// that the slot is free for the client's next connection.
    pub(super) fn close(self: Box<Self>) {
        self.context.inbox.push_closed(self.link.slot.token());
    }

    /// The application reads no more of a streamed body. What the client still sends of it is dropped.
    #[inline]
    pub(super) fn end_body_stream(&mut self) {
        if self.reader.is_streaming() {
            self.end_present_stream();
        }
    }

    #[cold]
    fn end_present_stream(&mut self) {
        let (is_complete, received) = self.reader.end_stream();
        if !is_complete {
            self.response.closes = true;
            self.link.readable = true;
        }
        if self.context.metrics.counted().is_some() {
            // Counted by the leader, as all bytes received. Nothing else may wake it: the client may have left.
            self.context.inbox.push(Returned::Received(received), true);
        }
    }

    /// The connection is about to change its owner. Returns how the client was answered, if the deadline came first.
    pub(super) fn release_call_slot(&mut self) -> Option<Ending> {
        let is_held = self.link.slot.hold().is_held();
        let (entry, ending) = self.response.call_slot.take()?.release(is_held);
        if entry.is_some() {
            self.response.entry = entry;
        }
        ending
    }

    /// The client was answered or cut off at the request's deadline: all that is left is to close the connection.
    #[cold]
    pub(super) fn close_after_deadline(mut self: Box<Self>, ending: Ending) {
        let now = Instant::now();
        // Unless this was done at the deadline.
        self.record(Outcome::Expired, now);
        self.count_rest();
        self.end_body_stream();
        self.response.closes = true;
        if ending.is_answered() && matches!(self.begin_lingering(now), Next::Again) {
            return self.return_to_event_loop();
        }
        self.close();
    }
}
