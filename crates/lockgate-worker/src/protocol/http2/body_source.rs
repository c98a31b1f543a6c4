//! Where the application reads a body that the client still sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::http2::StreamId;

use super::shared::Shared;
use super::state::State;
use crate::exchange::body::minimum_rate::{ClientRate, MinimumRate};
use crate::exchange::body::stream::{BodyError, BodySource, Step, Waiter};
use crate::exchange::deadlines::call_slot::CallSlot;

/// A read that waits at the request's deadline checks this often whether the deadline has taken effect.
const CHECK_EXPIRY_EVERY: Duration = Duration::from_millis(10);

/// Where the application reads a body.
pub(super) struct BodyReceiver {
    shared: Arc<Shared>,
    stream: StreamId,
    /// The client waits for `100 Continue` (RFC 9110 §10.1.1).
    is_continue_due: bool,
    rate: MinimumRate,
    send_rate: ClientRate,
    deadline: Instant,
    call_slot: Option<Arc<CallSlot>>,
    failure: Option<BodyError>,
}

impl BodyReceiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamId,
        is_continue_due: bool,
        now: Instant,
    ) -> Self {
        Self {
            rate: shared.context.body_rate(),
            shared,
            stream,
            is_continue_due,
            send_rate: ClientRate::default(),
            deadline: now,
            call_slot: None,
            failure: None,
        }
    }

    /// Reads end at the deadline of this call.
    pub(super) fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        self.call_slot = Some(Arc::clone(call_slot));
    }

    /// The response begins: a final status replaces `100 Continue`.
    pub(super) fn on_response(&mut self) {
        self.is_continue_due = false;
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.failure == Some(BodyError::Truncated)
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.failure = Some(error);
        error
    }

    /// How long a read may wait: until the client is too slow, or the request may have expired.
    fn waits_until(&self, now: Instant) -> Instant {
        let expires_at = (self.call_slot.as_ref()).and_then(|slot| slot.lock().deadline);
        match expires_at {
            Some(at) => self.deadline.min(at.max(now + CHECK_EXPIRY_EVERY)),
            None => self.deadline,
        }
    }
}

impl BodySource for BodyReceiver {
    fn step(&mut self, into: &mut [u8], now: Instant) -> Result<Step, BodyError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        if (self.call_slot.as_ref()).is_some_and(|slot| slot.is_expired()) {
            return Err(self.fail(BodyError::Ended));
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let is_over = state.is_over;
        let Some(incoming) = state.incoming_of(self.stream) else {
            return Err(self.fail(BodyError::Ended));
        };
        let left = &incoming.bytes[incoming.used..];
        if !left.is_empty() {
            let count = left.len().min(into.len());
            into[..count].copy_from_slice(&left[..count]);
            incoming.used += count;
            if incoming.used == incoming.bytes.len() {
                incoming.bytes.clear();
                incoming.used = 0;
            }
            let had_output = !state.output.is_empty();
            state.release(self.stream, count);
            if !had_output && !state.output.is_empty() {
                shared.send_from_outside(state);
            }
            if self.send_rate.is_behind() {
                (self.send_rate).record_clear(&self.rate, self.deadline, count as u64, now);
            }
            shared.context.pool.record_progress();
            return Ok(Step::Read(count));
        }
        match incoming.end {
            Some(Ok(())) => return Ok(Step::Read(0)),
            Some(Err(error)) => return Err(self.fail(error)),
            None if is_over => return Err(self.fail(BodyError::Truncated)),
            None => {}
        }
        if std::mem::take(&mut self.is_continue_due) {
            let State {
                connection, output, ..
            } = &mut *state;
            // 100 without fields is valid.
            let _sent = connection.send_interim(self.stream, 100, [], output);
            shared.send_from_outside(state);
        } else {
            // The watcher takes the lock of the call slot first: below, this thread must not hold the other one.
            drop(state);
        }
        self.deadline = (self.send_rate).record_blocked(&self.rate, self.deadline, 0, now);
        if self.deadline <= now {
            return Err(self.fail(BodyError::TooSlow));
        }
        Ok(Step::Wait(self.waits_until(now)))
    }

    fn waiter(&self) -> Option<Arc<dyn Waiter>> {
        Some(Arc::new(ClientWait {
            shared: Arc::clone(&self.shared),
            stream: self.stream,
        }))
    }
}

struct ClientWait {
    shared: Arc<Shared>,
    stream: StreamId,
}

impl Waiter for ClientWait {
    fn wait(&self, at_most: Duration) {
        self.shared.wait(at_most, |state| {
            let is_over = state.is_over;
            match state.incoming_of(self.stream) {
                Some(incoming)
                    if !is_over && incoming.end.is_none() && incoming.bytes.is_empty() =>
                {
                    None
                }
                _ => Some(()),
            }
        });
    }
}
