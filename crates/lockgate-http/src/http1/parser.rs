//! Parser of HTTP/1 requests as a sans-I/O state machine: received bytes in, events out.
//!
//! Invariants: the same bytes give the same events wherever they are cut; a refusal is final; only a partial head, a
//! partial trailer section and the body's byte count are stored.

use std::sync::Arc;

use crate::error::Refusal;
use crate::http1::chunked::{ChunkedDecoder, Decoded};
use crate::http1::head::HeadReader;
use crate::limits::{Limits, is_body_too_long};
use crate::request::{Framing, RequestHead};
use crate::uwsgi::Packet;
use crate::uwsgi::packet_reader::PacketReader;

/// The result of [`RequestParser::step`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// All input was used; more is needed.
    NeedMore,
    /// The head is complete.
    Head,
    /// A non-empty part of the body, without chunk framing.
    Body(&'i [u8]),
    /// The request is complete.
    End,
    /// The request was complete before: nothing is read until [`RequestParser::next_message`].
    Paused,
}

/// Parser of the requests of one connection. Small and without heap memory between messages.
///
/// ```
/// use lockgate_http::{Event, Limits, Refusal, RequestHead, RequestParser};
///
/// let mut parser = RequestParser::new(Limits::default());
/// let mut head = RequestHead::default();
/// let input = b"GET /gates?open HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// let (used, event) = parser.step(input, &mut head)?;
/// assert_eq!((used, event), (input.len(), Event::Head));
/// assert_eq!(head.path(), b"/gates");
/// assert_eq!(parser.step(b"", &mut head)?, (0, Event::End));
///
/// parser.next_message();
/// let refusal = parser.step(b"GET /\n", &mut head).unwrap_err();
/// assert_eq!((refusal, refusal.status()), (Refusal::BareLineFeed, 400));
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Debug)]
pub struct RequestParser {
    /// Shared by all connections: an idle one is small.
    limits: Arc<Limits>,
    state: State,
    /// The packet whose head was returned last, where the protocol is uwsgi.
    packet: Option<Box<Packet>>,
}

#[derive(Debug)]
enum State {
    /// Before a request line, after this many bytes of empty lines.
    Idle {
        skipped: u8,
    },
    /// A partial head is stored.
    Head(Box<PartialHead>),
    /// Before or within a packet of the uwsgi protocol.
    Packet(PacketReader),
    /// This many bytes of a body are still expected.
    Body(u64),
    Chunked(ChunkedDecoder),
    Ended,
    Refused(Refusal),
}

#[derive(Debug, Default)]
struct PartialHead {
    reader: HeadReader,
    /// Its bytes are those received so far.
    head: RequestHead,
}

/// RFC 9112 §2.2 asks to ignore at least one empty line: old clients send one after a body.
const SKIPPED_LIMIT: u8 = 2 * 2;

/// Input is copied into a partial head in steps of this size, so that a body behind it is not copied.
const COPY_STEP: usize = 2048;

impl RequestParser {
    /// The parser of a new connection.
    pub fn new(limits: impl Into<Arc<Limits>>) -> Self {
        let mut limits = limits.into();
        // Positions within a head are 32 bits wide.
        if limits.head > u32::MAX as usize {
            Arc::make_mut(&mut limits).head = u32::MAX as usize;
        }
        Self {
            limits,
            state: State::Idle { skipped: 0 },
            packet: None,
        }
    }

    /// The parser of a new connection of the uwsgi protocol, on which there is one request.
    pub fn of_uwsgi(limits: impl Into<Arc<Limits>>) -> Self {
        Self {
            state: State::Packet(PacketReader::default()),
            ..Self::new(limits)
        }
    }

    /// The parser of a new connection that is refused when its first bytes arrive.
    pub fn refusing(refusal: Refusal, limits: impl Into<Arc<Limits>>) -> Self {
        Self {
            state: State::Refused(refusal),
            ..Self::new(limits)
        }
    }

    /// What a packet of the uwsgi protocol says besides the head that was returned last.
    pub fn take_packet(&mut self) -> Option<Box<Packet>> {
        self.packet.take()
    }

