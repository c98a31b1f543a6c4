//! Any bytes as what a client sends after its preface: the same events wherever they are cut, each of which fits the
//! state of its stream; no more is sent than the windows allow; what is answered is bounded by what was received. The
//! first byte is the length of the parts.
#![no_main]

use std::collections::BTreeMap;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::SMALL;
use lockgate_http::http2::{
    Connection, ErrorCode, Event, GoAway, Http2Settings, PREFACE, Scratch, StreamId,
};
use lockgate_http::{BodyLength, Limits, RequestHead, ResponseContext, ResponseHead, Version};

const SETTINGS: Http2Settings = Http2Settings {
    max_concurrent_streams: 4,
    stream_window: 65_535,
    connection_window: 65_535,
};
const LIMITS: Limits = Limits {
    head: 400,
    field_size: 100,
    ..SMALL
};
const PING: u64 = 0x6162_6364_6566_6768;
const CONTEXT: ResponseContext<'_> = ResponseContext {
    version: Version::Http2,
    is_head: false,
    keep_alive: true,
    omits_connection: false,
    date: b"Sun, 22 Nov 2026 14:32:23 GMT",
    server: None,
    hsts: None,
    request_id: None,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((&part, input)) = bytes.split_first() else {
        return;
    };
    let start = Instant::now();
    let whole = Server::play(input, input.len().max(1), start);
    let in_parts = Server::play(input, usize::from(part) + 1, start);
    assert_eq!(whole.events, in_parts.events);
    assert_eq!(whole.sent, in_parts.sent);
    assert_eq!(whole.control, in_parts.control);
    let windows = 65_535 + increments(input);
    assert!(whole.data <= windows, "{} of {windows}", whole.data);
    // A frame has at least nine bytes; the longest answer is a reset stream and two windows.
    let most = 200 + 5 * input.len();
    assert!(
        whole.control.len() <= most,
        "{} of {most}",
        whole.control.len()
    );
});

/// The window of the connection, as far as the client has announced it.
fn increments(input: &[u8]) -> u64 {
    let mut rest = input;
    let mut sum = 0;
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if let ([_, _, 4, 8, _, s0, s1, s2, s3], Some(&[i0, i1, i2, i3])) =
            (*head, after.first_chunk::<4>())
            && u32::from_be_bytes([s0, s1, s2, s3]) << 1 == 0
        {
            sum += u64::from(u32::from_be_bytes([i0, i1, i2, i3]) & 0x7fff_ffff);
        }
        rest = after.get(length..).unwrap_or_default();
    }
    sum
}

/// A stream as its events describe it.
#[derive(Default)]
struct Stream {
    has_ended: bool,
    is_refused: bool,
    /// What is left of its response, once that has begun.
    response: Option<usize>,
}

struct Server {
    connection: Connection,
    control: Vec<u8>,
    /// The frames of responses, without their data.
    sent: Vec<u8>,
    data: u64,
    events: Vec<String>,
    streams: BTreeMap<StreamId, Stream>,
    last: u32,
    /// What flow control counts and was not given back.
    held: u32,
}

