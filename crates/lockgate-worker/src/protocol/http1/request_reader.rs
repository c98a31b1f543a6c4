//! The request reader: reads, parses and collects the bytes of a connection until a request is complete.
//! `lockgate-http` parses; faults are answered in `error_response`.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{Event, Refusal, RequestParser};
use lockgate_observe::Outcome;

use super::body_source::BodyReceiver;
use super::http2_preface::http2_input;
use super::{Http1, Next};
use crate::connection::link::Read;
use crate::connection::turn::Turn;
use crate::exchange::body::spool::{NotStored, Spool};
use crate::exchange::body::stream::SharedBody;
use crate::exchange::client_identity::ClientIdentity;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::exchange::request::{Body, Request};
use crate::protocol::intake::{Rejection, streams_body_of};

/// Reads from one connection per turn, so that one fast upload does not block the event loop: 16 × 64 KiB.
pub(super) const READS_AT_ONCE: usize = 16;

/// Fewer for a chunked body: its chunks may be of one byte, which cost about 10 ns a byte. 4 × 64 KiB.
const PARSED_AT_ONCE: usize = 4;

/// Smaller pieces of a body on disk are written together with the rest of what was read with them.
const WRITTEN_AT_ONCE: usize = 4096;

/// What has been received of the next request.
pub(super) struct RequestReader {
    pub(super) parser: RequestParser,
    /// Input after the current request.
    unread: Vec<u8>,
    /// The request whose body is being received.
    pub(super) request: Option<Box<Request>>,
    pub(super) spool: Spool,
    /// The link's deadline is that of a request head.
    pub(super) has_begun_head: bool,
    pub(super) identity: ClientIdentity,
    /// The application reads the body of the current request from the connection.
    pub(super) stream: Option<Arc<SharedBody<BodyReceiver>>>,
    /// The rest of the current request is read and dropped.
    discards_input: bool,
}

impl RequestReader {
    pub(super) fn new(parser: RequestParser, identity: ClientIdentity) -> Self {
        Self {
            parser,
            unread: Vec::new(),
            request: None,
            spool: Spool::Empty,
            has_begun_head: false,
            identity,
            stream: None,
            discards_input: false,
        }
    }

    /// Whether no byte of a request has arrived.
    pub(super) fn is_idle(&self) -> bool {
        self.parser.is_idle() && self.unread.is_empty()
    }

    /// Whether input has been received that was not parsed yet.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Input after the current request.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Whether what the client still sends of the current request is dropped.
    pub(super) fn discards_input(&self) -> bool {
        self.discards_input
    }

    /// The response to a streamed request begins. Returns whether the body is complete: if not, the connection cannot
    /// serve another request.
    #[inline]
    pub(super) fn begin_response(&mut self) -> bool {
        let Some(stream) = &self.stream else {
            return true;
        };
        let is_complete = stream.with(|receiver| {
            receiver.on_response();
            receiver.is_complete()
        });
        is_complete == Some(true)
    }

    /// Reads of a streamed body end at the deadline of this call.
    pub(super) fn watch_deadline(&self, call_slot: &Arc<CallSlot>) {
        if let Some(stream) = &self.stream {
            stream.with(|receiver| receiver.watch_deadline(call_slot));
        }
    }

    /// Whether the application reads the body of the current request from the connection.
    #[inline]
    pub(super) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether the client has left within a streamed body.
    pub(super) fn is_truncated(&self) -> bool {
        let is_truncated = |stream: &Arc<SharedBody<BodyReceiver>>| {
            stream.with(|receiver| receiver.is_truncated()) == Some(true)
        };
        self.stream.as_ref().is_some_and(is_truncated)
    }

    /// The response ends: the application reads no more of the body. Returns whether the body is complete, and the
    /// number of bytes that were received for the application.
    pub(super) fn end_stream(&mut self) -> (bool, u64) {
        let Some(receiver) = self.stream.take().and_then(|stream| stream.take()) else {
            return (true, 0);
        };
        let received = receiver.received();
        match receiver.into_parts() {
            Some((parser, unread)) => (self.parser, self.unread) = (parser, unread),
            None => self.discards_input = true,
        }
        (!self.discards_input, received)
    }

    /// Who the client of the connection is, for another protocol.
    pub(super) fn into_identity(self) -> ClientIdentity {
        self.identity
    }

