//! The request reader: reads, parses and collects the bytes of a connection until a request is complete.
//! `lockgate-http` parses; faults are answered in `rejection`.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{CONTINUE, Event, Framing, Refusal};
use lockgate_observe::Outcome;

use super::{Connection, Next};
use crate::body::minimum_rate::MinimumRate;
use crate::body::spool::{NotStored, Spool};
use crate::event_loop::scratch::Scratch;
use crate::exchange::request::{Body, Request};
use crate::http1::error_response::Rejection;
use crate::log::access_log::Entry;
use crate::transport::Received;

/// Reads from one connection per turn, so that one fast upload does not block the event loop: 16 × 64 KiB.
pub(super) const READS_AT_ONCE: usize = 16;

/// Fewer for a chunked body: its chunks may be of one byte, which cost about 10 ns a byte. 4 × 64 KiB.
const PARSED_AT_ONCE: usize = 4;

/// Smaller pieces of a body on disk are written together with the rest of what was read with them.
const WRITTEN_AT_ONCE: usize = 4096;

impl Connection {
    /// Reads and parses until a request is complete, the socket is empty or the connection is over.
    pub fn receive(&mut self, scratch: &mut Scratch) -> Next {
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            if let Some(next) = self.feed(&unread, &mut scratch.requests, scratch.now) {
                return next;
            }
        }
        for count in 0..READS_AT_ONCE {
            if !self.readable {
                return Next::Wait;
            }
            if count >= PARSED_AT_ONCE && self.protocol.body_left().is_none() {
                return Next::Again;
            }
            if let Some(left) = self.protocol.body_left()
                && let Some(room) = self.spool.room(left, self.shared.bodies.memory)
            {
                let outcome = self.transport.read(room);
                match self.on_direct_read(outcome, scratch) {
                    None => continue,
                    Some(next) => return next,
                }
            }
            let Scratch {
                buffer,
                requests,
                now,
                received,
                ..
            } = scratch;
            match self.transport.read(buffer) {
                Ok(Received { count: 0, .. }) => {
                    self.readable = false;
                    self.read_closed = true;
                    return self.receive_eof(*now);
                }
                Ok(Received { count, is_drained }) => {
                    // The end of the stream carries no bytes: once it is announced, reading goes on until a read
                    // returns it.
                    self.readable = !is_drained || self.read_closing;
                    *received += count as u64;
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

    /// Part of a body was received directly into the buffer that collects it: this saves a copy, the main cost of a
    /// large body besides the system calls.
    fn on_direct_read(
        &mut self,
        outcome: io::Result<Received>,
        scratch: &mut Scratch,
    ) -> Option<Next> {
        match outcome {
            Ok(Received { count: 0, .. }) => {
                self.readable = false;
                self.read_closed = true;
                Some(self.receive_eof(scratch.now))
            }
            Ok(Received { count, is_drained }) => {
                self.readable = !is_drained || self.read_closing;
                scratch.received += count as u64;
                self.spool.record_received(count);
                self.protocol.advance_body(count as u64);
                self.extend_body_deadline(count, scratch.now);
                self.feed(&[], &mut scratch.requests, scratch.now)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
            Err(_) => Some(self.lose(scratch.now)),
        }
    }

    fn receive_eof(&mut self, now: Instant) -> Next {
        match self.protocol.receive_eof() {
            Ok(()) => Next::Close,
            Err(refusal) => self.refuse(refusal.into(), Outcome::Refused, now),
        }
    }

    /// Parses `input`; what lies beyond the end of a message is kept. `None`: all used, nothing to do yet.
    fn feed(&mut self, input: &[u8], spare: &mut Vec<Box<Request>>, now: Instant) -> Option<Next> {
        let mut rest = if self.identity.awaits_proxy_header() {
            match self.take_proxy_header(input, now) {
                Ok(rest) => rest,
                Err(next) => return next,
            }
        } else {
            input
        };
        let mut request = self
            .request
            .take()
            .or_else(|| spare.pop())
            .unwrap_or_default();
        // A body in chunks of one byte would cost a system call per byte: what one read returned is written at once.
        let mut small = Vec::new();
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
                        self.extend_body_deadline(input.len(), now);
                        if let Err(rejection) = self.store(&mut small, now) {
                            self.request = Some(request);
                            return Some(self.refuse(rejection, Outcome::Refused, now));
                        }
                    } else {
                        if self.protocol.is_reading_head() {
                            self.on_head_begun(now);
                        }
                        spare.push(request);
                        return None;
                    }
                    break None;
                }
                Event::Head => {
                    if let Err(refusal) = self.take_head(&mut request, rest.is_empty(), now) {
                        self.request = Some(request);
                        return Some(self.refuse(refusal.into(), Outcome::Refused, now));
                    }
                }
                Event::Body(bytes) if self.spool.is_on_disk() && bytes.len() < WRITTEN_AT_ONCE => {
                    small.extend_from_slice(bytes);
                }
                Event::Body(bytes) => {
                    if let Err(rejection) = self
                        .store(&mut small, now)
                        .and_then(|()| self.collect(bytes, now))
                    {
                        self.request = Some(request);
                        return Some(self.refuse(rejection, Outcome::Refused, now));
                    }
                }
                Event::End => match self
                    .store(&mut small, now)
                    .and_then(|()| self.take_body(now))
                {
                    Ok(body) => {
                        request.body = body;
                        self.unread.extend_from_slice(rest);
                        return Some(Next::Dispatch(request));
                    }
                    Err(rejection) => {
                        self.request = Some(request);
                        return Some(self.refuse(rejection, Outcome::Refused, now));
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

    fn store(&mut self, small: &mut Vec<u8>, now: Instant) -> Result<(), Rejection> {
        if small.is_empty() {
            return Ok(());
        }
        self.collect(&std::mem::take(small), now)
    }

    fn collect(&mut self, bytes: &[u8], now: Instant) -> Result<(), Rejection> {
        self.spool
            .append(bytes, &self.shared.bodies)
            .map_err(|reason| self.not_stored(&reason, now))
    }

    fn take_body(&mut self, now: Instant) -> Result<Body, Rejection> {
        std::mem::take(&mut self.spool)
            .into_body()
            .map_err(|reason| self.not_stored(&reason, now))
    }

    fn not_stored(&self, reason: &NotStored, now: Instant) -> Rejection {
        self.shared.report_spool_failure(reason, now);
        Rejection::of_body(reason)
    }

    fn on_head_begun(&mut self, now: Instant) {
        // Counted from the first byte and never extended: trickling bytes gains no time.
        if !self.has_begun_head {
            self.has_begun_head = true;
            self.deadline = now + self.shared.config.head_timeout;
        }
    }

    fn body_rate(&self) -> MinimumRate {
        MinimumRate {
            bytes_per_second: self.shared.config.body_min_rate,
            grace: self.shared.config.body_timeout,
        }
    }

    /// Counts bytes as received, chunk framing included: the rate is that at which the client sends.
    fn extend_body_deadline(&mut self, received: usize, now: Instant) {
        self.deadline = self.body_rate().extend(self.deadline, received as u64, now);
    }

    fn take_head(
        &mut self,
        request: &mut Request,
        is_input_used: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let head = &request.head;
        self.is_head_request = head.method() == b"HEAD";
        self.is_http10 = head.version() == lockgate_http::Version::Http10;
        self.client_keeps_alive = head.keep_alive();
        self.close_after_response = false;
        self.has_begun_head = false;
        request.has_body = !matches!(head.framing(), Framing::None);
        request.is_https = self.transport.is_encrypted();
        if head.may_have_forwarding_headers() || self.shared.proxies.looks_at_all() {
            self.identify(request)?;
        } else {
            request.set_client(&self.client);
        }
        let head = &request.head;
        if !Arc::ptr_eq(&request.local, &self.local) {
            request.local = Arc::clone(&self.local);
        }
        if self.shared.access_log.is_some() {
            let mut entry = Box::<Entry>::default();
            entry.head.clone_from(head);
            entry.client = Some(Arc::clone(&request.client));
            entry.started = Some(now);
            self.entry = Some(entry);
        }
        if let Framing::Length(length) = head.framing() {
            self.spool = Spool::with_length(&self.shared.bodies, length);
        }
        if request.has_body {
            self.deadline = self.body_rate().begin(now);
            // The head is within the limits and the body is about to be buffered: request it, unless it has arrived.
            if head.expects_continue() && is_input_used {
                self.out.append(CONTINUE);
            }
        }
        Ok(())
    }
}
