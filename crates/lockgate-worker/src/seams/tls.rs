//! A transport that does to its caller what a TLS session does.
#![cfg(test)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use lockgate_http::BodyLength;

use super::{adopt, start, start_with};
use crate::exchange::request::Body;
use crate::transport::{AbortHandle, Handshake, Received, SharedTransport, Transport};
use crate::worker::Handle;

/// Inverts every byte, refuses to let the kernel send files, reads all that the socket has and returns it in short
/// pieces, and holds what the socket does not take. Its handshake reads, writes more than the socket takes, and reads
/// again.
pub(super) struct Scrambled(Arc<SharedSession>);

pub(super) struct SharedSession {
    session: Mutex<Session>,
    /// A duplicate for the same socket.
    descriptor: UnixStream,
}

struct Session {
    socket: UnixStream,
    handshake: Stage,
    /// Read from the socket and not yet returned.
    incoming: VecDeque<u8>,
    is_ended: bool,
    /// Accepted and not yet taken by the socket.
    outgoing: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Waits for `hello PROTOCOL` and a newline.
    Hello,
    /// Sends a long certificate.
    Certificate(Vec<u8>),
    /// Waits for `finished` and a newline.
    Finished(Vec<u8>),
    Done(Option<Vec<u8>>),
}

/// A TLS record has up to 16 KiB; shorter ones test more of the interface.
const RECORD: usize = 777;

/// More than a socket's buffers hold.
const CERTIFICATE: usize = 3 << 20;

