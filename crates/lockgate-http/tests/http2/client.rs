//! A client of raw frames, which drives a [`Connection`] and reads what it answers.

use std::collections::BTreeMap;
use std::time::Instant;

use lockgate_http::http2::hpack::{Decoder, encode_field};
use lockgate_http::http2::{
    Connection, ConnectionError, Event, Http2Settings, PREFACE, Scratch, StreamId,
};
use lockgate_http::{Limits, RequestHead};

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PUSH_PROMISE: u8 = 0x5;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;
pub const PRIORITY_UPDATE: u8 = 0x10;

pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            // The encoder writes names in lower case.
            true => {
                block.extend_from_slice(&[0, name.len() as u8]);
                block.extend_from_slice(name.as_bytes());
                block.push(value.len() as u8);
                block.extend_from_slice(value.as_bytes());
            }
            false => encode_field(name.as_bytes(), value.as_bytes(), &mut block),
        }
    }
    block
}

pub const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "h"),
    (":path", "/"),
];

pub const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "h"),
    (":path", "/"),
];

/// HEADERS with a whole block.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A request without a body.
pub fn get(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &GET)
}

/// A request whose body follows.
pub fn post(stream: u32) -> Vec<u8> {
    headers(stream, 0, &POST)
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    /// In words: what matters of it.
    pub fn text(&self) -> String {
        let stream = self.stream;
        match self.kind {
            DATA => format!("DATA {stream} {} {}", self.payload.len(), self.flags & 1),
            HEADERS => format!("HEADERS {stream} {}", self.flags & 1),
            RST_STREAM => format!("RST_STREAM {stream} {}", self.number()),
            SETTINGS if self.flags & ACK != 0 => "SETTINGS ACK".to_owned(),
            SETTINGS => "SETTINGS".to_owned(),
            PING => format!("PING {} {:?}", self.flags, &self.payload),
            GOAWAY => {
                let code = u32::from_be_bytes(self.payload[4..8].try_into().unwrap());
                format!("GOAWAY {} {code}", self.number())
            }
            WINDOW_UPDATE => format!("WINDOW_UPDATE {stream} {}", self.number()),
            CONTINUATION => format!("CONTINUATION {stream}"),
            other => format!("{other} {stream}"),
        }
    }
}

/// Takes all frames, which must be whole.
pub fn frames(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let [l0, l1, l2, kind, flags, s0, s1, s2, s3, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            payload: after[..length].to_vec(),
        });
        rest = &after[length..];
    }
    assert!(rest.is_empty());
    bytes.clear();
    frames
}

/// What [`frames`] gives, in words.
pub fn texts(bytes: &mut Vec<u8>) -> Vec<String> {
    frames(bytes).iter().map(Frame::text).collect()
}

/// A connection and its client.
pub struct Client {
    pub connection: Connection,
    pub head: RequestHead,
    /// What the server has sent.
    pub received: Vec<u8>,
    scratch: Scratch,
    /// The streams of requests.
    pub streams: BTreeMap<u32, StreamId>,
    /// Decodes the server's blocks.
    decoder: Decoder,
}

impl Client {
    pub fn new(settings: Http2Settings, limits: Limits) -> Self {
        let mut received = Vec::new();
        let connection = Connection::new(settings, limits, false, Instant::now(), &mut received);
        Self {
            connection,
            head: RequestHead::default(),
            received,
            scratch: Scratch::default(),
            streams: BTreeMap::new(),
            decoder: Decoder::new(4096),
        }
    }

    /// A client that has exchanged prefaces.
    pub fn connected(settings: Http2Settings, limits: Limits) -> Self {
        let mut client = Self::new(settings, limits);
        client
            .send(&[&PREFACE[..], &frame(SETTINGS, 0, 0, b"")].concat())
            .unwrap();
        client.received.clear();
        client
    }

    /// Sends bytes; returns the events in words.
    pub fn send(&mut self, bytes: &[u8]) -> Result<Vec<String>, ConnectionError> {
        self.send_in_parts(bytes, bytes.len().max(1))
    }

