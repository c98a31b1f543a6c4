//! The receiving half of an HTTP/1 connection while the application reads a body: the parser, the input after the body,
//! and the client's deadline. The connection takes them back when the response ends.

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lockgate_http::{CONTINUE, Event, RequestHead, RequestParser};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exchange::body::minimum_rate::{ClientRate, MinimumRate};
use crate::exchange::body::stream::{BodyError, BodySource, Step, Waiter};
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::os::PEER_END;
use crate::thread_pool::ThreadPool;
use crate::transport::{Received, SharedTransport};

/// Chunked bodies are read in pieces of this size, and parsed.
const PARSED_AT_ONCE: usize = 64 * 1024;

/// A read that waits at the request's deadline checks this often whether the deadline has taken effect.
const CHECK_EXPIRY_EVERY: Duration = Duration::from_millis(10);

/// See the module documentation.
pub(super) struct BodyReceiver {
    pub(super) parser: RequestParser,
    /// Received and not parsed.
    unread: Vec<u8>,
    /// How much of `unread` was used.
    used: usize,
    transport: Weak<dyn SharedTransport>,
    pool: Arc<ThreadPool>,
    /// The client waits for `100 Continue` (RFC 9110 §10.1.1).
    is_continue_due: bool,
    rate: MinimumRate,
    send_rate: ClientRate,
    /// Bytes that were received for the application.
    received: u64,
    deadline: Instant,
    /// Has the deadline of the request, if there is one.
    call_slot: Option<Arc<CallSlot>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Receiving,
    Complete,
    Failed(BodyError),
}

impl BodyReceiver {
    pub(super) fn new(
        parser: RequestParser,
        unread: Vec<u8>,
        transport: Weak<dyn SharedTransport>,
        pool: Arc<ThreadPool>,
        rate: MinimumRate,
        now: Instant,
    ) -> Self {
        Self {
            parser,
            unread,
            used: 0,
            transport,
            pool,
            is_continue_due: false,
            rate,
            send_rate: ClientRate::default(),
            received: 0,
            deadline: now,
            call_slot: None,
            state: State::Receiving,
        }
    }

    /// Bytes that were received since the head.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Reads end at the deadline of this call.
    pub(super) fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        self.call_slot = Some(Arc::clone(call_slot));
    }

    /// How long a read may wait: until the client is too slow, or the request may have expired.
    fn waits_until(&self, now: Instant) -> Instant {
        let expires_at = (self.call_slot.as_ref()).and_then(|slot| slot.lock().deadline);
        match expires_at {
            Some(at) => self.deadline.min(at.max(now + CHECK_EXPIRY_EVERY)),
            None => self.deadline,
        }
    }

    /// The client sends the body when it is asked to; the first read asks.
    pub(super) fn expect_continue(&mut self) {
        self.is_continue_due = self.unread.is_empty();
    }

    /// The response begins: a final status replaces `100 Continue`.
    pub(super) fn on_response(&mut self) {
        self.is_continue_due = false;
    }

    /// Whether the application has read the whole body, as far as can be known without parsing more.
    pub(super) fn is_complete(&self) -> bool {
        match self.state {
            // It may have read the last byte of a body with a length and not asked for the end.
            State::Receiving => !self.parser.is_reading_body(),
            state => state == State::Complete,
        }
    }

    /// Whether the client has closed the connection within the body.
    pub(super) fn is_truncated(&self) -> bool {
        self.state == State::Failed(BodyError::Truncated)
    }

    /// The parser, for the next request, and the input after the body. `None`: a part of the body was not read.
    pub(super) fn into_parts(mut self) -> Option<(RequestParser, Vec<u8>)> {
        let mut head = RequestHead::default();
        while self.state == State::Receiving {
            let (used, event) = self
                .parser
                .step(&self.unread[self.used..], &mut head)
                .ok()?;
            self.used += used;
            match event {
                Event::End => self.state = State::Complete,
                Event::NeedMore if self.used < self.unread.len() => {}
                _ => return None,
            }
        }
        // The connection may wait long for its next request: it does not keep the buffer.
        let rest = self.unread.split_off(self.used);
        (self.state == State::Complete).then_some((self.parser, rest))
    }

    /// Takes bytes that were received before. `None`: all of them are used.
    fn take_unread(&mut self, into: &mut [u8]) -> Result<Option<usize>, BodyError> {
        let mut head = RequestHead::default();
        loop {
            // The parser must not use more than there is room for.
            let end = self.unread.len().min(self.used + into.len());
            let input = &self.unread[self.used..end];
            let (used, event) = match self.parser.step(input, &mut head) {
                Ok(step) => step,
                Err(refusal) => return Err(self.fail(BodyError::Refused(refusal))),
            };
            let taken = match event {
                Event::Body(bytes) => {
                    into[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                Event::End => {
                    self.state = State::Complete;
                    self.used += used;
                    return Ok(Some(0));
                }
                Event::NeedMore | Event::Head | Event::Paused => 0,
            };
            self.used += used;
            if taken > 0 {
                return Ok(Some(taken));
            }
            if self.used == self.unread.len() {
                self.unread.clear();
                self.used = 0;
                return Ok(None);
            }
        }
    }

    /// Receives bytes: into the caller's buffer if all of them belong to the body.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        let transport = self
            .transport
            .upgrade()
            .ok_or(io::ErrorKind::NotConnected)?;
        if std::mem::take(&mut self.is_continue_due) {
            // Nothing else is on its way to the client, so the socket takes so little at once.
            transport.write(CONTINUE)?;
        }
        if let Some(left) = self.parser.body_left() {
            let room = usize::try_from(left).map_or(into.len(), |left| left.min(into.len()));
            return transport.read(&mut into[..room]);
        }
        self.unread.resize(PARSED_AT_ONCE, 0);
        let outcome = transport.read(&mut self.unread);
        let count = outcome.as_ref().map_or(0, |received| received.count);
        self.unread.truncate(count);
        outcome
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.state = State::Failed(error);
        error
    }
}

