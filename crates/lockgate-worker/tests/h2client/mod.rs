//! An HTTP/2 client of frames: what it sends is exactly what a test says.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use lockgate_http::http2::PREFACE;
use lockgate_http::http2::hpack::{Decoder, encode_field};

use crate::client::Server;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame as received.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The first four bytes of the payload.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// A response as received.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub is_ended: bool,
    pub reset: Option<u32>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }
}

pub struct Client {
    pub socket: TcpStream,
    decoder: Decoder,
    pub responses: BTreeMap<u32, Response>,
    /// The last streams of the GOAWAY frames.
    pub going: Vec<u32>,
    /// Windows that the server has opened, by stream.
    pub windows: BTreeMap<u32, u32>,
    /// The order in which DATA has come.
    pub order: Vec<u32>,
}

impl Client {
    /// A connection with this initial window for the bodies of responses.
    pub fn connect(server: &Server, window: u32) -> Self {
        let mut socket = server.connect();
        socket.set_nodelay(true).unwrap();
        let mut hello = PREFACE.to_vec();
        let mut settings = vec![0, 4];
        settings.extend_from_slice(&window.to_be_bytes());
        hello.extend(frame(SETTINGS, 0, 0, &settings));
        socket.write_all(&hello).unwrap();
        Self {
            socket,
            decoder: Decoder::new(4096),
            responses: BTreeMap::new(),
            going: Vec::new(),
            windows: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.socket
            .write_all(&frame(kind, flags, stream, payload))
            .unwrap();
    }

    pub fn get(&mut self, stream: u32, path: &str) {
        self.request(stream, "GET", path, &[], true);
    }

    pub fn request(
        &mut self,
        stream: u32,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        is_last: bool,
    ) {
        let mut block = Vec::new();
        let own = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "a"),
        ];
        for (name, value) in own.iter().chain(fields) {
            encode_field(name.as_bytes(), value.as_bytes(), &mut block);
        }
        let flags = END_HEADERS | if is_last { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block);
    }

    /// Allows the server more DATA; stream 0 is the connection.
    pub fn grant(&mut self, stream: u32, count: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &count.to_be_bytes());
    }

    /// The next frame; `None` when the server has closed.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        match self.socket.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}; {:?}", self.responses),
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.socket.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        };
        self.take(&frame);
        Some(frame)
    }

    fn take(&mut self, frame: &Frame) {
        let Frame {
            kind,
            flags,
            stream,
            payload,
        } = frame;
        match *kind {
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, payload),
            GOAWAY => self.going.push(frame.number()),
            WINDOW_UPDATE => *self.windows.entry(*stream).or_default() += frame.number(),
            HEADERS => {
                let response = self.responses.entry(*stream).or_default();
                let mut scratch = Vec::new();
                let headers = &mut response.headers;
                (self.decoder)
                    .decode(payload, 65_536, &mut scratch, |name, value| {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        headers.push((text(name), text(value)));
                    })
                    .unwrap();
                response.status = response.header(":status").unwrap().to_owned();
            }
            DATA => {
                let response = self.responses.entry(*stream).or_default();
                response.body.extend_from_slice(payload);
                self.order.push(*stream);
            }
            RST_STREAM => {
                self.responses.entry(*stream).or_default().reset = Some(frame.number());
            }
            _ => {}
        }
        if matches!(*kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.responses.entry(*stream).or_default().is_ended = true;
        }
    }

    /// Waits until the server has taken everything that was sent.
    pub fn synchronize(&mut self) {
        self.send(PING, 0, 0, b"everyone");
        while self.next().unwrap().kind != PING {}
    }

    /// Receives until this stream has ended, in whatever way.
    pub fn finish(&mut self, stream: u32) -> Response {
        while !self.is_over(stream) {
            assert!(self.next().is_some(), "closed: {:?}", self.responses);
        }
        self.responses[&stream].clone()
    }

    pub fn is_over(&self, stream: u32) -> bool {
        (self.responses.get(&stream)).is_some_and(|one| one.is_ended || one.reset.is_some())
    }

    /// Receives until the server has closed.
    pub fn drain(&mut self) {
        while self.next().is_some() {}
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
