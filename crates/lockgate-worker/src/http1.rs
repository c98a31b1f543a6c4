//! One client connection: its transport, the protocol engine, the incoming body and the pending output. Its owner (the
//! event loop or a worker thread) drives it.
//!
//! Invariants: at most one request is with the application at a time; input beyond it waits in `unread`; `deadline` is
//! always the one of the current phase.

mod client_identity;
mod error_response;
mod refusals;
mod request_reader;
mod response;

pub use client_identity::TrustedProxies;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{Refusal, RequestParser, ResponseBody};
use lockgate_observe::{Loss, Outcome};

use crate::body::minimum_rate::{MinimumRate, ReadRate};
use crate::body::spool::Spool;
use crate::deadlines::CallSlot;
use crate::event_loop::poller::Readiness;
use crate::event_loop::scratch::Scratch;
use crate::event_loop::slot::Slot;
use crate::exchange::request::{Client, Local, Request};
use crate::log::access_log::Entry;
use crate::shared::Shared;
use crate::transport::outbox::{Flushed, Outbox};
use crate::transport::{Received, Transport};

use client_identity::ClientIdentity;

/// Lingering close: after a refusal, input is read and dropped, so that the reset that the kernel sends for unread
/// input cannot overtake the answer (RFC 9112 §9.6). As in nginx: 5 s of silence, 30 s in all.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

/// What the connection is doing while it is not lent to a worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// QueueExpiry for a request, or receiving one.
    Reading,
    /// The response is queued in full and waits for the socket.
    Writing,
    /// The response has been sent and our side is closed; the client may still be sending.
    Lingering { until: Instant },
}

/// What the owner has to do next.
pub enum Next {
    /// Put it back into its slot; an event or the deadline continues it.
    Wait,
    /// There is more to read, but other connections come first.
    Again,
    /// Run the request.
    Dispatch(Box<Request>),
    /// Flush the outbox, then look again.
    Flush,
    /// Drop it.
    Close,
}

/// See the module documentation.
pub struct Connection {
    pub slot: Arc<Slot>,
    pub shared: Arc<Shared>,
    pub transport: Box<dyn Transport>,
    pub out: Outbox,
    pub phase: Phase,
    pub deadline: Instant,
    /// The edge was reported, and the socket has not been read until it was empty.
    pub readable: bool,
    /// The peer has announced the end of its stream; reads continue until they return it.
    pub read_closing: bool,
    pub read_closed: bool,
    pub hung_up: bool,
    /// `deadline` is that of a request head.
    has_begun_head: bool,
    /// How fast the client takes the current response.
    pub read_rate: ReadRate,
    /// The body of the response in progress.
    pub body: Option<ResponseBody>,
    pub close_after_response: bool,
    /// Some of the current response may have been sent.
    pub is_committed: bool,
    /// Pieces of the current response may be held in the kernel (MSG_MORE).
    pub is_corked: bool,
    /// Bytes in the outbox before the current response.
    pub response_mark: u64,
    pub is_head_request: bool,
    pub client_keeps_alive: bool,
    pub is_http10: bool,
    pub entry: Option<Box<Entry>>,
    /// The status of the last response.
    pub status: u16,
    /// When the current request was complete, by the clock of the scoreboard; `None` once its response has been sent or is no
    /// longer waited for.
    pub ready_at: Option<u64>,
    pub protocol: RequestParser,
    unread: Vec<u8>,
    pub request: Option<Box<Request>>,
    pub spool: Spool,
    pub client: Arc<Client>,
    identity: ClientIdentity,
    local: Arc<Local>,
    served: u64,
    /// Watches the request's deadline, while there is one.
    pub call_slot: Option<Arc<CallSlot>>,
}