impl Server {
    fn play(input: &[u8], part: usize, start: Instant) -> Self {
        let mut control = Vec::new();
        let connection = Connection::new(SETTINGS, LIMITS, false, start, &mut control);
        let mut server = Self {
            connection,
            control,
            sent: Vec::new(),
            data: 0,
            events: Vec::new(),
            streams: BTreeMap::new(),
            last: 0,
            held: 0,
        };
        let mut head = RequestHead::default();
        let mut scratch = Scratch::default();
        let preface = [&PREFACE[..], b"\0\0\0\x04\0\0\0\0\0"].concat();
        let mut waiting = Vec::new();
        for part in std::iter::once(&preface[..]).chain(input.chunks(part)) {
            waiting.extend_from_slice(part);
            let mut used = 0;
            loop {
                let answer = server.connection.receive(
                    &waiting[used..],
                    &mut head,
                    &mut scratch,
                    &mut server.control,
                );
                let (taken, event) = match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        server.events.push(error.name().to_owned());
                        let length = server.control.len();
                        let again = server.connection.receive(
                            &[],
                            &mut head,
                            &mut scratch,
                            &mut server.control,
                        );
                        assert_eq!(again, Err(error));
                        assert_eq!(server.control.len(), length);
                        return server;
                    }
                };
                used += taken;
                if event == Event::NeedInput {
                    break;
                }
                assert!(taken > 0);
                server.events.push(format!("{event:?}"));
                if let Event::Request { .. } = event {
                    server.events.push(format!("{:?}", head.head_bytes()));
                    assert!(head.head_bytes().len() <= LIMITS.head);
                }
                server.take(event);
                server.send();
                let most = SETTINGS.max_concurrent_streams as usize;
                assert!(server.connection.open_streams() <= most);
                assert!(server.held <= SETTINGS.connection_window);
            }
            waiting.drain(..used);
            assert!(waiting.len() < 16_384 + 9);
        }
        server
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Request {
                stream, is_last, ..
            } => {
                self.open(stream, is_last, false);
                self.answer(stream);
            }
            Event::Refused {
                stream,
                refusal,
                is_last,
            } => {
                assert!((400..600).contains(&refusal.status()));
                match self.streams.get_mut(&stream) {
                    Some(known) => {
                        assert!(!known.has_ended && !known.is_refused);
                        known.is_refused = true;
                        known.has_ended = is_last;
                    }
                    None => self.open(stream, is_last, true),
                }
                self.answer(stream);
            }
            Event::Data {
                stream,
                bytes,
                flow,
                is_last,
            } => {
                let known = self.streams.get_mut(&stream).expect("DATA of no request");
                assert!(!known.has_ended && !known.is_refused);
                assert!(is_last || !bytes.is_empty());
                assert!(bytes.len() <= flow as usize);
                known.has_ended = is_last;
                match stream.get() % 5 {
                    0 => self.held += flow,
                    _ => self
                        .connection
                        .release_capacity(stream, flow, &mut self.sent),
                }
            }
            Event::Trailers { stream } => {
                let known = self
                    .streams
                    .get_mut(&stream)
                    .expect("trailers of no request");
                assert!(!known.has_ended && !known.is_refused);
                known.has_ended = true;
            }
            Event::Malformed { stream, .. } | Event::Reset { stream, .. } => {
                assert!(!self.connection.is_open(stream));
                let known = self.streams.remove(&stream);
                assert!(known.is_some() || matches!(event, Event::Malformed { .. }));
                self.connection.abandoned_request_ended();
            }
            Event::WindowGrew { stream } => {
                assert!(stream.is_none_or(|stream| self.connection.is_open(stream)));
            }
            Event::Priority { stream, priority } => {
                assert_eq!(self.connection.priority(stream), Some(priority));
            }
            Event::PeerGoesAway { .. } => {
                self.connection
                    .go_away(GoAway::Final, ErrorCode::NO_ERROR, &mut self.sent);
                self.connection.ping(PING, &mut self.sent);
            }
            Event::PingAck { payload } => assert_eq!(payload, PING),
            Event::NeedInput => {}
        }
    }

    fn open(&mut self, stream: StreamId, has_ended: bool, is_refused: bool) {
        assert!(stream.get() > self.last && stream.get() % 2 == 1);
        self.last = stream.get();
        let opened = Stream {
            has_ended,
            is_refused,
            response: None,
        };
        assert!(self.streams.insert(stream, opened).is_none());
        assert!(self.connection.is_open(stream));
    }

    /// Begins a response, whose length depends on the stream.
    fn answer(&mut self, stream: StreamId) {
        let length = match stream.get() / 2 % 3 {
            0 => 0,
            number => number as usize * 40_000,
        };
        let mut head = ResponseHead::default();
        let _ = head.set_status(200, b"");
        let length = BodyLength::Known(length as u64);
        let body = self
            .connection
            .send_head(stream, &head, length, &CONTEXT, &mut self.sent);
        if let (Some(_), BodyLength::Known(length)) = (body, length)
            && let Some(known) = self.streams.get_mut(&stream)
        {
            known.response = (length > 0).then_some(length as usize);
        }
        self.end(stream);
    }

    /// Ends a stream that the client has not ended, once its response is complete.
    fn end(&mut self, stream: StreamId) {
        let is_over = self
            .streams
            .get(&stream)
            .is_some_and(|known| known.response.is_none());
        if is_over && stream.get() % 7 != 0 {
            let is_open = self.connection.is_open(stream);
            assert_eq!(is_open, !self.streams[&stream].has_ended);
            self.connection
                .reset(stream, ErrorCode::NO_ERROR, &mut self.sent);
            self.streams.remove(&stream);
        }
    }

    /// Sends what the windows allow.
    fn send(&mut self) {
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in streams {
            while let Some(left) = self.streams.get(&stream).and_then(|known| known.response) {
                let take = left.min(self.connection.send_capacity(stream));
                if take == 0 {
                    break;
                }
                let is_last = take == left;
                let connection = &mut self.connection;
                assert!(connection.send_data_head(stream, take, is_last, &mut self.sent));
                self.data += take as u64;
                if let Some(known) = self.streams.get_mut(&stream) {
                    known.response = (!is_last).then_some(left - take);
                }
                self.end(stream);
            }
        }
    }
}
