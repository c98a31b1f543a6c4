//! The whole worker over real sockets, with Rust functions as its application.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod client;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use client::{PATIENCE, Server, answer, answer_with, get, read_response};
use lockgate_http::BodyLength;
use lockgate_worker::{Body, SharedBytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const THREADS: [usize; 3] = [1, 2, 8];

#[test]
fn requests_on_one_connection_are_answered_in_their_order() {
    for threads in THREADS {
        let server = Server::start(threads, |request, reply| {
            let target = String::from_utf8_lossy(request.head.target()).into_owned();
            answer(reply, target.as_bytes());
        });
        let mut stream = server.connect();
        for round in 0..3 {
            let wanted: Vec<String> = (0..20).map(|n| format!("/{round}/{n}")).collect();
            let all: String = wanted
                .iter()
                .map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .collect();
            stream.write_all(all.as_bytes()).unwrap();
            for path in &wanted {
                let response = read_response(&mut stream);
                assert_eq!(
                    (response.status, response.text()),
                    (200, path.clone()),
                    "{threads} threads"
                );
            }
        }
    }
}

#[test]
fn a_call_that_waits_delays_no_other_client() {
    let gate = Arc::new(Barrier::new(2));
    let at_gate = Arc::clone(&gate);
    let server = Server::start(2, move |request, reply| {
        if request.head.path() == b"/wait" {
            at_gate.wait();
        }
        answer(reply, b"done");
    });
    let mut waiting = server.connect();
    waiting
        .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    for _ in 0..50 {
        assert_eq!(get(&mut server.connect(), "/").status, 200);
    }
    gate.wait();
    assert_eq!(read_response(&mut waiting).text(), "done");
}

#[test]
fn as_many_calls_run_at_once_as_there_are_threads() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Barrier::new(3 + 1));
    let (now_running, at_most, at_gate) =
        (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));
    let server = Server::start(3, move |_, reply| {
        let count = now_running.fetch_add(1, Ordering::SeqCst) + 1;
        at_most.fetch_max(count, Ordering::SeqCst);
        at_gate.wait();
        now_running.fetch_sub(1, Ordering::SeqCst);
        answer(reply, b"done");
    });
    let mut streams: Vec<_> = (0..12).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    for _ in 0..4 {
        gate.wait();
    }
    for stream in &mut streams {
        assert_eq!(read_response(stream).text(), "done");
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn a_response_larger_than_the_socket_buffer_delays_no_other_client() {
    struct Large(Vec<u8>);
    impl SharedBytes for Large {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }
    const LENGTH: usize = 20 << 20;
    for threads in THREADS {
        let server = Server::start(threads, |request, reply| {
            if request.head.path() != b"/large" {
                return answer(reply, b"small");
            }
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Known(LENGTH as u64));
            reply
                .send_shared(Box::new(Large(vec![b'x'; LENGTH])))
                .unwrap();
            reply.finish().unwrap();
        });
        let mut slow = server.connect();
        slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut first = [0; 1];
        slow.read_exact(&mut first).unwrap();
        for _ in 0..20 {
            assert_eq!(get(&mut server.connect(), "/").text(), "small");
        }
        let mut rest = vec![first[0]];
        let mut buffer = vec![0; 1 << 16];
        while rest.len() < LENGTH {
            let count = slow.read(&mut buffer).unwrap();
            assert!(count > 0);
            rest.extend_from_slice(&buffer[..count]);
        }
        let body_at = rest
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        while rest.len() < body_at + LENGTH {
            let count = slow.read(&mut buffer).unwrap();
            rest.extend_from_slice(&buffer[..count]);
        }
        assert!(rest[body_at..].iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn a_stream_waits_for_a_slow_reader_and_loses_nothing() {
    const PIECES: usize = 2_000;
    for threads in [2, 8] {
        let server = Server::start(threads, |request, reply| {
            if request.head.path() != b"/stream" {
                return answer(reply, b"small");
            }
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Unknown);
            for n in 0..PIECES {
                reply
                    .send_copy(format!("{n:08}").repeat(512).as_bytes())
                    .unwrap();
                reply.flush().unwrap();
            }
            reply.finish().unwrap();
        });
        let mut slow = server.connect();
        slow.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut first = [0; 1];
        slow.peek(&mut first).unwrap();
        for _ in 0..20 {
            assert_eq!(get(&mut server.connect(), "/").text(), "small");
        }
        let response = read_response(&mut slow);
        assert_eq!(response.body.len(), PIECES * 8 * 512);
        assert!(response.body.starts_with(b"00000000") && response.body.ends_with(b"00001999"));
    }
}

#[test]
fn a_panic_in_a_call_costs_that_request_and_nothing_else() {
    for threads in THREADS {
        let server = Server::start(threads, |request, reply| match request.head.path() {
            b"/panic" => panic!("on purpose"),
            b"/silent" => {}
            b"/late" => {
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Unknown);
                reply.send_copy(b"part").unwrap();
                reply.flush().unwrap();
                panic!("on purpose");
            }
            _ => answer(reply, b"fine"),
        });
        for (path, status) in [("/panic", 500), ("/silent", 500), ("/", 200)] {
            assert_eq!(get(&mut server.connect(), path).status, status, "{path}");
        }
        let mut stream = server.connect();
        stream
            .write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(
            all.ends_with(b"4\r\npart\r\n"),
            "no last chunk: the client must not take it for complete"
        );
        assert_eq!(get(&mut server.connect(), "/").text(), "fine");
    }
}

#[test]
fn responses_that_were_aborted_leave_no_connection_open() {
    for threads in THREADS {
        let adjust = |config: &mut lockgate_config::Config| config.worker_connections = 4;
        let server = Server::start_with(threads, adjust, |request, reply| {
            if request.head.path() == b"/" {
                return answer(reply, b"fine");
            }
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Unknown);
            reply.send_copy(b"part").unwrap();
            reply.flush().unwrap();
            if request.head.path() == b"/panic" {
                panic!("on purpose");
            }
            // Dropped before its end.
        });
        // Many more than may exist at once.
        for number in 0..20 {
            let path = ["/panic", "/dropped"][number % 2];
            let mut stream = server.connect();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert!(all.ends_with(b"4\r\npart\r\n"), "{path} {number}");
        }
        let mut streams: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for stream in &mut streams {
            assert_eq!(get(stream, "/").text(), "fine", "{threads} threads");
        }
    }
}

