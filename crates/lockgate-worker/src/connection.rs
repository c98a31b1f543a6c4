//! One client connection: its transport, the protocol engine, the body that is coming in and what still has to go out.
//! Knows neither the poller nor other connections; whoever owns the box drives it.
//!
//! Invariants: at most one request is with the application at a time; input beyond it waits in `unread`;
//! `deadline` is always the one that the present phase is bound by.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{CONTINUE, Connection as Protocol, Event, Framing, Refusal, ResponseBody};
use lockgate_observe::Outcome;

use crate::access_log::Entry;
use crate::outbox::{Flushed, Outbox};
use crate::poller::Readiness;
use crate::rejection::Rejection;
use crate::request::{Client, Local, Request};
use crate::shared::Shared;
use crate::slot::Slot;
use crate::spool::Spool;
use crate::transport::Transport;
use crate::workbench::Workbench;

/// After a refusal the client may still be sending; what arrives is read and dropped so that the reset, which the
/// kernel sends for unread input, cannot overtake the answer (RFC 9112 §9.6). As nginx: 5 s of silence, 30 s in all.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

/// Reads from one connection per turn, so that one fast upload does not keep the lane: 16 × 64 KiB.
const READS_AT_ONCE: usize = 16;

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
    /// The last flush left something behind.
    is_blocked: bool,
    /// The response in progress.
    pub body: Option<ResponseBody>,
    pub close_after_response: bool,
    /// Something of the present response may have left.
    pub is_committed: bool,
    /// Bytes in the outbox before the present response.
    pub response_mark: u64,
    pub is_head_request: bool,
    pub client_keeps_alive: bool,
    pub is_http10: bool,
    pub entry: Option<Box<Entry>>,
    protocol: Protocol,
    unread: Vec<u8>,
    pub request: Option<Box<Request>>,
    pub spool: Spool,
    pub client: Arc<Client>,
    local: Arc<Local>,
    served: u64,
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
            is_blocked: false,
            body: None,
            close_after_response: false,
            is_committed: false,
            response_mark: 0,
            is_head_request: false,
            client_keeps_alive: false,
            is_http10: false,
            entry: None,
            unread: Vec::new(),
            request: None,
            spool: Spool::Empty,
            client,
            local,
            served: 0,
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

    /// Whether something is still on its way to the socket, here or in the transport.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || self.transport.has_pending_output()
    }

    /// Whether there is input to parse or to read without waiting for an event.
    pub fn has_input(&self) -> bool {
        !self.unread.is_empty() || self.readable
    }

    /// Reads and parses until a request is whole, the socket is empty or the connection is over.
    pub fn receive(&mut self, bench: &mut Workbench) -> Next {
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            if let Some(next) = self.feed(&unread, &mut bench.requests, bench.now) {
                return next;
            }
        }
        for _ in 0..READS_AT_ONCE {
            if !self.readable {
                return Next::Wait;
            }
            if let Some(left) = self.protocol.body_left()
                && let Some(room) = self.spool.room(left, self.shared.config.body_memory)
            {
                let asked = room.len();
                let outcome = self.transport.read(room);
                match self.note_direct_read(outcome, asked, bench) {
                    None => continue,
                    Some(next) => return next,
                }
            }
            let Workbench {
                buffer,
                requests,
                now,
                ..
            } = bench;
            match self.transport.read(buffer) {
                Ok(0) => {
                    self.readable = false;
                    self.read_closed = true;
                    return self.receive_eof(*now);
                }
                Ok(count) => {
                    // A short read has emptied the socket (epoll(7), "for stream-oriented files"); the end of the
                    // stream has no bytes of its own, so once it is announced reading goes on until it is seen.
                    self.readable = count == buffer.len() || self.read_closing;
                    if let Some(next) = self.feed(&buffer[..count], requests, *now) {
                        return next;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lose(*now),
            }
        }
        Next::Again
    }

    /// A part of a body was received straight to where it is collected: the copy that it saves is what a large body
    /// costs beside the system calls.
    fn note_direct_read(
        &mut self,
        outcome: io::Result<usize>,
        asked: usize,
        bench: &mut Workbench,
    ) -> Option<Next> {
        match outcome {
            Ok(0) => {
                self.readable = false;
                self.read_closed = true;
                Some(self.receive_eof(bench.now))
            }
            Ok(count) => {
                self.readable = count == asked || self.read_closing;
                self.spool.note_received(count);
                self.protocol.note_body(count as u64);
                self.feed(&[], &mut bench.requests, bench.now)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(_) => Some(self.lose(bench.now)),
        }
    }

    /// Reads and drops input after the answer has left. `Close` when the client is done.
    pub fn linger(&mut self, bench: &mut Workbench) -> Next {
        let Phase::Lingering { until } = self.phase else {
            return Next::Close;
        };
        for _ in 0..READS_AT_ONCE {
            match self.transport.read(&mut bench.buffer) {
                Ok(0) => return Next::Close,
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
        let was_blocked = std::mem::replace(&mut self.is_blocked, flushed != Flushed::All);
        if self.is_blocked && (!was_blocked || self.out.len() < before) {
            // Bytes taken are progress: the client has the whole time again.
            self.deadline = Instant::now() + self.shared.config.write_timeout;
        }
        Ok(flushed)
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
        self.deadline = now + self.shared.config.keep_alive;
        Next::Wait
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
            Phase::Reading if self.protocol.is_reading_body() => {
                self.refuse(Refusal::BodyTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Reading if self.protocol.has_begun_head() => {
                self.refuse(Refusal::HeadTooSlow.into(), Outcome::TimedOut, now)
            }
            Phase::Writing => self.lose(now),
            Phase::Reading | Phase::Lingering { .. } => Next::Close,
        }
    }

    /// The connection died under a request or a response: its line is written, nothing else can be.
    pub fn lose(&mut self, now: Instant) -> Next {
        self.record(Outcome::ClientGone, now);
        Next::Close
    }

    /// When the server stops: neither what waits for a request nor what only waits for the client to close
    /// is kept for its whole time.
    pub fn shorten_waiting(&mut self, by: Instant) {
        if self.is_between_requests() {
            self.deadline = self.deadline.min(by);
        } else if let Phase::Lingering { until } = &mut self.phase {
            *until = by.min(*until);
            self.deadline = self.deadline.min(by);
        }
    }

    /// Writes the access-log line of the present request, once.
    pub fn record(&mut self, outcome: Outcome, now: Instant) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        if let Some(log) = &self.shared.access_log {
            if entry.status == 0 {
                // The client left before there was an answer; 499 as nginx has it.
                entry.status = 499;
            }
            let queued = self.body.as_ref().map_or(0, ResponseBody::sent);
            // What never reached the socket is not counted; chunk framing makes this an upper bound of the loss.
            let body_bytes = queued.saturating_sub(self.out.len());
            log.record(&entry, &self.client, body_bytes, outcome, now);
        }
    }

    fn receive_eof(&mut self, now: Instant) -> Next {
        match self.protocol.receive_eof() {
            Ok(()) => Next::Close,
            Err(refusal) => self.refuse(refusal.into(), Outcome::Aborted, now),
        }
    }

    /// Parses `input`; what is beyond the end of a message is kept. `None`: all used, nothing to do yet.
    fn feed(&mut self, input: &[u8], spare: &mut Vec<Box<Request>>, now: Instant) -> Option<Next> {
        let mut rest = input;
        let mut request = self
            .request
            .take()
            .or_else(|| spare.pop())
            .unwrap_or_default();
        let next = loop {
            let (used, event) = match self.protocol.step(rest, &mut request.head) {
                Ok(step) => step,
                Err(refusal) => {
                    self.request = Some(request);
                    return Some(self.refuse(refusal.into(), Outcome::Refused, now));
                }
            };
            rest = &rest[used..];
            match event {
                Event::NeedMore => {
                    if self.protocol.is_reading_body() {
                        self.deadline = now + self.shared.config.body_timeout;
                    } else {
                        if self.protocol.has_begun_head() {
                            self.note_begun_head(now);
                        }
                        spare.push(request);
                        return None;
                    }
                    break None;
                }
                Event::Head => self.take_head(&mut request, rest.is_empty(), now),
                Event::Body(bytes) => {
                    let shared = &self.shared;
                    let directory = shared.config.spool_dir.as_deref();
                    if let Err(error) =
                        self.spool
                            .append(bytes, shared.config.body_memory, directory)
                    {
                        shared.report_spool_failure(&error);
                        self.request = Some(request);
                        return Some(self.refuse(Rejection::from(error), Outcome::Refused, now));
                    }
                }
                Event::End => match std::mem::take(&mut self.spool).into_body() {
                    Ok(body) => {
                        request.body = body;
                        self.unread.extend_from_slice(rest);
                        return Some(Next::Dispatch(request));
                    }
                    Err(error) => {
                        self.shared.report_spool_failure(&error);
                        self.request = Some(request);
                        return Some(self.refuse(Rejection::from(error), Outcome::Refused, now));
                    }
                },
                Event::Paused => {
                    self.unread.extend_from_slice(rest);
                    break None;
                }
            }
        };
        self.request = Some(request);
        if self.out.is_empty() {
            next
        } else {
            Some(Next::Flush)
        }
    }

    fn note_begun_head(&mut self, now: Instant) {
        // Counted from the first byte and never extended: a byte now and then buys no time.
        if !self.has_begun_head {
            self.has_begun_head = true;
            self.deadline = now + self.shared.config.head_timeout;
        }
    }

    fn take_head(&mut self, request: &mut Request, is_input_used: bool, now: Instant) {
        let head = &request.head;
        self.is_head_request = head.method() == b"HEAD";
        self.is_http10 = head.version() == lockgate_http::Version::Http10;
        self.client_keeps_alive = head.keep_alive();
        self.close_after_response = false;
        self.has_begun_head = false;
        request.has_body = !matches!(head.framing(), Framing::None);
        request.is_encrypted = self.transport.is_encrypted();
        if !Arc::ptr_eq(&request.client, &self.client) {
            request.client = Arc::clone(&self.client);
        }
        if !Arc::ptr_eq(&request.local, &self.local) {
            request.local = Arc::clone(&self.local);
        }
        if self.shared.access_log.is_some() {
            let mut entry = Box::<Entry>::default();
            entry.head.clone_from(head);
            entry.started = Some(now);
            self.entry = Some(entry);
        }
        if let Framing::Length(length) = head.framing() {
            let expected = length.min(self.shared.config.body_memory as u64);
            self.spool = Spool::with_length(&self.shared.bodies, expected);
        }
        if request.has_body {
            self.deadline = now + self.shared.config.body_timeout;
            // The limits have let the head pass and the body is about to be buffered: ask for it, unless it is here.
            if head.expects_continue() && is_input_used {
                self.out.append(CONTINUE);
            }
        }
    }
}
