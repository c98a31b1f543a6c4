//! HTTP/2 over a transport that does to its caller what a TLS session does: agreed on by ALPN, read in short pieces, and
//! written in short records.
#![cfg(test)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use lockgate_http::BodyLength;
use lockgate_http::http2::PREFACE;
use lockgate_http::http2::hpack::encode_field;

use super::tls::{Scrambled, scramble, shake_hands};
use super::{adopt, start};
use crate::exchange::writer::ClientGone;
use crate::worker::Handle;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client whose initial window for each body is this small.
const WINDOW: u32 = 100;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "a"),
    ];
    for (name, value) in fields {
        encode_field(name.as_bytes(), value.as_bytes(), &mut block);
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// A connection on which ALPN has agreed on HTTP/2.
pub(super) fn connect(handle: &Handle) -> UnixStream {
    let (transport, mut client) = Scrambled::pair_with_handshake();
    adopt(handle, transport);
    shake_hands(&mut client, "h2");
    let [a, b, c, d] = WINDOW.to_be_bytes();
    let settings = frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d]);
    client
        .write_all(&scramble(&[PREFACE.as_slice(), &settings].concat()))
        .unwrap();
    client
}

/// The kind, the flags, the stream and the payload of the next frame.
pub(super) fn receive(client: &mut UnixStream) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    client.read_exact(&mut head).unwrap();
    let head = scramble(&head);
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    client.read_exact(&mut payload).unwrap();
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    (head[3], head[4], stream, scramble(&payload))
}

#[test]
fn streams_run_at_once_and_wait_for_their_windows() {
    const STREAMS: [u32; 3] = [1, 3, 5];
    const LENGTH: usize = 1000;
    // No call passes before all have begun: only concurrent calls can finish.
    let together = Arc::new(Barrier::new(STREAMS.len()));
    let handle = start(STREAMS.len(), move |request, reply| {
        together.wait();
        assert_eq!(request.scheme(), "https");
        let path = request.head.path().repeat(LENGTH / 2);
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Unknown);
        reply.send_copy(&path).unwrap();
        reply.finish().unwrap();
    });
    let mut client = connect(&handle);
    for stream in STREAMS {
        let request = get(stream, &format!("/{stream}"));
        client.write_all(&scramble(&request)).unwrap();
    }
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut ended = 0;
    while ended < STREAMS.len() {
        let (kind, flags, stream, payload) = receive(&mut client);
        if kind == DATA {
            // A second window's worth is sent only when it is granted.
            let body = bodies.entry(stream).or_default();
            assert!(payload.len() <= WINDOW as usize);
            body.extend_from_slice(&payload);
            let count = u32::try_from(payload.len()).unwrap().to_be_bytes();
            if !payload.is_empty() && flags & END_STREAM == 0 {
                let grant = frame(WINDOW_UPDATE, 0, stream, &count);
                client.write_all(&scramble(&grant)).unwrap();
            }
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            ended += 1;
        }
    }
    for stream in STREAMS {
        let expected = format!("/{stream}").repeat(LENGTH / 2);
        assert_eq!(bodies[&stream], expected.as_bytes(), "stream {stream}");
    }
    handle.stop();
}

#[test]
fn a_connection_that_dies_ends_its_streams() {
    let (report, reported) = std::sync::mpsc::channel();
    let handle = start(2, move |_, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Unknown);
        // More than may be queued.
        let outcome = loop {
            if let Err(gone) = reply.send_copy(&[b'x'; 10_000]).and_then(|_| reply.flush()) {
                break gone;
            }
        };
        report.send(outcome).unwrap();
    });
    let mut client = connect(&handle);
    client.write_all(&scramble(&get(1, "/"))).unwrap();
    while receive(&mut client).0 != DATA {}
    drop(client);
    let outcome = reported.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(outcome, ClientGone);
    handle.stop();
}
