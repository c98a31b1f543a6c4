//! Test doubles of planned features, to prove that the interfaces admit them: a transport that is not a plain socket,
//! and a connection that has several requests with the application at once.
#![cfg(test)]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use lockgate_config::{AppSpec, Config, LogLevel, LogTarget, Threads};
use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use crate::app::App;
use crate::connection::inbox::{Returned, StopMode};
use crate::descriptors::TrackedFd;
use crate::event_loop::EventLoop;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::request::{Body, Request};
use crate::exchange::response::Reply;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, Look, Presence, ResponseWriter, Sent,
};
use crate::log::ErrorLog;
use crate::transport::outbox::SharedBytes;
use crate::transport::{AbortHandle, Received, Transport};
use crate::worker::{Handle, Worker};

/// A client that only stays or leaves.
pub struct Client(pub Presence);

impl ResponseWriter for Client {
    fn start(&mut self, _: &ResponseHead, _: BodyLength) {}
    fn allows_body(&self) -> bool {
        true
    }
    fn send_copy(&mut self, _: &[u8]) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_shared(&mut self, _: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_file(&mut self, _: File, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }
    fn is_committed(&self) -> bool {
        false
    }
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        Ok(())
    }
    fn abort(self: Box<Self>) {}
    fn answer(self: Box<Self>, _: &Answer, _: Instant) {}
    fn drop_request(self: Box<Self>, _: DropReason, _: Instant) {}
    fn discard_response(&mut self) {}
    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Client {
    fn presence(&mut self, _: Look) -> Presence {
        self.0
    }
}

impl ExchangeControl for Client {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

/// Runs `visit` on the event loop, in the leader.
fn with_event_loop(handle: &Handle, visit: impl FnOnce(&mut EventLoop) + Send + 'static) {
    let inbox = &handle.thread.context.inbox;
    inbox.push(Returned::Visit(Box::new(visit)), true);
}

/// Serves a connection over this transport.
fn adopt(handle: &Handle, transport: Box<dyn Transport>) {
    let protocols = handle.thread.protocols.clone();
    with_event_loop(handle, move |event_loop| {
        event_loop.adopt(&protocols, transport)
    });
}

struct Function<F>(F);

impl<F: Fn(&mut Request, &mut Reply) + Send + Sync + 'static> App for Function<F> {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        (self.0)(request, reply);
    }
}

fn start(threads: usize, app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static) -> Handle {
    start_with(|_| {}, threads, app)
}

fn start_with(
    adjust: impl FnOnce(&mut Config),
    threads: usize,
    app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
) -> Handle {
    let mut config = Config::with_defaults(AppSpec::Module {
        module: "test".into(),
        attribute: None,
    });
    config.threads = Threads::Count(threads.try_into().unwrap());
    adjust(&mut config);
    let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
    Worker::start(Arc::new(config), Vec::new(), Arc::new(Function(app)), log).unwrap()
}

/// Inverts every byte, refuses to let the kernel send files, reads all that the socket has and returns it in short
/// pieces, and holds what the socket does not take: everything that a TLS session does to its caller.
struct Scrambled {
    session: Arc<Mutex<Session>>,
    /// A duplicate for the same socket.
    descriptor: UnixStream,
}

struct Session {
    socket: UnixStream,
    /// Read from the socket and not yet returned.
    incoming: VecDeque<u8>,
    is_ended: bool,
    /// Accepted and not yet taken by the socket.
    outgoing: Vec<u8>,
}

/// A TLS record has up to 16 KiB; shorter ones test more of the interface.
const RECORD: usize = 777;

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
}

impl Scrambled {
    /// A connection of the worker; returns the client's end of it.
    fn connect(handle: &Handle) -> UnixStream {
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let transport = Box::new(Self {
            descriptor: ours.try_clone().unwrap(),
            session: Arc::new(Mutex::new(Session {
                socket: ours,
                incoming: VecDeque::new(),
                is_ended: false,
                outgoing: Vec::new(),
            })),
        });
        adopt(handle, transport);
        client
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap()
    }
}

impl Transport for Scrambled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut session = self.session();
        session.fill()?;
        if session.incoming.is_empty() && !session.is_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(RECORD).min(session.incoming.len());
        for (place, byte) in buffer.iter_mut().zip(session.incoming.drain(..count)) {
            *place = byte;
        }
        // The edge of what was read ahead is used up: no event will announce what is left here.
        let is_drained = session.incoming.is_empty() && !session.is_ended;
        Ok(Received { count, is_drained })
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
        let session: Weak<Mutex<Session>> = Arc::downgrade(&self.session);
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
        self.descriptor.as_fd()
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

impl AbortHandle for Mutex<Session> {
    fn answer(&self, response: &[u8]) -> bool {
        let mut session = self.lock().unwrap();
        session.accept(response.iter().copied());
        session.push().is_ok() && session.socket.shutdown(std::net::Shutdown::Write).is_ok()
    }