    pub(super) fn is_reading_body(&self) -> bool {
        self.parser.is_reading_body()
    }

    pub(super) fn has_begun_head(&self) -> bool {
        self.parser.is_reading_head()
    }

    /// The request whose head will not be completed, so that the log shows which it was.
    pub(super) fn cut_head(&mut self) {
        let request = self.request.get_or_insert_default();
        self.parser.cut_head(&mut request.head);
    }

    /// The next request may be read.
    pub(super) fn next_message(&mut self) {
        self.parser.next_message();
    }
}

impl Http1 {
    /// Reads and parses until a request is complete, the socket is empty or the connection is over.
    pub(super) fn receive(&mut self, turn: &mut Turn) -> Next {
        if self.reader.has_unread() {
            let unread = std::mem::take(&mut self.reader.unread);
            if let Some(next) = self.feed(&unread, &mut turn.requests, turn.now) {
                return next;
            }
        }
        for count in 0..READS_AT_ONCE {
            if !self.link.readable {
                return Next::Wait;
            }
            let body_left = self.reader.parser.body_left();
            if count >= PARSED_AT_ONCE && body_left.is_none() {
                return Next::Again;
            }
            let next = match self.receive_directly(body_left, turn) {
                Some(next) => next,
                None => self.receive_and_parse(turn),
            };
            if let Some(next) = next {
                return next;
            }
        }
        Next::Again
    }

    /// Reads into the shared buffer and parses. `None`: nothing to do yet.
    fn receive_and_parse(&mut self, turn: &mut Turn) -> Option<Next> {
        let Turn {
            buffer,
            requests,
            now,
            received,
            ..
        } = turn;
        match self.link.read(buffer) {
            Read::Bytes(count) => {
                *received += count as u64;
                self.feed(&buffer[..count], requests, *now)
            }
            Read::Blocked | Read::Interrupted => None,
            Read::End => Some(self.receive_eof(*now)),
            Read::Dead => Some(self.lose(*now)),
        }
    }

    /// Receives a part of a large body into the buffer that collects it: this saves a copy, the main cost of such a
    /// body besides the system calls. The outer `None`: this body is not received so.
    fn receive_directly(
        &mut self,
        body_left: Option<u64>,
        turn: &mut Turn,
    ) -> Option<Option<Next>> {
        let memory = self.context.bodies.memory;
        let room = self.reader.spool.room(body_left?, memory)?;
        let next = match self.link.read(room) {
            Read::Bytes(count) => {
                turn.received += count as u64;
                self.reader.spool.record_received(count);
                self.reader.parser.advance_body(count as u64);
                self.extend_body_deadline(count, turn.now);
                self.feed(&[], &mut turn.requests, turn.now)
            }
            Read::Blocked | Read::Interrupted => None,
            Read::End => Some(self.receive_eof(turn.now)),
            Read::Dead => Some(self.lose(turn.now)),
        };
        Some(next)
    }

    fn receive_eof(&mut self, now: Instant) -> Next {
        match self.reader.parser.receive_eof() {
            Ok(()) => Next::Close,
            Err(refusal) => self.refuse(refusal.into(), Outcome::Refused, now),
        }
    }