#[test]
fn a_body_shorter_than_announced_closes_the_connection() {
    let server = Server::start(1, |_, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply.head().push(b"Content-Length", b"10").unwrap();
        reply.start(BodyLength::Unknown);
        reply.send_copy(b"four").unwrap();
        assert_eq!(reply.finish().unwrap_err().missing, 6);
    });
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.ends_with(b"\r\n\r\nfour"));
}

#[test]
fn bodies_arrive_whole_in_memory_or_on_disk() {
    for threads in [1, 4] {
        let server = Server::start(threads, |request, reply| {
            let length = request.body_length();
            let (kind, bytes) = match request.take_body() {
                Body::Empty => ("none", Vec::new()),
                Body::Memory(bytes) => ("memory", bytes.to_vec()),
                Body::Spooled { mut file, .. } => {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).unwrap();
                    ("disk", bytes)
                }
                Body::Stream(_) => ("stream", Vec::new()),
            };
            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
            answer(reply, format!("{kind} {length:?} {sum}").as_bytes());
        });
        for (length, kind) in [
            (0, "none"),
            (1, "memory"),
            (70_000, "memory"),
            (512 * 1024, "memory"),
            (3 << 20, "disk"),
        ] {
            let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
            let mut stream = server.connect();
            write!(
                stream,
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
            )
            .unwrap();
            stream.write_all(&body).unwrap();
            assert_eq!(
                read_response(&mut stream).text(),
                format!("{kind} Some({length}) {sum}")
            );
            // The same in chunks, on the same connection.
            write!(
                stream,
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            .unwrap();
            for piece in body.chunks(10_000) {
                write!(stream, "{:x}\r\n", piece.len()).unwrap();
                stream.write_all(piece).unwrap();
                stream.write_all(b"\r\n").unwrap();
            }
            stream.write_all(b"0\r\n\r\n").unwrap();
            assert_eq!(
                read_response(&mut stream).text(),
                format!("{kind} Some({length}) {sum}")
            );
        }
    }
}