impl Session {
    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while !self.is_ended {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.is_ended = true,
                Ok(count) => self
                    .incoming
                    .extend(buffer[..count].iter().map(|byte| !byte)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn push(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let count = self.socket.write(&self.outgoing)?;
            self.outgoing.drain(..count);
        }
        Ok(())
    }

    fn accept(&mut self, bytes: impl Iterator<Item = u8>) {
        self.outgoing.extend(bytes.map(|byte| !byte));
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.fill()?;
        let Some(end) = self.incoming.iter().position(|&byte| byte == b'\n') else {
            return match self.is_ended {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(None),
            };
        };
        let mut line: Vec<u8> = self.incoming.drain(..=end).collect();
        line.pop();
        Ok(Some(line))
    }

    fn handshake(&mut self) -> io::Result<Handshake> {
        loop {
            self.handshake = match &self.handshake {
                Stage::Done(alpn) => {
                    return Ok(Handshake::Done {
                        alpn: alpn.clone(),
                        is_drained: false,
                        is_resumed: false,
                    });
                }
                Stage::Hello => match self.line()? {
                    None => return Ok(Handshake::WantRead),
                    Some(line) => {
                        let protocol = line
                            .strip_prefix(b"hello ")
                            .ok_or(io::ErrorKind::InvalidData)?
                            .to_vec();
                        self.accept(std::iter::repeat_n(b'c', CERTIFICATE));
                        Stage::Certificate(protocol)
                    }
                },
                Stage::Certificate(protocol) => {
                    let protocol = protocol.clone();
                    match self.push() {
                        Ok(()) => Stage::Finished(protocol),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            return Ok(Handshake::WantWrite);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Stage::Finished(protocol) => {
                    let protocol = protocol.clone();
                    match self.line()? {
                        None => return Ok(Handshake::WantRead),
                        Some(_) => Stage::Done(Some(protocol)),
                    }
                }
            };
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.fill()?;
        if self.incoming.is_empty() && !self.is_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(RECORD).min(self.incoming.len());
        for (place, byte) in buffer.iter_mut().zip(self.incoming.drain(..count)) {
            *place = byte;
        }
        // The edge of what was read ahead is used up: no event will announce what is left here.
        let is_drained = self.incoming.is_empty() && !self.is_ended;
        Ok(Received { count, is_drained })
    }
}

impl Scrambled {
    /// A transport without a handshake, and the client's end of it.
    pub(super) fn pair() -> (Box<Self>, UnixStream) {
        Self::pair_at(Stage::Done(None))
    }

    /// A transport that begins with a handshake.
    pub(super) fn pair_with_handshake() -> (Box<Self>, UnixStream) {
        Self::pair_at(Stage::Hello)
    }

    fn pair_at(handshake: Stage) -> (Box<Self>, UnixStream) {
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let transport = Box::new(Self(Arc::new(SharedSession {
            descriptor: ours.try_clone().unwrap(),
            session: Mutex::new(Session {
                socket: ours,
                handshake,
                incoming: VecDeque::new(),
                is_ended: false,
                outgoing: Vec::new(),
            }),
        })));
        (transport, client)
    }

    /// A connection of the worker; returns the client's end of it.
    pub(super) fn connect(handle: &Handle) -> UnixStream {
        let (transport, client) = Self::pair();
        adopt(handle, transport);
        client
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.0.session.lock().unwrap()
    }
}

impl Transport for Scrambled {
    fn begins_with_handshake(&self) -> bool {
        !matches!(self.session().handshake, Stage::Done(_))
    }

    fn handshake(&mut self) -> io::Result<Handshake> {
        self.session().handshake()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.session().read(buffer)
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session();
        if session.push().is_err() && session.outgoing.len() > 1000 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // As for a TLS record, accept a bounded part, whether or not the socket has room.
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
        session.accept(bytes.take(RECORD));
        Ok(length.min(RECORD))
    }

    fn send_file(&mut self, _: &File, _: u64, _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        let session: Weak<SharedSession> = Arc::downgrade(&self.0);
        session
    }

    fn share(&self) -> Weak<dyn SharedTransport> {
        let session: Weak<SharedSession> = Arc::downgrade(&self.0);
        session
    }

    fn has_pending_output(&self) -> bool {
        !self.session().outgoing.is_empty()
    }

    fn push(&mut self) -> io::Result<()> {
        self.session().push()
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.session().socket.shutdown(std::net::Shutdown::Write)
    }

    fn reset_on_close(&mut self) {}

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

impl SharedTransport for SharedSession {
    fn read(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.session.lock().unwrap().read(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut session = self.session.lock().unwrap();
        session.accept(bytes.iter().copied());
        session.push()
    }

    fn end_reads(&self) {
        let session = self.session.lock().unwrap();
        // The socket may be dead.
        let _ = session.socket.shutdown(std::net::Shutdown::Read);
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AbortHandle for SharedSession {
    fn answer(&self, response: &[u8]) -> bool {
        let mut session = self.session.lock().unwrap();
        session.accept(response.iter().copied());
        session.push().is_ok() && session.socket.shutdown(std::net::Shutdown::Write).is_ok()
    }

    fn abort(&self) {
        let session = self.session.lock().unwrap();
        // The socket is meant to be dead.
        let _ = session.socket.shutdown(std::net::Shutdown::Both);
    }
}

pub(super) fn scramble(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

/// What the client receives until the connection ends, decoded.
pub(super) fn read_to_end(client: &mut UnixStream) -> String {
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    String::from_utf8(scramble(&received)).unwrap()
}

#[test]
fn a_transport_may_transform_and_buffer_bytes() {
    const LENGTH: usize = 400_000;
    let handle = start(2, |request, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply
            .head()
            .push(b"X-Scheme", request.scheme().as_bytes())
            .unwrap();
        reply.start(BodyLength::Known(LENGTH as u64 + 4));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'f'; LENGTH]).unwrap();
        reply
            .send_file(
                Arc::new(lockgate_files::SharedFile::new(file)),
                0,
                LENGTH as u64,
            )
            .unwrap();
        reply.send_copy(b"tail").unwrap();
        reply.finish().unwrap();
    });
    let mut client = Scrambled::connect(&handle);
    client
        .write_all(&scramble(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ))
        .unwrap();
    let text = read_to_end(&mut client);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("X-Scheme: https"), "{head}");
    assert!(body.len() == LENGTH + 4 && body.starts_with("ffff") && body.ends_with("ftail"));
    handle.stop();
}

#[test]
fn a_transport_may_return_less_than_the_socket_had() {
    for threads in [1, 2] {
        for (length, follows) in [(5_000, 0), (5_000, 3), (200_000, 2), (0, 40)] {
            let handle = start(threads, |request, reply| {
                let body = match &request.body {
                    Body::Empty => Vec::new(),
                    Body::Memory(bytes) => bytes.to_vec(),
                    Body::Spooled { .. } | Body::Stream(_) => panic!("below body_memory"),
                };
                assert!(body.iter().all(|&byte| byte == b'b'));
                reply.head().set_status(200, b"OK").unwrap();
                let length = body.len().to_string();
                reply.start(BodyLength::Known(length.len() as u64));
                reply.send_copy(length.as_bytes()).unwrap();
                reply.finish().unwrap();
            });
            let mut client = Scrambled::connect(&handle);
            // In one piece, so that one edge announces everything.
            let mut sent =
                format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            sent.push_str(&"b".repeat(length));
            sent.push_str(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(follows));
            sent.push_str("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.write_all(&scramble(sent.as_bytes())).unwrap();
            let text = read_to_end(&mut client);
            let case = format!("{threads} threads, {length} bytes, {follows} more requests");
            assert_eq!(
                text.matches("HTTP/1.1 200 OK\r\n").count(),
                follows + 2,
                "{case}"
            );
            assert!(
                text.contains(&format!("\r\n\r\n{length}HTTP/1.1")),
                "{case}"
            );
            handle.stop();
        }
    }
}

#[test]
fn a_deadline_reaches_the_client_of_any_transport() {
    for (begins, wanted) in [
        (false, "HTTP/1.1 504 Gateway Timeout\r\n"),
        (true, "HTTP/1.1 200 OK\r\n"),
    ] {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Mutex::new(released);
        let handle = start_with(
            |config| config.request_timeout = Some(Duration::from_millis(50)),
            2,
            move |_, reply| {
                if begins {
                    reply.head().set_status(200, b"OK").unwrap();
                    reply.start(BodyLength::Known(10));
                    reply.send_copy(b"begun").unwrap();
                    reply.flush().unwrap();
                }
                // Waits until the client has seen the end of its connection.
                let _ = released
                    .lock()
                    .unwrap()
                    .recv_timeout(Duration::from_secs(20));
            },
        );
        let mut client = Scrambled::connect(&handle);
        client
            .write_all(&scramble(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        let text = read_to_end(&mut client);
        assert!(text.starts_with(wanted), "{text}");
        assert_eq!(text.ends_with("begun"), begins, "{text}");
        release.send(()).unwrap();
        handle.stop();
    }
}

/// The client's side of the handshake.
pub(super) fn shake_hands(client: &mut UnixStream, protocol: &str) {
    for piece in format!("hello {protocol}\n").as_bytes().chunks(3) {
        client.write_all(&scramble(piece)).unwrap();
    }
    let mut certificate = vec![0; CERTIFICATE];
    client.read_exact(&mut certificate).unwrap();
    assert!(certificate.iter().all(|&byte| byte == !b'c'));
    // The first request may come in the same piece as the end of the handshake.
    client.write_all(&scramble(b"finished\n")).unwrap();
}

#[test]
fn a_connection_speaks_http_when_its_handshake_is_done() {
    for threads in [1, 2] {
        let handle = start(threads, |_, reply| super::answer(reply, b"shaken"));
        let (transport, mut client) = Scrambled::pair_with_handshake();
        adopt(&handle, transport);
        shake_hands(&mut client, "http/1.1");
        client
            .write_all(&scramble(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            ))
            .unwrap();
        let text = read_to_end(&mut client);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nshaken"), "{text}");
        handle.stop();
    }
}

#[test]
fn a_handshake_that_fails_or_takes_too_long_ends_the_connection() {
    for (sent, time) in [
        ("plain HTTP\n", Duration::from_secs(20)),
        ("hello http/1.1\n", Duration::from_millis(50)),
    ] {
        let handle = start_with(|config| config.tls.handshake_timeout = time, 2, |_, _| {});
        let (transport, mut client) = Scrambled::pair_with_handshake();
        adopt(&handle, transport);
        client.write_all(&scramble(sent.as_bytes())).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received.iter().all(|&byte| byte == !b'c'), "{sent}");
        handle.stop();
    }
}

#[test]
fn a_streamed_body_comes_through_any_transport() {
    let stream = |config: &mut lockgate_config::Config| {
        config.stream_request_body = vec!["/up".to_owned()];
    };
    let handle = start_with(stream, 2, |request, reply| {
        let Body::Stream(body) = request.take_body() else {
            return super::answer(reply, b"none");
        };
        let mut buffer = vec![0; 10_000];
        let mut total = 0;
        loop {
            match body.read(&mut buffer).unwrap() {
                0 => break,
                count => total += count,
            }
        }
        super::answer(reply, total.to_string().as_bytes());
    });
    let mut client = Scrambled::connect(&handle);
    let mut sent = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".to_vec();
    sent.extend(std::iter::repeat_n(b'b', 100_000));
    sent.extend(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let sender = {
        let mut client = client.try_clone().unwrap();
        std::thread::spawn(move || client.write_all(&scramble(&sent)).unwrap())
    };
    let text = read_to_end(&mut client);
    sender.join().unwrap();
    assert!(text.contains("\r\n\r\n100000HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("\r\n\r\nnone"), "{text}");
    handle.stop();
}