    /// Parses `input`; what lies beyond the end of a message is kept. `None`: all used, nothing to do yet.
    fn feed(&mut self, input: &[u8], spare: &mut Vec<Box<Request>>, now: Instant) -> Option<Next> {
        let mut rest = if self.reader.identity.awaits_proxy_header() {
            match self.take_proxy_header(input, now) {
                Ok(rest) => rest,
                Err(next) => return next,
            }
        } else {
            input
        };
        let mut request = self
            .reader
            .request
            .take()
            .or_else(|| spare.pop())
            .unwrap_or_default();
        // A body in chunks of one byte would cost a system call per byte: what one read returned is written at once.
        let mut small = Vec::new();
        let next = loop {
            let (used, event) = match self.reader.parser.step(rest, &mut request.head) {
                Ok(step) => step,
                Err(refusal) => {
                    if let Some(received) = self.begins_http2(refusal, rest) {
                        spare.push(request);
                        self.reader.unread = received;
                        return Some(Next::SpeakHttp2);
                    }
                    self.reader.request = Some(request);
                    return Some(self.refuse(refusal.into(), Outcome::Refused, now));
                }
            };
            rest = &rest[used..];
            match event {
                Event::NeedMore => {
                    if self.reader.parser.is_reading_body() {
                        self.extend_body_deadline(input.len(), now);
                        if let Err(rejection) = self.store(&mut small, now) {
                            self.reader.request = Some(request);
                            return Some(self.refuse(rejection, Outcome::Refused, now));
                        }
                    } else {
                        if self.reader.parser.is_reading_head() {
                            self.on_head_begun(now);
                        }
                        spare.push(request);
                        return None;
                    }
                    break None;
                }
                Event::Head => {
                    if let Err(refusal) = self.take_head(&mut request, rest.is_empty(), now) {
                        self.reader.request = Some(request);
                        return Some(self.refuse(refusal.into(), Outcome::Refused, now));
                    }
                    if let Some(rejection) = Rejection::take(&mut request) {
                        self.reader.request = Some(request);
                        let outcome = rejection.outcome();
                        return Some(self.refuse(rejection, outcome, now));
                    }
                    if streams_body_of(&request.head, &self.context.config) {
                        self.stream_body(&mut request, rest, now);
                        return Some(Next::Dispatch(request));
                    }
                }
                Event::Body(bytes)
                    if self.reader.spool.is_on_disk() && bytes.len() < WRITTEN_AT_ONCE =>
                {
                    small.extend_from_slice(bytes);
                }
                Event::Body(bytes) => {
                    if let Err(rejection) = self
                        .store(&mut small, now)
                        .and_then(|()| self.collect(bytes, now))
                    {
                        self.reader.request = Some(request);
                        return Some(self.refuse(rejection, Outcome::Refused, now));
                    }
                }
                Event::End => match self
                    .store(&mut small, now)
                    .and_then(|()| self.take_body(now))
                {
                    Ok(body) => {
                        request.body = body;
                        self.reader.unread.extend_from_slice(rest);
                        return Some(Next::Dispatch(request));
                    }
                    Err(rejection) => {
                        self.reader.request = Some(request);
                        return Some(self.refuse(rejection, Outcome::Refused, now));
                    }
                },
                Event::Paused => {
                    self.reader.unread.extend_from_slice(rest);
                    break None;
                }
            }
        };
        self.reader.request = Some(request);
        if self.link.out.is_empty() {
            next
        } else {
            Some(Next::Flush)
        }
    }

    /// What the client has sent, if it is one of HTTP/2.
    #[cold]
    fn begins_http2(&self, refusal: Refusal, rest: &[u8]) -> Option<Vec<u8>> {
        let may_begin =
            self.served == 0 && self.context.config.http2.is_enabled && !self.link.local.is_uwsgi;
        may_begin.then(|| http2_input(refusal, rest)).flatten()
    }

    fn store(&mut self, small: &mut Vec<u8>, now: Instant) -> Result<(), Rejection> {
        if small.is_empty() {
            return Ok(());
        }
        self.collect(&std::mem::take(small), now)
    }

    fn collect(&mut self, bytes: &[u8], now: Instant) -> Result<(), Rejection> {
        self.reader
            .spool
            .append(bytes, &self.context.bodies)
            .map_err(|reason| self.not_stored(&reason, now))
    }

    fn take_body(&mut self, now: Instant) -> Result<Body, Rejection> {
        std::mem::take(&mut self.reader.spool)
            .finish()
            .map(Body::from)
            .map_err(|reason| self.not_stored(&reason, now))
    }

    fn not_stored(&self, reason: &NotStored, now: Instant) -> Rejection {
        self.context.report_spool_failure(reason, now);
        Rejection::of_body(reason)
    }

    fn on_head_begun(&mut self, now: Instant) {
        // Counted from the first byte and never extended: trickling bytes gains no time.
        if !self.reader.has_begun_head {
            self.reader.has_begun_head = true;
            self.link.deadline = now + self.context.config.head_timeout;
        }
    }

    /// Counts bytes as received, chunk framing included: the rate is that at which the client sends.
    fn extend_body_deadline(&mut self, received: usize, now: Instant) {
        self.link.deadline =
            self.context
                .body_rate()
                .extend(self.link.deadline, received as u64, now);
    }
}