impl Connection {
    pub fn new(
        shared: Arc<Shared>,
        slot: Arc<Slot>,
        transport: Box<dyn Transport>,
        client: Arc<Client>,
        local: Arc<Local>,
        now: Instant,
    ) -> Self {
        let deadline = now + shared.config.head_timeout;
        let identity = ClientIdentity::new(&shared.proxies);
        Self {
            protocol: RequestParser::new(shared.limits),
            slot,
            shared,
            transport,
            out: Outbox::default(),
            phase: Phase::Reading,
            deadline,
            readable: true,
            read_closing: false,
            read_closed: false,
            hung_up: false,
            has_begun_head: false,
            read_rate: ReadRate::default(),
            body: None,
            close_after_response: false,
            is_committed: false,
            is_corked: false,
            response_mark: 0,
            is_head_request: false,
            client_keeps_alive: false,
            is_http10: false,
            entry: None,
            status: 0,
            ready_at: None,
            unread: Vec::new(),
            request: None,
            spool: Spool::Empty,
            client,
            identity,
            local,
            served: 0,
            call_slot: None,
        }
    }

    /// Records an event.
    pub fn note(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable || readiness.read_closed;
        self.read_closing |= readiness.read_closed;
        self.hung_up |= readiness.hung_up;
    }

    /// Whether no byte of a request has arrived.
    pub fn is_between_requests(&self) -> bool {
        self.phase == Phase::Reading && self.protocol.is_idle() && self.unread.is_empty()
    }

    /// Whether it has served a request and waits for the next one.
    pub fn is_kept(&self) -> bool {
        self.served > 0 && self.is_between_requests() && self.out.is_empty() && !self.read_closing
    }

    /// Whether its input is neither a request nor the beginning of one, so that other connections may come first.
    pub fn is_bulk(&self) -> bool {
        match self.phase {
            Phase::Reading => self.protocol.is_reading_body(),
            Phase::Lingering { .. } => true,
            Phase::Writing => false,
        }
    }

