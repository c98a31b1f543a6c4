//! A protocol with several requests on one connection at a time, as HTTP/2 has them: each stream has a writer of its
//! own, and the event loop keeps the connection and reads on.
//!
//! A frame is a stream, a kind and a length, one byte each, and that many bytes. `R` is a request whose bytes are the
//! path, `W` lets the server send as many more bytes of the stream's body as its length says. The server sends `H` (a
//! head), `D` (data) and `E` (the end).
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, Event, Limits, RequestParser, ResponseHead, ShortBody};

use super::tls::{Scrambled, scramble, shake_hands};
use super::{adopt_with, start};
use crate::connection::inbox::{Inbox, Returned};
use crate::connection::link::{Link, Read as LinkRead};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::event_loop::context::Context;
use crate::event_loop::{Opened, Opener};
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, Presence, PresenceCheck, ResponseWriter,
    Sent,
};
use crate::protocol::handshake::Handshaking;
use crate::transport::outbox::{Flushed, SharedBytes};

/// What the streams and their connection share.
#[derive(Default)]
struct Streams {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Frames that the event loop has not taken yet.
    output: Vec<u8>,
    windows: BTreeMap<u8, usize>,
    is_over: bool,
}

fn frame(stream: u8, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, kind, u8::try_from(bytes.len()).unwrap()];
    frame.extend_from_slice(bytes);
    frame
}

/// The connection, which the event loop owns all the time.
struct Multiplexed {
    link: Link,
    streams: Arc<Streams>,
    inbox: Arc<Inbox>,
    input: Vec<u8>,
}

impl Multiplexed {
    fn take_frames(&mut self, turn: &mut Turn) {
        while let [stream, kind, length, ..] = self.input[..] {
            let end = 3 + if kind == b'R' { usize::from(length) } else { 0 };
            if self.input.len() < end {
                return;
            }
            let bytes: Vec<u8> = self.input.drain(..end).skip(3).collect();
            match kind {
                b'R' => {
                    let writer = Box::new(Stream {
                        id: stream,
                        streams: Arc::clone(&self.streams),
                        inbox: Arc::clone(&self.inbox),
                        token: self.link.slot.token(),
                        is_started: false,
                    });
                    let request = request_for(&bytes);
                    turn.dispatch(Exchange::new(request, writer, turn.arrived_at, 0));
                }
                b'W' => {
                    let mut state = self.streams.state.lock().unwrap();
                    *state.windows.entry(stream).or_default() += usize::from(length);
                    self.streams.changed.notify_all();
                }
                other => panic!("frame of kind {other}"),
            }
        }
    }
}