#[test]
fn an_expected_continue_comes_before_the_body() {
    let server = Server::start(1, |request, reply| {
        let length = request.body_length().unwrap();
        answer(reply, length.to_string().as_bytes());
    });
    let mut stream = server.connect();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        )
        .unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    assert_eq!(read_response(&mut stream).text(), "4");
}

#[test]
fn a_body_over_the_limit_is_refused_at_once_and_the_answer_arrives() {
    let server = Server::start_with(
        1,
        |config| config.limits.request_body = 1000,
        |_, reply| answer(reply, b"?"),
    );
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut stream).status, 413);
    // A client that does not wait continues to send; the response must survive that.
    let mut stream = server.connect();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        .unwrap();
    let block = vec![b'x'; 1 << 16];
    for _ in 0..76 {
        if stream.write_all(&block).is_err() {
            break;
        }
    }
    assert_eq!(read_response(&mut stream).status, 413);
}

#[test]
fn a_client_that_closes_its_side_is_still_answered() {
    for threads in THREADS {
        let server = Server::start(threads, |_, reply| answer(reply, b"still here"));
        let mut stream = server.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_response(&mut stream).text(), "still here");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn each_phase_of_a_connection_has_its_own_timeout() {
    let short = Duration::from_millis(60);
    let long = Duration::from_secs(60);
    type Case<'a> = (
        &'a str,
        &'a [u8],
        fn(&mut lockgate_config::Config, Duration),
        &'a str,
    );
    let cases: [Case<'_>; 4] = [
        (
            "nothing sent",
            b"",
            |config, short| config.head_timeout = short,
            "",
        ),
        (
            "half a head",
            b"GET / HTTP/1.1\r\nHos",
            |config, short| config.head_timeout = short,
            "HTTP/1.1 408 ",
        ),
        (
            "half a body",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
            |config, short| config.body_timeout = short,
            "HTTP/1.1 408 ",
        ),
        (
            "idle",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            |config, short| config.keep_alive = short,
            "HTTP/1.1 200 ",
        ),
    ];
    for (name, sent, set, beginning) in cases {
        let adjust = move |config: &mut lockgate_config::Config| {
            (config.head_timeout, config.body_timeout, config.keep_alive) = (long, long, long);
            set(config, short);
        };
        let server = Server::start_with(1, adjust, |_, reply| answer(reply, b"x"));
        let started = Instant::now();
        let mut stream = server.connect();
        stream.write_all(sent).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let text = String::from_utf8_lossy(&all);
        assert!(
            text.starts_with(beginning) && text.is_empty() == beginning.is_empty(),
            "{name}: {text}"
        );
        assert!(started.elapsed() >= short, "{name}: not before its time");
    }
}

#[test]
fn a_drain_finishes_running_requests_and_accepts_no_connection() {
    for threads in [1, 4] {
        let gate = Arc::new(Barrier::new(2));
        let at_gate = Arc::clone(&gate);
        let server = Server::start(threads, move |request, reply| {
            if request.head.path() == b"/wait" {
                // Twice: the call has begun, and it may continue.
                at_gate.wait();
                at_gate.wait();
            }
            answer(reply, b"finished");
        });
        let mut idle = server.connect();
        assert_eq!(get(&mut idle, "/").status, 200);
        let mut running = server.connect();
        running
            .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        gate.wait();
        server.handle.drain();
        gate.wait();
        let response = read_response(&mut running);
        assert_eq!(
            (response.status, response.text()),
            (200, "finished".to_owned())
        );
        // A keep-alive connection may have a request on its way: it is answered, with the note that it is the last one.
        let last = get(&mut idle, "/");
        assert_eq!(
            (last.status, last.header("connection")),
            (200, Some("close".to_owned()))
        );
        wait_for_end(&server);
        assert!(std::net::TcpStream::connect(server.address).is_err());
    }
}

