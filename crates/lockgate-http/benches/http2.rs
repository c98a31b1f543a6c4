//! Benchmarks of requests and responses over HTTP/2, through the public API.
//!
//! `cargo bench -p lockgate-http --bench http2`. Each figure is the fastest of many rounds, in nanoseconds per request.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::hint::black_box;
use std::time::Instant;

use lockgate_http::http2::hpack::encode_field;
use lockgate_http::http2::{Connection, Event, Http2Settings, PREFACE, Scratch, StreamId};
use lockgate_http::{BodyLength, Limits, RequestHead, ResponseContext, ResponseHead, Version};

/// Requests in flight.
const STREAMS: u32 = 32;

const SMALL: [(&str, &str); 5] = [
    (":path", "/"),
    (":scheme", "http"),
    (":authority", "127.0.0.1:8000"),
    (":method", "GET"),
    ("user-agent", "h2load nghttp2/1.64.0"),
];
const BROWSER: [(&str, &str); 10] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "www.example.com"),
    (":path", "/articles/2026/lock-gates?page=2&order=date"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.com/articles"),
    (
        "cookie",
        "session=0123456789abcdef0123456789abcdef; theme=dark; csrftoken=AbCdEfGhIjKlMnOp",
    ),
];

fn main() {
    for (name, fields) in [("small GET", &SMALL[..]), ("browser GET", &BROWSER)] {
        measure_requests(name, fields);
    }
}

fn measure_requests(name: &str, fields: &[(&str, &str)]) {
    let mut client = Client::new();
    let block = client.index(fields);
    measure(
        &format!(
            "{name}, {} bytes in the block: received and reset",
            block.len()
        ),
        |client| {
            client.receive(&block);
            for stream in client.streams.drain(..) {
                client.connection.reset(
                    stream,
                    lockgate_http::http2::ErrorCode::CANCEL,
                    &mut client.out,
                );
            }
        },
        &mut client,
    );
    let mut client = Client::new();
    let block = client.index(fields);
    let mut response = ResponseHead::default();
    response.set_status(200, b"OK").unwrap();
    response.push(b"Content-Type", b"text/plain").unwrap();
    let context = ResponseContext {
        version: Version::Http2,
        is_head: false,
        keep_alive: true,
        omits_connection: false,
        date: b"Sun, 22 Nov 2026 14:32:23 GMT",
        server: Some(b"lockgate"),
        hsts: None,
        request_id: None,
    };
    measure(
        &format!("{name}: received and answered"),
        |client| {
            client.receive(&block);
            let Client {
                connection,
                out,
                streams,
                ..
            } = client;
            for stream in streams.drain(..) {
                let body = connection
                    .send_head(
                        stream,
                        black_box(&response),
                        BodyLength::Known(13),
                        &context,
                        out,
                    )
                    .unwrap();
                black_box(body);
                assert!(connection.send_capacity(stream) >= 13);
                assert!(connection.send_data_head(stream, 13, true, out));
                out.extend_from_slice(b"hello, world\n");
            }
            // The client announces what it has read.
            let update = frame(8, 0, 0, &(13 * STREAMS).to_be_bytes());
            let mut head = RequestHead::default();
            connection
                .receive(&update, &mut head, &mut client.scratch, &mut client.control)
                .unwrap();
        },
        &mut client,
    );
}

struct Client {
    connection: Connection,
    head: RequestHead,
    scratch: Scratch,
    control: Vec<u8>,
    out: Vec<u8>,
    input: Vec<u8>,
    next: u32,
    streams: Vec<StreamId>,
}

impl Client {
    fn new() -> Self {
        let mut control = Vec::new();
        let mut connection = Connection::new(
            Http2Settings::default(),
            Limits::default(),
            false,
            Instant::now(),
            &mut control,
        );
        let mut head = RequestHead::default();
        let mut scratch = Scratch::default();
        let preface = [&PREFACE[..], &frame(4, 0, 0, b"")].concat();
        connection
            .receive(&preface, &mut head, &mut scratch, &mut control)
            .unwrap();
        Self {
            connection,
            head,
            scratch,
            control,
            out: Vec::new(),
            input: Vec::new(),
            next: 1,
            streams: Vec::new(),
        }
    }

    /// Sends a request whose fields are added to the dynamic table; returns the block of the next one.
    fn index(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        let mut indexed = Vec::new();
        let mut added = 0;
        for (name, value) in fields {
            let start = block.len();
            match (*name, *value) {
                (":method", "GET") => block.push(0x82),
                (":scheme", "http") => block.push(0x86),
                (":path", "/") => block.push(0x84),
                _ => {
                    block.push(0x40);
                    let mut field = Vec::new();
                    encode_field(name.as_bytes(), value.as_bytes(), &mut field);
                    block.push(name.len() as u8);
                    block.extend_from_slice(name.as_bytes());
                    block.push(value.len() as u8);
                    block.extend_from_slice(value.as_bytes());
                    added += 1;
                    indexed.push(None);
                    continue;
                }
            }
            indexed.push(Some(block[start]));
        }
        let input = frame(1, 5, self.next, &block);
        self.next += 2;
        let (_, event) = self
            .connection
            .receive(&input, &mut self.head, &mut self.scratch, &mut self.control)
            .unwrap();
        let Event::Request { stream, .. } = event else {
            panic!("{event:?}")
        };
        self.connection.reset(
            stream,
            lockgate_http::http2::ErrorCode::CANCEL,
            &mut self.out,
        );
        indexed
            .into_iter()
            .map(|known| {
                known.unwrap_or_else(|| {
                    added -= 1;
                    0x80 | (62 + added)
                })
            })
            .collect()
    }

    /// Receives as many requests as are in flight.
    fn receive(&mut self, block: &[u8]) {
        self.out.clear();
        self.control.clear();
        self.input.clear();
        for _ in 0..STREAMS {
            let [_, l0, l1, l2] = (block.len() as u32).to_be_bytes();
            let [s0, s1, s2, s3] = self.next.to_be_bytes();
            self.input
                .extend_from_slice(&[l0, l1, l2, 1, 5, s0, s1, s2, s3]);
            self.input.extend_from_slice(block);
            self.next += 2;
        }
        let mut input = black_box(&self.input[..]);
        loop {
            let (used, event) = self
                .connection
                .receive(input, &mut self.head, &mut self.scratch, &mut self.control)
                .unwrap();
            input = &input[used..];
            match event {
                Event::Request { stream, .. } => self.streams.push(stream),
                Event::NeedInput => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn measure(name: &str, mut call: impl FnMut(&mut Client), client: &mut Client) {
    const CALLS: u32 = 100;
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call(client);
        }
        let requests = f64::from(CALLS * STREAMS);
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / requests);
    }
    println!("{best:8.1} ns  {name}");
}
