//! Everything that clients do at once, beside the end of the worker, over one event loop and several: the load under
//! which ThreadSanitizer looks for data races (`make race`).
//!
//! The application and the clients have nothing in common but a few counts, so that they put none of the server's
//! threads in an order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "this file uses a part of the client")]
mod client;
#[allow(dead_code, reason = "this file uses a part of the client")]
mod h2client;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use client::loops::until;
use client::{Server, get, read_response};
use lockgate_config::{Config, LogTarget};
use lockgate_http::BodyLength;
use lockgate_worker::{Body, Reply, Request, SharedBytes};
use rustix::net::sockopt::set_socket_linger;

/// Event loops, and threads of each.
const SHAPES: [(usize, usize); 5] = [(1, 1), (1, 4), (2, 1), (2, 4), (3, 2)];

/// More than is held in memory, and more than the buffers of a socket.
const LONG: usize = 3 << 20;

struct Owned(Vec<u8>);

impl SharedBytes for Owned {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the body, and answers with its length or with as many bytes as the path says.
fn serve(request: &mut Request, reply: &mut Reply) {
    let received = length_of(request.take_body());
    let path = String::from_utf8(request.head.path().to_vec()).unwrap();
    match path.as_str() {
        "/long" => {
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Known(LONG as u64));
            let _client_may_be_gone = reply.send_shared(Box::new(Owned(vec![b'x'; LONG])));
            let _client_may_be_gone = reply.finish();
        }
        "/pieces" => {
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Unknown);
            for _ in 0..20 {
                if reply.send_copy(&[b'y'; 3000]).is_err() {
                    return;
                }
                thread::yield_now();
            }
            let _client_may_be_gone = reply.finish();
        }
        "/wait" => {
            thread::sleep(Duration::from_millis(3));
            answer_to_any(reply, b"waited");
        }
        _ => answer_to_any(reply, format!("{path} {received}").as_bytes()),
    }
}

/// The client may be gone.
fn answer_to_any(reply: &mut Reply, body: &[u8]) {
    reply.head().set_status(200, b"OK").unwrap();
    reply.start(BodyLength::Known(body.len() as u64));
    if reply.send_copy(body).is_ok() {
        let _client_may_be_gone = reply.finish();
    }
}

fn length_of(body: Body) -> usize {
    match body {
        Body::Empty => 0,
        Body::Memory(bytes) => bytes.len(),
        Body::Spooled { mut file, .. } => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut *file, &mut bytes).unwrap();
            bytes.len()
        }
        Body::Stream(stream) => {
            let (mut part, mut length) = (vec![0; 20_000], 0);
            while let Ok(count) = stream.read(&mut part) {
                length += count;
                if count == 0 {
                    break;
                }
            }
            length
        }
    }
}

fn settings(event_loops: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.event_loops = event_loops;
        config.access_log = Some(LogTarget::File("/dev/null".into()));
        config.stream_request_body = vec!["/stream".into()];
        config.body_memory = 100_000;
        config.identity.request_id = true;
        config.request_timeout = Some(Duration::from_secs(60));
        config.compress.is_enabled = true;
    }
}

/// Requests one after another on a connection.
fn keep_alive(server: &Server) {
    let mut stream = server.connect();
    for number in 0..20 {
        let path = format!("/{number}");
        assert_eq!(get(&mut stream, &path).text(), format!("{path} 0"));
    }
    assert_eq!(get(&mut stream, "/pieces").body.len(), 60_000);
    assert_eq!(get(&mut stream, "/wait").text(), "waited");
}

/// Requests without waiting for responses.
fn pipelined(server: &Server) {
    let mut stream = server.connect();
    let mut all = Vec::new();
    for number in 0..30 {
        write!(all, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    stream.write_all(&all).unwrap();
    for number in 0..30 {
        assert_eq!(read_response(&mut stream).text(), format!("/{number} 0"));
    }
}

/// Clients that go in the middle of a head, of a body, before a response and within one.
fn aborted(server: &Server) {
    let requests = [
        "GET / HTT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf",
        "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf",
        "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /long HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (number, request) in requests.iter().enumerate() {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        if number > 3 {
            stream.read_exact(&mut [0; 100]).unwrap();
        }
        match number % 3 {
            0 => stream.shutdown(Shutdown::Both).unwrap(),
            // The close is a reset.
            1 => set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
            _ => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }
}

/// Bodies in memory, on disk and streamed; responses that the client reads slowly.
fn long_bodies(server: &Server) {
    let mut stream = server.connect();
    for (path, length) in [("/short", 5000), ("/disk", 300_000), ("/stream", 500_000)] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'b'; length]).unwrap();
        assert_eq!(
            read_response(&mut stream).text(),
            format!("{path} {length}")
        );
    }
    assert_eq!(get(&mut stream, "/long").body.len(), LONG);
}