    fn abort(&self) {
        let session = self.lock().unwrap();
        // The socket is meant to be dead.
        let _ = session.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn scramble(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

/// What the client receives until the connection ends, decoded.
fn read_to_end(client: &mut UnixStream) -> String {
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    String::from_utf8(scramble(&received)).unwrap()
}

#[test]
fn a_panic_in_the_event_loop_ends_the_worker_and_not_only_its_thread() {
    for threads in [1, 2, 8] {
        let handle = start(threads, |_, _| {});
        with_event_loop(&handle, move |_| {
            panic!("provoked by a test, with {threads} threads")
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        while !handle.is_finished() {
            assert!(Instant::now() < deadline, "{threads} threads");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(handle.has_failed(), "{threads} threads");
        assert_eq!(handle.thread.context.inbox.stop_mode(), StopMode::Stop);
    }
}

#[test]
fn a_fault_never_softens_a_stop() {
    let handle = start(1, |_, _| {});
    handle.thread.context.inbox.ask_to_stop(StopMode::Stop);
    handle.thread.context.report_fatal("provoked by a test");
    assert_eq!(handle.thread.context.inbox.stop_mode(), StopMode::Stop);
}

#[test]
fn a_transport_may_transform_hold_and_refuse_to_send_files() {
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
        reply.send_file(file, 0, LENGTH as u64).unwrap();
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
fn a_transport_may_hand_out_less_than_the_socket_had() {
    for threads in [1, 2] {
        for (length, follows) in [(5_000, 0), (5_000, 3), (200_000, 2), (0, 40)] {
            let handle = start(threads, |request, reply| {
                let body = match &request.body {
                    Body::Empty => Vec::new(),
                    Body::Memory(bytes) => bytes.to_vec(),
                    Body::Spooled { .. } => panic!("spooled below body_memory"),
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

/// Reads one request and accepts any amount of output at once, as the fastest client would.
struct Bottomless {
    socket: UnixStream,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Bottomless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let count = self.socket.read(buffer)?;
        let is_drained = count < buffer.len();
        Ok(Received { count, is_drained })
    }
    fn abort_handle(&self) -> Weak<dyn AbortHandle> {
        Weak::<TrackedFd>::new()
    }
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let piece = &pieces[0][..pieces[0].len().min(1 << 20)];
        self.taken.lock().unwrap().extend_from_slice(piece);
        Ok(piece.len())
    }
    fn send_file(&mut self, _: &File, _: u64, _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }
    fn reset_on_close(&mut self) {}
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[test]
fn a_large_response_outlives_the_deadline_of_its_head() {
    const LENGTH: usize = 32 << 20;
    let head_timeout = Duration::from_millis(20);
    let answer = move |_: &mut Request, reply: &mut Reply| {
        let asked = Instant::now();
        while asked.elapsed() < head_timeout * 2 {
            std::thread::yield_now();
        }
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Known(LENGTH as u64));
        reply.send_copy(&vec![b'x'; LENGTH]).unwrap();
        reply.finish().unwrap();
    };
    for threads in [1, 4] {
        let handle = start_with(|config| config.head_timeout = head_timeout, threads, answer);
        let (ours, mut client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let transport = Box::new(Bottomless {
            socket: ours,
            taken: Arc::clone(&taken),
        });
        adopt(&handle, transport);
        // The worker sends nothing on this socket; its end is the end of the connection.
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
        assert!(taken.lock().unwrap().len() > LENGTH, "{threads} threads");
        handle.stop();
    }
}

/// One connection of a multiplexed protocol: what has been sent, by stream.
#[derive(Default)]
struct Multiplexed {
    bodies: Mutex<BTreeMap<u32, Vec<u8>>>,
    finished: Mutex<Vec<u32>>,
}

struct Stream {
    id: u32,
    connection: Arc<Multiplexed>,
    is_committed: bool,
}

impl ResponseWriter for Stream {
    fn start(&mut self, head: &ResponseHead, _: BodyLength) {
        assert_eq!(head.status(), 200);
    }
    fn allows_body(&self) -> bool {
        true
    }
    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.connection
            .bodies
            .lock()
            .unwrap()
            .entry(self.id)
            .or_default()
            .extend_from_slice(bytes);
        Ok(Sent::default())
    }
    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.send_copy(bytes.bytes())
    }
    fn send_file(&mut self, _: File, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Err(ClientGone)
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        self.is_committed = true;
        Ok(())
    }
    fn is_committed(&self) -> bool {
        self.is_committed
    }
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        self.connection.finished.lock().unwrap().push(self.id);
        Ok(())
    }
    fn abort(self: Box<Self>) {}
    fn discard_response(&mut self) {}
    fn answer(self: Box<Self>, _: &Answer, _: Instant) {}
    fn drop_request(self: Box<Self>, _: DropReason, _: Instant) {}
    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Stream {
    fn presence(&mut self, _: Look) -> Presence {
        Presence::There
    }
}

impl ExchangeControl for Stream {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

#[test]
fn a_connection_may_have_several_requests_with_the_application_at_once() {
    const STREAMS: u32 = 3;
    // No call passes before all have begun: only concurrent calls can finish.
    let together = Arc::new(Barrier::new(STREAMS as usize));
    let at_barrier = Arc::clone(&together);
    let handle = start(STREAMS as usize, move |_, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Unknown);
        reply.send_copy(b"one ").unwrap();
        at_barrier.wait();
        reply.send_copy(b"two").unwrap();
        reply.finish().unwrap();
    });
    let connection = Arc::new(Multiplexed::default());
    let shared_by_streams = Arc::clone(&connection);
    with_event_loop(&handle, move |event_loop| {
        for id in 0..STREAMS {
            let writer = Box::new(Stream {
                id,
                connection: Arc::clone(&shared_by_streams),
                is_committed: false,
            });
            let request = Box::default();
            event_loop.dispatch(Exchange::new(request, writer, Instant::now(), 0));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while connection.finished.lock().unwrap().len() < STREAMS as usize {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    for body in connection.bodies.lock().unwrap().values() {
        assert_eq!(body, b"one two");
    }
    handle.stop();
}