    /// Sends bytes in parts of a length.
    pub fn send_in_parts(
        &mut self,
        bytes: &[u8],
        length: usize,
    ) -> Result<Vec<String>, ConnectionError> {
        let mut events = Vec::new();
        match self.take(bytes, length, &mut events) {
            Ok(()) => Ok(events),
            Err(error) => Err(error),
        }
    }

    /// Events and answers to bytes, in words: `event; event | frame; frame`.
    pub fn outcome(&mut self, bytes: &[u8]) -> String {
        self.outcome_in_parts(bytes, bytes.len().max(1))
    }

    pub fn outcome_in_parts(&mut self, bytes: &[u8], length: usize) -> String {
        let mut events = Vec::new();
        if self.take(bytes, length, &mut events).is_err() {
            events.push("error".to_owned());
        }
        format!("{} | {}", events.join("; "), self.received().join("; "))
    }

    fn take(
        &mut self,
        bytes: &[u8],
        length: usize,
        events: &mut Vec<String>,
    ) -> Result<(), ConnectionError> {
        let mut input = Vec::new();
        for part in bytes.chunks(length) {
            input.extend_from_slice(part);
            let mut used = 0;
            loop {
                let (taken, event) = self.connection.receive(
                    &input[used..],
                    &mut self.head,
                    &mut self.scratch,
                    &mut self.received,
                )?;
                used += taken;
                match event {
                    Event::NeedInput => break,
                    Event::Request { stream, .. } | Event::Refused { stream, .. } => {
                        self.streams.insert(stream.get(), stream);
                    }
                    _ => {}
                }
                events.push(in_words(&event, &self.head));
            }
            input.drain(..used);
        }
        Ok(())
    }

    /// The fields of a block of the server, each as `name: value`.
    pub fn fields(&mut self, block: &[u8]) -> Vec<String> {
        let mut fields = Vec::new();
        self.decoder
            .decode(block, usize::MAX, &mut Vec::new(), |name, value| {
                fields.push(String::from_utf8([name, b": ", value].concat()).unwrap());
            })
            .unwrap();
        fields
    }

    /// The frames that the server has sent since, in words.
    pub fn received(&mut self) -> Vec<String> {
        texts(&mut self.received)
    }
}

fn in_words(event: &Event<'_>, head: &RequestHead) -> String {
    match event {
        Event::Request {
            stream, is_last, ..
        } => {
            let line = [head.method(), b" ", head.target()].concat();
            let line = String::from_utf8(line).unwrap();
            format!("request {stream} {line} {is_last}")
        }
        Event::Refused {
            stream, refusal, ..
        } => format!("refused {stream} {}", refusal.name()),
        Event::Malformed { stream, refusal } => format!("malformed {stream} {}", refusal.name()),
        Event::Data {
            stream,
            bytes,
            flow,
            is_last,
        } => format!("data {stream} {} {flow} {is_last}", bytes.len()),
        Event::Trailers { stream } => format!("trailers {stream}"),
        Event::Reset { stream, code } => format!("reset {stream} {}", code.0),
        Event::WindowGrew { stream } => match stream {
            Some(stream) => format!("window {stream}"),
            None => "window".to_owned(),
        },
        Event::Priority { stream, priority } => format!(
            "priority {stream} {} {}",
            priority.urgency, priority.incremental
        ),
        Event::PeerGoesAway { code } => format!("goes away {}", code.0),
        Event::PingAck { payload } => format!("ping ack {payload:x}"),
        Event::NeedInput => unreachable!(),
    }
}

/// Sends bytes on a new connection, whole and byte by byte.
pub fn check(name: &str, input: &[u8], expected: &str) {
    for length in [input.len(), 1, 7] {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        let outcome = client.outcome_in_parts(input, length);
        assert_eq!(
            outcome.trim(),
            expected.trim(),
            "{name}, in parts of {length}"
        );
    }
}