/// Streams of one connection, whose windows are smaller than the responses.
fn multiplexed(server: &Server) {
    let mut client = h2client::Client::connect(server, 1 << 14);
    client.grant(0, 1 << 20);
    for stream in (1..20).step_by(2) {
        client.get(stream, "/pieces");
    }
    for stream in (1..20).step_by(2) {
        client.grant(stream, 60_000);
        assert_eq!(client.finish(stream).body.len(), 60_000);
    }
    client.get(21, "/wait");
    client.send(h2client::RST_STREAM, 0, 21, &8_u32.to_be_bytes());
}

fn run(server: &Server, rounds: usize) {
    let clients = [keep_alive, pipelined, aborted, long_bodies, multiplexed];
    thread::scope(|scope| {
        for client in clients.iter().chain(&clients) {
            scope.spawn(move || (0..rounds).for_each(|_| client(server)));
        }
    });
}

#[test]
fn all_that_clients_do_at_once_is_answered_and_the_worker_ends() {
    for (event_loops, threads) in SHAPES {
        let server = Server::start_with(threads, settings(event_loops), serve);
        run(&server, 3);
        server.handle.reopen_logs();
        server.handle.drain();
        until("the worker has finished", || server.handle.is_finished());
        assert!(!server.handle.has_failed(), "{event_loops} × {threads}");
    }
}

/// Whether a connection has ended, or is about to, without a response having begun.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
    }
}

/// Asks until the server is gone, and counts the responses, each of which is complete.
fn ask_until_closed(server: &Server, answered: &AtomicUsize) {
    while let Ok(mut stream) = TcpStream::connect(server.address) {
        stream.set_read_timeout(Some(client::PATIENCE)).unwrap();
        loop {
            if stream
                .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
                .is_err()
            {
                break;
            }
            let mut first = [0];
            // What has begun is complete.
            match stream.peek(&mut first) {
                Ok(1) => {}
                _ => break assert!(is_closed(&mut stream)),
            }
            let response = read_response(&mut stream);
            assert_eq!((response.status, response.text()), (200, "waited".into()));
            answered.fetch_add(1, Ordering::Relaxed);
            if response.header("connection").as_deref() == Some("close") {
                break;
            }
        }
    }
}

/// A graceful end under load: each call that has begun is answered in full, and there is no half response.
#[test]
fn a_worker_that_ends_under_load_answers_every_call_that_it_has_begun() {
    for (event_loops, threads) in SHAPES {
        for is_retiring in [false, true] {
            let calls = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&calls);
            let server = Server::start_with(threads, settings(event_loops), move |_, reply| {
                counted.fetch_add(1, Ordering::Relaxed);
                answer_to_any(reply, b"waited");
            });
            let answered = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| ask_until_closed(&server, &answered));
                }
                until("the load", || answered.load(Ordering::Relaxed) > 50);
                match is_retiring {
                    true => server.handle.retire(),
                    false => server.handle.drain(),
                }
            });
            until("the worker has finished", || server.handle.is_finished());
            assert!(!server.handle.has_failed());
            assert_eq!(
                calls.load(Ordering::Relaxed),
                answered.load(Ordering::Relaxed),
                "{event_loops} × {threads}, {is_retiring}"
            );
        }
    }
}

#[test]
fn a_stop_under_load_ends_the_worker_although_a_call_is_stuck() {
    for (event_loops, threads) in SHAPES {
        let (is_stuck, is_over) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (stuck, over) = (Arc::clone(&is_stuck), Arc::clone(&is_over));
        let server = Server::start_with(threads, settings(event_loops), move |request, reply| {
            if request.head.path() == b"/stuck" {
                stuck.store(true, Ordering::SeqCst);
                until("the end", || over.load(Ordering::SeqCst));
            }
            serve(request, reply);
        });
        run(&server, 1);
        let mut stream = server.connect();
        stream
            .write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        until("the call", || is_stuck.load(Ordering::SeqCst));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // Until the listeners are closed: it may be cut at any byte.
                    while let Ok(mut stream) = TcpStream::connect(server.address) {
                        let _may_fail = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                        stream
                            .set_read_timeout(Some(Duration::from_millis(50)))
                            .unwrap();
                        let _may_fail = stream.read(&mut [0; 100]);
                    }
                });
            }
            server.handle.stop();
            until("the worker has finished", || server.handle.is_finished());
        });
        is_over.store(true, Ordering::SeqCst);
    }
}
