//! One client connection: its transport, the protocol engine, the body that is coming in and what still has to go out.
//! Knows neither the poller nor other connections; whoever owns the box drives it.
//!
//! Invariants: at most one request is with the application at a time; input beyond it waits in `unread`;
//! `deadline` is always the one that the present phase is bound by.

mod intake;
mod refusals;
mod speaker;

pub use speaker::Speakers;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{Connection as Protocol, Refusal, ResponseBody};
use lockgate_observe::{Loss, Outcome};

use crate::access_log::Entry;
use crate::deadlines::Station;
use crate::minimum_rate::{MinimumRate, Uptake};
use crate::outbox::{Flushed, Outbox};
use crate::poller::Readiness;
use crate::request::{Client, Local, Request};
use crate::shared::Shared;
use crate::slot::Slot;
use crate::spool::Spool;
use crate::transport::{Received, Transport};
use crate::workbench::Workbench;

use speaker::Speaker;

/// After a refusal the client may still be sending; what arrives is read and dropped so that the reset, which the
/// kernel sends for unread input, cannot overtake the answer (RFC 9112 §9.6). As nginx: 5 s of silence, 30 s in all.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

/// What the connection is doing while no crew thread owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a request, or in the middle of one.
    Reading,
    /// The response is queued in full; only the socket is in the way.
    Writing,
    /// The answer has left and our side is closed; the client may still be talking.
    Lingering { until: Instant },
}

/// What the owner has to do next.
pub enum Next {
    /// Put it back into its slot; an event or the deadline will bring it up again.
    Wait,
    /// There is more to read, but others come first.
    Again,
    /// Run the request.
    Dispatch(Box<Request>),
    /// Flush the outbox, then look again.
    Flush,
    /// Drop it.
    Close,
}