    /// Whether the response has been sent and only the client's close is awaited.
    pub fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether output is pending, here or in the transport.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.transport.has_pending_output()
    }

    /// Whether there is input to parse, or to read without waiting for an event.
    pub fn has_input(&self) -> bool {
        !self.unread.is_empty() || self.readable
    }

    /// Whether the current request is the last one that the connection serves.
    pub fn is_last_request(&self) -> bool {
        let limit = self.shared.config.limits.requests_per_connection;
        limit != 0 && self.served + 1 >= limit
    }

    /// Reads and drops input after the response has been sent. `Close` when the client is done.
    pub fn linger(&mut self, scratch: &mut Scratch) -> Next {
        let Phase::Lingering { until } = self.phase else {
            return Next::Close;
        };
        for _ in 0..request_reader::READS_AT_ONCE {
            match self.transport.read(&mut scratch.buffer) {
                Ok(Received { count: 0, .. }) => return Next::Close,
                Ok(_) => self.deadline = until.min(scratch.now + LINGER_SILENCE),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Next::Wait;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::Close,
            }
        }
        Next::Again
    }

    /// Moves queued output to the socket.
    ///
    /// # Errors
    /// When the peer can receive nothing more.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        self.is_committed = true;
        let before = self.out.len();
        let flushed = self.out.flush(&mut *self.transport)?;
        // Also for a bounded flush: what is left has the deadline of a response, not that of an earlier phase.
        if flushed != Flushed::All || self.read_rate.is_behind() {
            self.record_read_rate(before - self.out.len(), flushed != Flushed::All);
        }
        Ok(flushed)
    }

    #[cold]
    fn record_read_rate(&mut self, bytes: u64, is_blocked: bool) {
        let config = &self.shared.config;
        let rate = MinimumRate {
            bytes_per_second: config.write_min_rate,
            grace: config.write_timeout,
        };
        let now = Instant::now();
        if is_blocked {
            self.deadline = self
                .read_rate
                .record_blocked(&rate, self.deadline, bytes, now);
        } else {
            self.read_rate
                .record_clear(&rate, self.deadline, bytes, now);
        }
    }

    /// The response has been sent in full. Returns whether the connection continues.
    pub fn end_response(&mut self, now: Instant) -> Next {
        self.record(Outcome::Complete, now);
        self.body = None;
        self.is_committed = false;
        if self.close_after_response || self.hung_up || (self.read_closed && self.unread.is_empty())
        {
            return self.end_connection(now);
        }
        self.protocol.next_message();
        self.phase = Phase::Reading;
        self.served += 1;
        self.begin_waiting(now);
        Next::Wait
    }

    /// From now on the connection may wait for its next request as long as `keep_alive` allows.
    pub fn begin_waiting(&mut self, now: Instant) {
        self.deadline = now + self.shared.config.keep_alive;
    }

    /// The response was the last one. The kernel answers unread input with a reset, which discards what the client has
    /// not yet received; a client that expects to continue may have sent input at any moment.
    fn end_connection(&mut self, now: Instant) -> Next {
        let pending = std::mem::take(&mut self.slot.lock().pending);
        self.note(pending);
        let may_talk = self.readable || !self.unread.is_empty() || self.client_keeps_alive;
        if may_talk && !self.read_closed && !self.hung_up {
            return self.begin_lingering(now);
        }
        Next::Close
    }

    /// Closes our side and waits for the client to notice.
    pub fn begin_lingering(&mut self, now: Instant) -> Next {
        self.unread = Vec::new();
        self.out.clear();
        if self.transport.shutdown_write().is_err() {
            return Next::Close;
        }
        let until = now + LINGER_AT_MOST;
        self.phase = Phase::Lingering { until };
        self.deadline = until.min(now + LINGER_SILENCE);
        // The edge may be used up already: read until the socket is empty.
        self.readable = true;
        Next::Again
    }

    /// The deadline of the current phase has passed.
    pub fn expire(&mut self, now: Instant) -> Next {
        match self.phase {
            // The time for a next request starts when that request can be called.
            Phase::Reading if self.slot.hold().keeps_next_request() => {
                self.begin_waiting(now);
                Next::Wait
            }
            Phase::Reading if self.protocol.is_reading_body() => {
                self.refuse(Refusal::BodyTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Reading if self.protocol.is_reading_head() => {
                self.refuse(Refusal::HeadTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Writing => {
                self.give_up_writing(now);
                Next::Close
            }
            Phase::Reading | Phase::Lingering { .. } => Next::Close,
        }
    }

    /// The client reads too slowly. The close becomes a reset, because the kernel would otherwise keep the unsent
    /// output for as long as the client likes.
    pub fn give_up_writing(&mut self, now: Instant) {
        self.hung_up = true;
        self.transport.reset_on_close();
        self.record(Outcome::TimedOut, now);
        self.count_loss(Loss::ClientTooSlow);
    }

    /// The connection died during a request or a response: only its log line can still be written.
    pub fn lose(&mut self, now: Instant) -> Next {
        self.record(Outcome::ClientGone, now);
        self.count_loss(Loss::ClientGone);
        Next::Close
    }

    /// Called when the server stops: connections that wait for a request or for the client's close are kept for a
    /// shorter time. The time of a held connection has not begun.
    pub fn shorten_waiting(&mut self, by: Instant) {
        if self.is_between_requests() && !self.slot.hold().is_held() {
            self.deadline = self.deadline.min(by);
        } else if let Phase::Lingering { until } = &mut self.phase {
            *until = by.min(*until);
            self.deadline = self.deadline.min(by);
        }
    }

    /// Writes the access-log line of the present request, once.
    pub fn record(&mut self, outcome: Outcome, now: Instant) {
        if self.entry.is_some() {
            let queued = self.body.as_ref().map_or(0, ResponseBody::sent);
            // What never reached the socket is not counted; chunk framing makes this an upper bound of the loss.
            self.record_body(queued.saturating_sub(self.out.len()), outcome, now);
        }
    }

    /// As [`Connection::record`], with the number of bytes of the response's body.
    pub fn record_body(&mut self, body_bytes: u64, outcome: Outcome, now: Instant) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        if let Some(log) = &self.shared.access_log {
            let has_begun = entry.status != 0 && self.out.departed() > entry.response_begins_at;
            if entry.status == 0 || (outcome == Outcome::ClientGone && !has_begun) {
                // The client left before it received any of the response; 499 as in nginx.
                entry.status = 499;
            }
            let client = entry.client.as_ref().unwrap_or(&self.client);
            log.record(&entry, client, body_bytes, outcome, now);
        }
    }
}