fn request_for(path: &[u8]) -> Box<Request> {
    let mut request = Box::<Request>::default();
    let text = [b"GET ", path, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    let (_, event) = RequestParser::new(Limits::default())
        .step(&text, &mut request.head)
        .unwrap();
    assert_eq!(event, Event::Head);
    request
}

impl Protocol for Multiplexed {
    fn link(&self) -> &Link {
        &self.link
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
    fn drive(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        loop {
            let output = std::mem::take(&mut self.streams.state.lock().unwrap().output);
            self.link.out.append(&output);
            if self.link.has_output() {
                match self.link.out.flush(&mut *self.link.transport) {
                    Ok(Flushed::All | Flushed::Blocked) => {}
                    Ok(Flushed::Bounded) => return Driven::Again(self),
                    Err(_) => break,
                }
            }
            if !self.link.readable {
                return Driven::Wait(self);
            }
            match self.link.read(&mut turn.buffer) {
                LinkRead::Bytes(count) => {
                    self.input.extend_from_slice(&turn.buffer[..count]);
                    self.take_frames(turn);
                }
                LinkRead::Blocked | LinkRead::Interrupted => {}
                LinkRead::End | LinkRead::Dead => break,
            }
        }
        self.streams.state.lock().unwrap().is_over = true;
        self.streams.changed.notify_all();
        Driven::Closed(self.link.slot.token())
    }
    fn expire(mut self: Box<Self>, turn: &mut Turn) -> Driven {
        self.link.deadline = turn.now + Duration::from_secs(3600);
        Driven::Wait(self)
    }
    fn activity(&self) -> Activity {
        Activity::Receiving
    }
    fn shorten_waiting(&mut self, by: Instant) {
        self.link.deadline = self.link.deadline.min(by);
    }
}

/// The writer of one stream.
struct Stream {
    id: u8,
    streams: Arc<Streams>,
    inbox: Arc<Inbox>,
    token: u64,
    is_started: bool,
}

impl Stream {
    fn push(&self, kind: u8, bytes: &[u8]) {
        let mut state = self.streams.state.lock().unwrap();
        state.output.extend(frame(self.id, kind, bytes));
        drop(state);
        // The event loop drives the connection, wherever it is.
        self.inbox.push(Returned::Released(self.token), true);
    }

    /// Waits until the client allows some bytes.
    fn window(&self, wanted: usize) -> Result<usize, ClientGone> {
        let mut state = self.streams.state.lock().unwrap();
        loop {
            if state.is_over {
                return Err(ClientGone);
            }
            let window = state.windows.entry(self.id).or_default();
            if *window > 0 {
                let granted = wanted.min(*window);
                *window -= granted;
                return Ok(granted);
            }
            let (next, timeout) = self
                .streams
                .changed
                .wait_timeout(state, Duration::from_secs(20))
                .unwrap();
            assert!(
                !timeout.timed_out(),
                "stream {} waits for its window",
                self.id
            );
            state = next;
        }
    }
}

impl ResponseWriter for Stream {
    fn start(&mut self, head: &ResponseHead, _: BodyLength) {
        self.is_started = true;
        self.push(b'H', head.status().to_string().as_bytes());
    }
    fn allows_body(&self) -> bool {
        true
    }
    fn send_copy(&mut self, mut bytes: &[u8]) -> Result<Sent, ClientGone> {
        while !bytes.is_empty() {
            let granted = self.window(bytes.len().min(200))?;
            self.push(b'D', &bytes[..granted]);
            bytes = &bytes[granted..];
        }
        Ok(Sent::default())
    }
    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.send_copy(bytes.bytes())
    }
    fn send_file(&mut self, _: File, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Err(ClientGone)
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }
    fn is_committed(&self) -> bool {
        self.is_started
    }
    fn discard_response(&mut self) {}
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        self.push(b'E', b"");
        Ok(())
    }
    fn abort(self: Box<Self>) {
        self.push(b'A', b"");
    }
    fn answer(self: Box<Self>, answer: &Answer, _: Instant) {
        self.push(b'H', answer.response.status.to_string().as_bytes());
        self.push(b'E', b"");
    }
    fn drop_request(self: Box<Self>, _: DropReason, _: Instant) {
        self.push(b'A', b"");
    }
    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Stream {
    fn presence(&mut self, _: PresenceCheck) -> Presence {
        match self.streams.state.lock().unwrap().is_over {
            true => Presence::Gone,
            false => Presence::Connected,
        }
    }
}

impl ExchangeControl for Stream {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

/// Speaks this protocol where the handshake agrees on it.
struct ByAlpn(Arc<Context>);

impl Opener for ByAlpn {
    fn open(&self, opened: Opened, now: Instant) -> Box<dyn Protocol> {
        let inbox = Arc::clone(&self.0.inbox);
        let deadline = now + Duration::from_secs(20);
        let link = Link::new(
            opened.slot,
            opened.transport,
            opened.client,
            opened.local,
            deadline,
        );
        let speak = move |alpn: Option<&[u8]>, link| -> Box<dyn Protocol> {
            assert_eq!(alpn, Some(&b"mux"[..]));
            Box::new(Multiplexed {
                link,
                streams: Arc::default(),
                inbox: Arc::clone(&inbox),
                input: Vec::new(),
            })
        };
        Box::new(Handshaking::new(link, Arc::clone(&self.0), Box::new(speak)))
    }
}

fn receive_frame(client: &mut UnixStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 3];
    client.read_exact(&mut head).unwrap();
    let head = scramble(&head);
    let mut bytes = vec![0; usize::from(head[2])];
    client.read_exact(&mut bytes).unwrap();
    (head[0], head[1], scramble(&bytes))
}

#[test]
fn a_multiplexed_connection_runs_several_requests_at_once() {
    const STREAMS: u8 = 3;
    const LENGTH: usize = 1000;
    // No call passes before all have begun: only concurrent calls can finish.
    let together = Arc::new(Barrier::new(usize::from(STREAMS)));
    let at_barrier = Arc::clone(&together);
    let handle = start(usize::from(STREAMS), move |request, reply| {
        at_barrier.wait();
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Unknown);
        reply
            .send_copy(&request.head.path().repeat(LENGTH / 2))
            .unwrap();
        reply.finish().unwrap();
    });
    let (transport, mut client) = Scrambled::pair_with_handshake();
    let context = Arc::clone(&handle.thread.context);
    adopt_with(&handle, ByAlpn(context), transport);
    shake_hands(&mut client, "mux");
    for stream in 0..STREAMS {
        let path = [b'/', b'a' + stream];
        client
            .write_all(&scramble(&frame(stream, b'R', &path)))
            .unwrap();
    }
    // All three wait for their windows now: the connection reads these frames although no call has ended.
    let mut bodies: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut ended = 0;
    let mut last_first = (0..STREAMS).rev().cycle();
    while ended < STREAMS {
        let (stream, kind, bytes) = receive_frame(&mut client);
        match kind {
            b'H' => assert_eq!(bytes, b"200"),
            b'D' => bodies.entry(stream).or_default().extend(bytes),
            b'E' => ended += 1,
            other => panic!("frame of kind {other}"),
        }
        let next = last_first.next().unwrap();
        client.write_all(&scramble(&[next, b'W', 150])).unwrap();
    }
    for (stream, body) in bodies {
        assert_eq!(
            body,
            [b'/', b'a' + stream].repeat(LENGTH / 2),
            "stream {stream}"
        );
    }
    handle.stop();
}

#[test]
fn a_connection_that_dies_ends_its_streams() {
    let (report, reported) = std::sync::mpsc::channel();
    let handle = start(2, move |_, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Unknown);
        report.send(reply.send_copy(&[b'x'; 1000])).unwrap();
    });
    let (transport, mut client) = Scrambled::pair_with_handshake();
    let context = Arc::clone(&handle.thread.context);
    adopt_with(&handle, ByAlpn(context), transport);
    shake_hands(&mut client, "mux");
    client.write_all(&scramble(&frame(1, b'R', b"/"))).unwrap();
    assert_eq!(receive_frame(&mut client).1, b'H');
    drop(client);
    let outcome = reported.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(outcome, Err(ClientGone));
    handle.stop();
}