    /// Takes input; returns how much of it was used and what happened.
    ///
    /// Call it again with the rest until [`Event::NeedMore`] (all was used) or [`Event::Paused`]. `head` is filled at
    /// [`Event::Head`]; any number of [`Event::Body`] and one [`Event::End`] follow, even without a body. Between head
    /// and end `head` is not touched, and each call may pass a different one.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] is final: send its status and close. Further calls return it again. If it concerns the head,
    /// `head` holds what was read before the fault.
    #[inline]
    pub fn step<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
    ) -> Result<(usize, Event<'i>), Refusal> {
        let answer = match &mut self.state {
            State::Idle { .. } => self.step_idle(input, head),
            State::Head(_) => self.step_partial(input, head),
            State::Packet(_) => self.step_packet(input, head),
            State::Body(0) => {
                self.state = State::Ended;
                Ok((0, Event::End))
            }
            State::Body(_) if input.is_empty() => Ok((0, Event::NeedMore)),
            State::Body(left) => {
                let take = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= take as u64;
                Ok((take, Event::Body(&input[..take])))
            }
            State::Chunked(decoder) => match decoder.decode(input, &self.limits) {
                Ok((used, Decoded::NeedMore)) => Ok((used, Event::NeedMore)),
                Ok((used, Decoded::Data(data))) => Ok((used, Event::Body(data))),
                Ok((used, Decoded::End)) => {
                    self.state = State::Ended;
                    Ok((used, Event::End))
                }
                Err(refusal) => Err(refusal),
            },
            State::Ended => Ok((0, Event::Paused)),
            State::Refused(refusal) => Err(*refusal),
        };
        if let Err(refusal) = answer {
            self.state = State::Refused(refusal);
        }
        answer
    }

    /// The response is complete and the connection stays open: the next request may be read.
    ///
    /// Does nothing before [`Event::End`] and after a refusal: a connection with a partly read request cannot continue,
    /// and must be closed.
    pub fn next_message(&mut self) {
        if matches!(self.state, State::Ended) {
            self.state = State::Idle { skipped: 0 };
        }
    }

    /// The peer has closed its sending side.
    ///
    /// # Errors
    ///
    /// It closed inside a head or a body, or was refused before. A complete request, or no request at all, is no error:
    /// a half-closed client still reads its response.
    pub fn receive_eof(&mut self) -> Result<(), Refusal> {
        let refusal = match &self.state {
            State::Idle { .. } | State::Body(0) | State::Ended => return Ok(()),
            State::Packet(reader) if reader.received() == 0 => return Ok(()),
            State::Head(_) | State::Packet(_) => Refusal::TruncatedHead,
            State::Body(_) | State::Chunked(_) => Refusal::TruncatedBody,
            State::Refused(refusal) => *refusal,
        };
        self.state = State::Refused(refusal);
        Err(refusal)
    }

    /// Whether the parser is between messages and has received no byte of the next head. Empty lines before a
    /// request line do not count.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Idle { .. } => true,
            State::Packet(reader) => reader.received() == 0,
            _ => false,
        }
    }

    /// Whether a part of a head was received.
    pub fn is_reading_head(&self) -> bool {
        match &self.state {
            State::Head(_) => true,
            State::Packet(reader) => reader.received() > 0,
            _ => false,
        }
    }

    /// The head that is being received will not be completed: fills `head` with its complete parts, for the log.
    pub fn cut_head(&mut self, head: &mut RequestHead) {
        if let State::Head(partial) = &mut self.state {
            let loggable = partial.reader.loggable_length(&mut partial.head.summary);
            partial.head.bytes.truncate(loggable);
            head.copy_from(&partial.head);
        }
    }

    /// Whether a head was received and its body is incomplete.
    pub fn is_reading_body(&self) -> bool {
        matches!(self.state, State::Body(1..) | State::Chunked(_))
    }

    /// Replaces [`Limits::body`] for the body that follows the head which [`Event::Head`] has reported; 0: unlimited.
    ///
    /// # Errors
    ///
    /// The head announces a longer body. The refusal is final.
    pub fn limit_body(&mut self, limit: u64) -> Result<(), Refusal> {
        match &mut self.state {
            State::Body(length) if is_body_too_long(*length, limit) => {
                let refusal = Refusal::BodyTooLarge { limit };
                self.state = State::Refused(refusal);
                return Err(refusal);
            }
            State::Chunked(decoder) => decoder.limit_body(limit),
            _ => {}
        }
        Ok(())
    }

    /// Bytes still expected of a body with a Content-Length; `None` between messages and for chunked bodies. This many
    /// bytes may be received directly into the body's buffer.
    pub fn body_left(&self) -> Option<u64> {
        match self.state {
            State::Body(left @ 1..) => Some(left),
            _ => None,
        }
    }

    /// Counts body bytes that were received without passing through [`RequestParser::step`], at most
    /// [`RequestParser::body_left`]. The next step returns the end.
    pub fn advance_body(&mut self, received: u64) {
        if let State::Body(left) = &mut self.state {
            *left = left.saturating_sub(received);
        }
    }

    /// How many bytes of a partial head or trailer section are buffered: at most [`Limits::head`] or [`Limits::trailers`],
    /// and 0 between messages.
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Head(partial) => partial.head.bytes.len(),
            State::Packet(reader) => reader.received(),
            State::Chunked(decoder) => decoder.buffered(),
            _ => 0,
        }
    }

    /// The fast path: a head that arrives in one piece is parsed in place and copied once.
    #[inline]
    fn step_idle<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
    ) -> Result<(usize, Event<'i>), Refusal> {
        let Some(first) = input.first() else {
            return Ok((0, Event::NeedMore));
        };
        // Also before a fault in an empty line, so that it is not logged with the previous request.
        head.clear();
        let skipped = match first {
            b'\r' | b'\n' => self.skip_empty_lines(input)?,
            _ => self.end_skipping()?,
        };
        let bytes = &input[skipped..];
        if bytes.is_empty() {
            return Ok((input.len(), Event::NeedMore));
        }
        let mut reader = HeadReader::default();
        match reader.advance(bytes, head, &self.limits) {
            Ok(Some(length)) => {
                head.bytes.extend_from_slice(&bytes[..length]);
                self.begin_body(head.framing());
                Ok((skipped + length, Event::Head))
            }
            Ok(None) => {
                head.bytes.extend_from_slice(bytes);
                let mut partial = Box::new(PartialHead {
                    reader,
                    head: RequestHead::default(),
                });
                partial.head.copy_from(head);
                head.clear();
                self.state = State::Head(partial);
                Ok((input.len(), Event::NeedMore))
            }
            Err(refusal) => {
                let loggable = reader.loggable_length(&mut head.summary);
                head.bytes.extend_from_slice(&bytes[..loggable]);
                // The first modifier of a request over the uwsgi protocol. After empty lines it is a PROXY header.
                if bytes[0] == 0 && skipped == 0 && matches!(self.state, State::Idle { skipped: 0 })
                {
                    return Err(Refusal::UwsgiPacket);
                }
                Err(refusal)
            }
        }
    }

    fn step_partial<'i>(
        &mut self,
        input: &'i [u8],
        head: &mut RequestHead,
    ) -> Result<(usize, Event<'i>), Refusal> {
        let State::Head(partial) = &mut self.state else {
            return Ok((0, Event::NeedMore));
        };
        let mut bytes = std::mem::take(&mut partial.head.bytes);
        for (index, piece) in input.chunks(COPY_STEP).enumerate() {
            let before = bytes.len();
            // The reader asks for more only while the head is below its limit, so there is room.
            let room = self.limits.head.saturating_sub(before);
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            let outcome = partial
                .reader
                .advance(&bytes, &mut partial.head, &self.limits);
            if let Ok(None) = outcome {
                continue;
            }
            bytes.truncate(match outcome {
                Ok(Some(length)) => length,
                _ => partial.reader.loggable_length(&mut partial.head.summary),
            });
            partial.head.bytes = bytes;
            head.copy_from(&partial.head);
            outcome?;
            let used = index * COPY_STEP + head.bytes.len() - before;
            self.begin_body(head.framing());
            return Ok((used, Event::Head));
        }
        partial.head.bytes = bytes;
        Ok((input.len(), Event::NeedMore))
    }

    #[inline(never)]
    fn step_packet<'i>(
        &mut self,
        input: &[u8],
        head: &mut RequestHead,
    ) -> Result<(usize, Event<'i>), Refusal> {
        let State::Packet(reader) = &mut self.state else {
            return Ok((0, Event::NeedMore));
        };
        let (used, packet) = reader.receive(input, head, &self.limits)?;
        if packet.is_none() {
            return Ok((used, Event::NeedMore));
        }
        self.packet = packet;
        self.begin_body(head.framing());
        Ok((used, Event::Head))
    }

    #[inline]
    fn begin_body(&mut self, framing: Framing) {
        self.state = match framing {
            // A head that was parsed here has no stream.
            Framing::None | Framing::EndOfStream => State::Body(0),
            Framing::Length(length) => State::Body(length),
            Framing::Chunked => State::Chunked(ChunkedDecoder::default()),
        };
    }

    /// Skips CRLF before the request line; returns how many bytes of `input` that is.
    #[cold]
    fn skip_empty_lines(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let State::Idle { skipped } = &mut self.state else {
            return Ok(0);
        };
        let mut used = 0;
        for &byte in input {
            let is_in_line = *skipped % 2 == 1;
            match byte {
                b'\r' if is_in_line => return Err(Refusal::BareCarriageReturn),
                b'\r' if *skipped >= SKIPPED_LIMIT => return Err(Refusal::LeadingBlankLines),
                b'\n' if !is_in_line => return Err(Refusal::BareLineFeed),
                b'\r' | b'\n' => *skipped += 1,
                _ => break,
            }
            used += 1;
        }
        if used < input.len() {
            self.end_skipping()?;
        }
        Ok(used)
    }

    /// A request line starts here; a CR before it without its LF is a fault.
    #[inline]
    fn end_skipping(&self) -> Result<usize, Refusal> {
        match self.state {
            State::Idle { skipped } if skipped % 2 == 1 => Err(Refusal::BareCarriageReturn),
            _ => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    fn parser() -> RequestParser {
        RequestParser::new(Limits::default())
    }

    #[test]
    fn a_parser_is_small() {
        assert!(
            size_of::<RequestParser>() <= 160,
            "{}",
            size_of::<RequestParser>()
        );
    }

    #[test]
    fn a_fault_is_reported_at_its_first_byte() {
        let cases: [(&[u8], Refusal); 15] = [
            (b"\x16", Refusal::TlsOnPlainPort),
            (b" ", Refusal::MisplacedWhitespace),
            (b"\n", Refusal::BareLineFeed),
            (b"\r\n\r\n\r", Refusal::LeadingBlankLines),
            (b"GET\n", Refusal::BareLineFeed),
            (b"GET /\n", Refusal::BareLineFeed),
            (b"GET /\r", Refusal::MissingVersion),
            (b"GET  ", Refusal::MisplacedWhitespace),
            (b"GET / x", Refusal::InvalidVersion),
            (b"GET / HTTP/1.1\n", Refusal::BareLineFeed),
            (b"GET / HTTP/2.0\r\n", Refusal::UnsupportedVersion),
            (b"PRI * HTTP/2.0\r\n", Refusal::Http2Preface),
            (b"CONNECT h:1 HTTP/1.1\r\n", Refusal::MethodNotImplemented),
            (b"GET / HTTP/1.1\r\n ", Refusal::WhitespaceBeforeFirstField),
            (
                b"GET / HTTP/1.1\r\nContent-Length: x\r\n",
                Refusal::InvalidContentLength,
            ),
        ];
        for (bytes, refusal) in cases {
            let mut head = RequestHead::default();
            assert_eq!(parser().step(bytes, &mut head), Err(refusal), "{bytes:?}");
        }
    }

    #[test]
    fn a_body_over_its_limit_is_refused_with_its_whole_head() {
        let limits = Limits {
            body: 10,
            ..Limits::default()
        };
        let bytes =
            b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n";
        for first in [bytes.len(), 30] {
            let mut parser = RequestParser::new(limits);
            let mut head = RequestHead::default();
            let (first, second) = bytes.split_at(first);
            let outcome = parser
                .step(first, &mut head)
                .and_then(|_| parser.step(second, &mut head));
            assert_eq!(outcome, Err(Refusal::BodyTooLarge { limit: 10 }));
            assert_eq!(head.head_bytes(), bytes);
            assert_eq!((head.method(), head.target()), (&b"PUT"[..], &b"/x"[..]));
            assert_eq!(head.header("host"), Some(&b"h"[..]));
        }
    }

    #[test]
    fn a_body_may_have_another_limit_than_that_of_the_connection() {
        let limits = Limits {
            body: 10,
            ..Limits::default()
        };
        let length = |length: u64| format!("Content-Length: {length}\r\n\r\n{:0>20}", 0);
        let chunks =
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".to_owned();
        let too_large = |limit| Err(Refusal::BodyTooLarge { limit });
        for (rest, limit, expected) in [
            (length(6), None, Ok(6)),
            (length(6), Some(6), Ok(6)),
            (length(6), Some(5), too_large(5)),
            (length(6), Some(0), Ok(6)),
            (chunks.clone(), None, Ok(6)),
            (chunks.clone(), Some(6), Ok(6)),
            (chunks.clone(), Some(5), too_large(5)),
            (chunks.clone(), Some(0), Ok(6)),
            // One that is larger than that of the connection.
            (
                chunks.replace("3\r\nabc", "b\r\n01234567890"),
                Some(14),
                Ok(14),
            ),
        ] {
            let mut parser = RequestParser::new(limits);
            let mut head = RequestHead::default();
            let input = format!("PUT / HTTP/1.1\r\nHost: h\r\n{rest}");
            let mut input = input.as_bytes();
            let mut received = 0;
            let outcome = loop {
                let event = parser.step(input, &mut head);
                if let Ok((used, _)) = event {
                    input = &input[used..];
                }
                match event {
                    Ok((_, Event::Head)) => {
                        if let Some(refusal) =
                            limit.and_then(|limit| parser.limit_body(limit).err())
                        {
                            break Err(refusal);
                        }
                    }
                    Ok((_, Event::Body(bytes))) => received += bytes.len(),
                    Ok((_, Event::End)) => break Ok(received),
                    Ok((_, event)) => panic!("{event:?}"),
                    Err(refusal) => break Err(refusal),
                }
            };
            assert_eq!(outcome, expected, "{rest} {limit:?}");
            if let Err(refusal) = expected {
                assert_eq!(parser.step(b"", &mut head), Err(refusal), "it is final");
            }
        }
    }

    #[test]
    fn a_refusal_records_the_field_that_caused_it() {
        let limits = Limits {
            field_size: 30,
            ..Limits::default()
        };
        let long = format!("Cookie: {}", "x".repeat(40));
        let cases = [
            (&long[..], Some(("Cookie", None))),
            ("X-A: a\0", Some(("X-A", None))),
            ("X-A: a\n", Some(("X-A", None))),
            ("Content-Length: 12a\r\n", Some(("Content-Length", Some(3)))),
            ("Host: a b\r\n", Some(("Host", Some(3)))),
            ("Host:\r\n", Some(("Host", Some(0)))),
            ("Host: a\r\nHOST: ab\r\n", Some(("HOST", Some(2)))),
            ("X-A : a\r\n", None),
            ("X-A: a\r\n b", None),
            ("X-A: a\r\n\r\n", None),
        ];
        for (lines, expected) in cases {
            let bytes = format!("GET / HTTP/1.1\r\n{lines}");
            for cut in 0..bytes.len() {
                let mut parser = RequestParser::new(limits);
                let mut head = RequestHead::default();
                let outcome = parser
                    .step(&bytes.as_bytes()[..cut], &mut head)
                    .and_then(|_| parser.step(&bytes.as_bytes()[cut..], &mut head));
                assert!(outcome.is_err(), "{lines:?}");
                let expected = expected.map(|(name, length)| (name.as_bytes(), length));
                assert_eq!(head.faulty_field(), expected, "{lines:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn body_bytes_may_be_received_without_the_parser() {
        let mut parser = parser();
        let mut head = RequestHead::default();
        let bytes = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
        assert_eq!(parser.body_left(), None);
        assert_eq!(
            parser.step(bytes, &mut head),
            Ok((bytes.len(), Event::Head))
        );
        assert_eq!(parser.step(b"abc", &mut head), Ok((3, Event::Body(b"abc"))));
        assert_eq!(parser.body_left(), Some(7));
        parser.advance_body(7);
        assert_eq!(
            (parser.body_left(), parser.is_reading_body()),
            (None, false)
        );
        assert_eq!(parser.step(b"GET", &mut head), Ok((0, Event::End)));
    }

    #[test]
    fn body_bytes_without_the_parser_may_come_in_parts() {
        let bytes = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n";
        for (parts, left) in [
            (&[3][..], Some(4)),
            (&[3, 1], Some(3)),
            (&[0, 7], None),
            (&[6, 1], None),
            // More than was announced is not counted.
            (&[6, 2], None),
            (&[u64::MAX], None),
        ] {
            let mut parser = parser();
            let mut head = RequestHead::default();
            parser.step(bytes, &mut head).unwrap();
            parts.iter().for_each(|part| parser.advance_body(*part));
            assert_eq!(parser.body_left(), left, "{parts:?}");
            assert_eq!(parser.is_reading_body(), left.is_some(), "{parts:?}");
            if left.is_none() {
                assert_eq!(parser.step(b"", &mut head), Ok((0, Event::End)));
                parser.advance_body(1);
                assert_eq!(parser.body_left(), None);
            }
        }
    }

    #[test]
    fn a_partial_head_is_buffered_until_it_is_complete() {
        let mut parser = parser();
        let mut head = RequestHead::default();
        assert!(parser.is_idle() && parser.buffered() == 0);
        assert_eq!(
            parser.step(&GET[..20], &mut head),
            Ok((20, Event::NeedMore))
        );
        assert!(parser.is_reading_head() && !parser.is_idle());
        assert_eq!(parser.buffered(), 20);
        let mut rest = GET[20..].to_vec();
        rest.extend_from_slice(&[b'x'; 5000]);
        assert_eq!(
            parser.step(&rest, &mut head),
            Ok((GET.len() - 20, Event::Head))
        );
        assert_eq!(parser.buffered(), 0);
        assert_eq!(head.head_bytes(), GET);
    }

    #[test]
    fn a_reused_head_keeps_its_memory() {
        let mut parser = parser();
        let mut head = RequestHead::default();
        let mut places = Vec::new();
        for _ in 0..3 {
            assert_eq!(parser.step(GET, &mut head), Ok((GET.len(), Event::Head)));
            assert_eq!(parser.step(b"", &mut head), Ok((0, Event::End)));
            parser.next_message();
            places.push((head.bytes.as_ptr(), head.fields.as_ptr()));
        }
        assert_eq!(places[0], places[1]);
        assert_eq!(places[1], places[2]);
    }

    #[test]
    fn a_parser_that_is_inside_a_message_does_not_start_the_next_one() {
        let mut parser = parser();
        let mut head = RequestHead::default();
        let post = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        parser.step(post, &mut head).unwrap();
        parser.next_message();
        assert!(parser.is_reading_body());
        assert_eq!(
            parser.step(b"abcd", &mut head),
            Ok((3, Event::Body(b"abc")))
        );
        assert_eq!(parser.step(b"d", &mut head), Ok((0, Event::End)));
        assert_eq!(parser.step(b"d", &mut head), Ok((0, Event::Paused)));
        assert_eq!(parser.receive_eof(), Ok(()));
        parser.next_message();
        assert!(parser.is_idle());
    }

    #[test]
    fn a_head_that_is_cut_off_has_its_complete_parts() {
        let cases: [(&[u8], &str, &str, usize); 4] = [
            (b"GE", "", "", 0),
            (b"GET /a", "GET", "", 0),
            (b"GET /a HTTP/1.1\r\nHo", "GET", "/a", 0),
            (b"GET /a HTTP/1.1\r\nHost: h\r\nX: secr", "GET", "/a", 1),
        ];
        for (bytes, method, target, fields) in cases {
            let mut parser = parser();
            let mut head = RequestHead::default();
            parser.step(bytes, &mut head).unwrap();
            parser.cut_head(&mut head);
            assert_eq!(head.method(), method.as_bytes(), "{bytes:?}");
            assert_eq!(head.target(), target.as_bytes(), "{bytes:?}");
            assert_eq!(head.headers().len(), fields, "{bytes:?}");
        }
    }

    #[test]
    fn the_end_of_input_is_a_fault_only_inside_a_message() {
        let cases: [(&[u8], Result<(), Refusal>); 6] = [
            (b"", Ok(())),
            (b"\r\n", Ok(())),
            (b"G", Err(Refusal::TruncatedHead)),
            (GET, Ok(())),
            (
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
                Err(Refusal::TruncatedBody),
            ),
            (
                b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Refusal::TruncatedBody),
            ),
        ];
        for (bytes, answer) in cases {
            let mut parser = parser();
            let mut head = RequestHead::default();
            parser.step(bytes, &mut head).unwrap();
            assert_eq!(parser.receive_eof(), answer, "{bytes:?}");
        }
    }
}