impl BodySource for BodyReceiver {
    fn step(&mut self, into: &mut [u8], now: Instant) -> Result<Step, BodyError> {
        loop {
            match self.state {
                State::Receiving => {}
                State::Complete => return Ok(Step::Read(0)),
                State::Failed(error) => return Err(error),
            }
            if (self.call_slot.as_ref()).is_some_and(|slot| slot.is_expired()) {
                return Err(self.fail(BodyError::Ended));
            }
            if let Some(count) = self.take_unread(into)? {
                return Ok(Step::Read(count));
            }
            match self.receive(into) {
                Ok(Received { count: 0, .. }) => return Err(self.fail(BodyError::Truncated)),
                Ok(Received { count, .. }) => {
                    if self.send_rate.is_behind() {
                        self.send_rate
                            .record_clear(&self.rate, self.deadline, count as u64, now);
                    }
                    self.received += count as u64;
                    self.pool.record_progress();
                    if self.unread.is_empty() {
                        self.parser.advance_body(count as u64);
                        return Ok(Step::Read(count));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.deadline =
                        self.send_rate
                            .record_blocked(&self.rate, self.deadline, 0, now);
                    if self.deadline <= now {
                        return Err(self.fail(BodyError::TooSlow));
                    }
                    return Ok(Step::Wait(self.waits_until(now)));
                }
                Err(_) => return Err(self.fail(BodyError::Truncated)),
            }
        }
    }

    fn waiter(&self) -> Option<Arc<dyn Waiter>> {
        let transport = self.transport.upgrade()?;
        Some(Arc::new(ClientWait {
            transport,
            pool: Arc::clone(&self.pool),
        }))
    }
}

struct ClientWait {
    transport: Arc<dyn SharedTransport>,
    pool: Arc<ThreadPool>,
}

impl Waiter for ClientWait {
    fn wait(&self, at_most: Duration) {
        // Another thread should run the event loop meanwhile.
        self.pool.promote_now();
        // A longer time than the kernel can express is cut; the next step waits again.
        let at_most = Timespec::try_from(at_most).unwrap_or(Timespec {
            tv_sec: 3600,
            tv_nsec: 0,
        });
        let mut watched = [PollFd::from_borrowed_fd(
            self.transport.descriptor(),
            PollFlags::IN | PEER_END,
        )];
        // Whatever has happened, the caller finds out.
        let _woken = poll(&mut watched, Some(&at_most));
    }
}