/// See the module.
pub struct Connection {
    pub slot: Arc<Slot>,
    pub shared: Arc<Shared>,
    pub transport: Box<dyn Transport>,
    pub out: Outbox,
    pub phase: Phase,
    pub deadline: Instant,
    /// The edge was reported and the socket not yet read until it was empty.
    pub readable: bool,
    /// The peer will send no more; reads go on until they say so.
    pub read_closing: bool,
    pub read_closed: bool,
    pub hung_up: bool,
    /// The deadline is the one of a head.
    has_begun_head: bool,
    /// How the client takes the present response.
    pub uptake: Uptake,
    /// The response in progress.
    pub body: Option<ResponseBody>,
    pub close_after_response: bool,
    /// Something of the present response may have left.
    pub is_committed: bool,
    /// Pieces of the present response may wait for each other in the kernel.
    pub is_corked: bool,
    /// Bytes in the outbox before the present response.
    pub response_mark: u64,
    pub is_head_request: bool,
    pub client_keeps_alive: bool,
    pub is_http10: bool,
    pub entry: Option<Box<Entry>>,
    /// Of the last response.
    pub status: u16,
    /// Since when the present request is whole, by the clock of the page; until its response has left, or nobody waits
    /// for it.
    pub ready_at: Option<u64>,
    pub protocol: Protocol,
    unread: Vec<u8>,
    pub request: Option<Box<Request>>,
    pub spool: Spool,
    pub client: Arc<Client>,
    speaker: Speaker,
    local: Arc<Local>,
    served: u64,
    /// Where the request's deadline is watched, while there is one.
    pub station: Option<Arc<Station>>,
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
        let speaker = Speaker::new(&shared.speakers);
        Self {
            protocol: Protocol::new(shared.limits),
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
            uptake: Uptake::default(),
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
            speaker,
            local,
            served: 0,
            station: None,
        }
    }

    /// Takes note of an event.
    pub fn note(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable || readiness.read_closed;
        self.read_closing |= readiness.read_closed;
        self.hung_up |= readiness.hung_up;
    }

    /// Whether nothing of a request has arrived.
    pub fn is_between_requests(&self) -> bool {
        self.phase == Phase::Reading && self.protocol.is_idle() && self.unread.is_empty()
    }

    /// Whether it has served a request and waits for the next one.
    pub fn is_kept(&self) -> bool {
        self.served > 0 && self.is_between_requests() && self.out.is_empty() && !self.read_closing
    }

    /// Whether what comes in is neither a request nor the beginning of one, so that others may come first.
    pub fn is_bulk(&self) -> bool {
        match self.phase {
            Phase::Reading => self.protocol.is_reading_body(),
            Phase::Lingering { .. } => true,
            Phase::Writing => false,
        }
    }

    /// Whether the answer has left and only the client's end is waited for.
    pub fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// Whether something is still on its way to the socket, here or in the transport.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.transport.has_pending_output()
    }

    /// Whether there is input to parse or to read without waiting for an event.
    pub fn has_input(&self) -> bool {
        !self.unread.is_empty() || self.readable
    }

    /// Whether the present request is as many as a connection serves.
    pub fn is_last_request(&self) -> bool {
        let limit = self.shared.config.limits.requests_per_connection;
        limit != 0 && self.served + 1 >= limit
    }

    /// Reads and drops input after the answer has left. `Close` when the client is done.
    pub fn linger(&mut self, bench: &mut Workbench) -> Next {
        let Phase::Lingering { until } = self.phase else {
            return Next::Close;
        };
        for _ in 0..intake::READS_AT_ONCE {
            match self.transport.read(&mut bench.buffer) {
                Ok(Received { count: 0, .. }) => return Next::Close,
                Ok(_) => self.deadline = until.min(bench.now + LINGER_SILENCE),
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
        // Also when the flush was only bounded: what is left has the deadline of a response, not of what came before.
        if flushed != Flushed::All || self.uptake.is_behind() {
            self.note_uptake(before - self.out.len(), flushed != Flushed::All);
        }
        Ok(flushed)
    }

    #[cold]
    fn note_uptake(&mut self, bytes: u64, is_blocked: bool) {
        let config = &self.shared.config;
        let rate = MinimumRate {
            bytes_per_second: config.write_min_rate,
            grace: config.write_timeout,
        };
        let now = Instant::now();
        if is_blocked {
            self.deadline = self.uptake.note_blocked(&rate, self.deadline, bytes, now);
        } else {
            self.uptake.note_clear(&rate, self.deadline, bytes, now);
        }
    }

    /// The response has left in full. Says whether the connection goes on.
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

    /// From now on the connection may wait for its next request for as long as `keep_alive` says.
    pub fn begin_waiting(&mut self, now: Instant) {
        self.deadline = now + self.shared.config.keep_alive;
    }

    /// The response was the last one. Input that nobody reads makes the kernel send a reset, which takes what the client
    /// has not yet received with it: a client that wanted to go on may have sent some, at any moment.
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
        // The edge may be spent already: read until the socket says that it is empty.
        self.readable = true;
        Next::Again
    }

    /// The deadline of the present phase has passed.
    pub fn expire(&mut self, now: Instant) -> Next {
        match self.phase {
            // The time for a next request begins when it can be called.
            Phase::Reading if self.slot.hold().keeps_next_request() => {
                self.begin_waiting(now);
                Next::Wait
            }
            Phase::Reading if self.protocol.is_reading_body() => {
                self.refuse(Refusal::BodyTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Reading if self.protocol.has_begun_head() => {
                self.refuse(Refusal::HeadTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Writing => {
                self.give_up_writing(now);
                Next::Close
            }
            Phase::Reading | Phase::Lingering { .. } => Next::Close,
        }
    }

    /// The client reads too slowly. What the kernel still holds for it would stay there as long as the client likes, so
    /// the close becomes a reset.
    pub fn give_up_writing(&mut self, now: Instant) {
        self.hung_up = true;
        self.transport.reset_on_close();
        self.record(Outcome::TimedOut, now);
        self.count_loss(Loss::ClientTooSlow);
    }

    /// The connection died under a request or a response: its line is written, nothing else can be.
    pub fn lose(&mut self, now: Instant) -> Next {
        self.record(Outcome::ClientGone, now);
        self.count_loss(Loss::ClientGone);
        Next::Close
    }

    /// When the server stops: neither what waits for a request nor what only waits for the client to close
    /// is kept for its whole time. The time of a held connection has not begun.
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

    /// As [`Connection::record`], with the bytes of the response's body.
    pub fn record_body(&mut self, body_bytes: u64, outcome: Outcome, now: Instant) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        if let Some(log) = &self.shared.access_log {
            let has_begun = entry.status != 0 && self.out.departed() > entry.response_begins_at;
            if entry.status == 0 || (outcome == Outcome::ClientGone && !has_begun) {
                // The client left before it had any of the answer; 499 as nginx has it.
                entry.status = 499;
            }
            let client = entry.client.as_ref().unwrap_or(&self.client);
            log.record(&entry, client, body_bytes, outcome, now);
        }
    }
}