/// Sleeps until the worker is finished.
fn wait_for_end(server: &Server) {
    let finished = server.handle.finished_fd();
    let mut fds = [PollFd::new(&finished, PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "not in time");
    assert!(server.handle.is_finished());
}

#[test]
fn input_after_the_request_does_not_reset_the_response() {
    const LENGTH: usize = 4 << 20;
    for (threads, late) in [(1, "\r\n"), (4, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")] {
        let server = Server::start(threads, |_, reply| {
            reply.head().set_status(200, b"OK").unwrap();
            reply.head().push(b"Connection", b"close").unwrap();
            answer_with(reply, &vec![b'x'; LENGTH]);
        });
        let mut stream = server.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut first = [0; 100];
        stream.read_exact(&mut first).unwrap();
        // A close with this unread would reset the connection and discard the rest of the response.
        stream.write_all(late.as_bytes()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() + 100 > LENGTH, "{threads} threads");
    }
}

#[test]
fn a_piece_of_a_stream_arrives_while_the_application_makes_the_next() {
    const LENGTH: usize = 8 << 20;
    let gate = Arc::new(Barrier::new(2));
    let at_gate = Arc::clone(&gate);
    let server = Server::start(2, move |_, reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply
            .head()
            .push(b"Content-Length", (LENGTH + 3).to_string().as_bytes())
            .unwrap();
        reply.start(BodyLength::Unknown);
        reply.send_copy(&vec![b'x'; LENGTH]).unwrap();
        reply.flush().unwrap();
        at_gate.wait();
        reply.send_copy(b"end").unwrap();
        reply.finish().unwrap();
    });
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut piece = vec![0; LENGTH];
    stream.read_exact(&mut piece).unwrap();
    gate.wait();
    let mut rest = Vec::new();
    while !rest.ends_with(b"end") {
        let mut buffer = [0; 1000];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0);
        rest.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn waiting_requests_of_disconnected_clients_are_not_run() {
    const RUNNING: usize = 2;
    let calls = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Barrier::new(RUNNING + 1));
    let (counted, at_gate) = (Arc::clone(&calls), Arc::clone(&gate));
    let server = Server::start(RUNNING, move |request, reply| {
        counted.fetch_add(1, Ordering::SeqCst);
        if request.head.path() == b"/wait" {
            at_gate.wait();
            at_gate.wait();
        }
        answer(reply, b"done");
    });
    let mut running: Vec<_> = (0..RUNNING).map(|_| server.connect()).collect();
    for stream in &mut running {
        stream
            .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    gate.wait();
    assert_eq!(calls.load(Ordering::SeqCst), RUNNING);
    for _ in 0..10 {
        let mut impatient = server.connect();
        impatient
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        rustix::net::sockopt::set_socket_linger(&impatient, Some(Duration::ZERO)).unwrap();
    }
    // Refused by the event loop, without a thread; the second one after everything that arrived before the first.
    for _ in 0..2 {
        let mut last = server.connect();
        last.write_all(b"GET / HTTP/9.9\r\n\r\n").unwrap();
        assert_eq!(read_response(&mut last).status, 505);
    }
    gate.wait();
    for stream in &mut running {
        assert_eq!(read_response(stream).text(), "done");
    }
    assert_eq!(get(&mut server.connect(), "/").text(), "done");
    assert_eq!(calls.load(Ordering::SeqCst), RUNNING + 1);
}
