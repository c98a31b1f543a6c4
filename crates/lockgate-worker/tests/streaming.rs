//! Request bodies that the application reads while the client sends them, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "this file needs a part of it")]
mod client;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use client::{PATIENCE, Server, answer, read_response};
use lockgate_config::Config;
use lockgate_http::BodyLength;
use lockgate_worker::{Body, BodyError, BodyStream, Reply, Request};

const THREADS: [usize; 2] = [1, 4];

fn server(
    threads: usize,
    adjust: impl FnOnce(&mut Config),
    app: impl Fn(&BodyStream, &mut Reply) + Send + Sync + 'static,
) -> Server {
    Server::start_with(
        threads,
        |config| {
            config.stream_request_body = vec!["/up".to_owned()];
            adjust(config);
        },
        move |request: &mut Request, reply: &mut Reply| match request.take_body() {
            Body::Stream(body) => app(&body, reply),
            _ => answer(reply, b"whole"),
        },
    )
}

fn read_all(body: &BodyStream, piece: usize) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    let mut buffer = vec![0; piece];
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

fn head(path: &str, framing: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").into_bytes()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    for chunk in body.chunks(size) {
        sent.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b"0\r\nX-Trailer: t\r\n\r\n");
    sent
}

#[test]
fn a_streamed_body_is_complete_and_the_connection_continues() {
    let body: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    for threads in THREADS {
        for piece in [1 << 20, 65_536, 1000, 7] {
            let body: Vec<u8> = match piece {
                7 => body[..20_000].to_vec(),
                _ => body.clone(),
            };
            let expected = body.clone();
            let server = server(
                threads,
                |_| {},
                move |stream, reply| {
                    let all = read_all(stream, piece).unwrap();
                    answer(
                        reply,
                        if all == expected {
                            b"same"
                        } else {
                            b"different"
                        },
                    );
                },
            );
            let length = format!("Content-Length: {}", body.len());
            let mut requests = [head("/up/1", &length), body.clone()].concat();
            requests.extend(head("/up/2", "Transfer-Encoding: chunked"));
            requests.extend(chunked(&body, 777));
            requests.extend(head("/up/3", &length));
            requests.extend(&body);
            requests.extend(head("/other", "Content-Length: 3"));
            requests.extend(b"abc");
            let mut stream = server.connect();
            let sender = {
                let mut stream = stream.try_clone().unwrap();
                std::thread::spawn(move || stream.write_all(&requests).unwrap())
            };
            for expected in ["same", "same", "same", "whole"] {
                assert_eq!(
                    read_response(&mut stream).text(),
                    expected,
                    "{threads} {piece}"
                );
            }
            sender.join().unwrap();
        }
    }
}

#[test]
fn the_application_reads_a_part_before_the_rest_is_sent() {
    for threads in THREADS {
        let server = server(
            threads,
            |_| {},
            |stream, reply| {
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Unknown);
                let mut buffer = [0; 100];
                loop {
                    match stream.read(&mut buffer).unwrap() {
                        0 => break,
                        count => {
                            reply.send_copy(&buffer[..count]).unwrap();
                            reply.flush().unwrap();
                        }
                    }
                }
                reply.finish().unwrap();
            },
        );
        let mut stream = server.connect();
        stream.write_all(&head("/up", "Content-Length: 9")).unwrap();
        let mut received = Vec::new();
        for piece in ["one", "two", "end"] {
            stream.write_all(piece.as_bytes()).unwrap();
            while !String::from_utf8_lossy(&received).contains(piece) {
                let mut buffer = [0; 1000];
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0);
                received.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

#[test]
fn continue_is_sent_at_the_first_read_unless_the_response_has_begun() {
    for threads in THREADS {
        for (reads, starts_first) in [(true, false), (true, true), (false, false)] {
            let server = server(
                threads,
                |_| {},
                move |stream, reply| {
                    if starts_first {
                        reply.head().set_status(200, b"OK").unwrap();
                        reply.start(BodyLength::Known(2));
                        reply.send_copy(b"a").unwrap();
                        reply.flush().unwrap();
                    }
                    let body = if reads {
                        read_all(stream, 10).unwrap_or_default()
                    } else {
                        Vec::new()
                    };
                    if starts_first {
                        reply.send_copy(b"b").unwrap();
                        reply.finish().unwrap();
                    } else {
                        answer(reply, &body);
                    }
                },
            );
            let mut stream = server.connect();
            stream
                .write_all(&head("/up", "Content-Length: 4\r\nExpect: 100-continue"))
                .unwrap();
            if starts_first {
                // A client that sees the final status may still send the body.
                let mut status = [0; 12];
                stream.read_exact(&mut status).unwrap();
                assert_eq!(&status, b"HTTP/1.1 200");
                stream.write_all(b"body").unwrap();
                continue;
            }
            let first = read_response(&mut stream);
            let case = format!("{threads} {reads} {starts_first}: {}", first.status);
            assert_eq!(first.status == 100, reads, "{case}");
            if reads {
                stream.write_all(b"body").unwrap();
                assert_eq!(read_response(&mut stream).text(), "body", "{case}");
            }
        }
    }
}

#[test]
fn an_incomplete_body_is_an_error_with_its_reason() {
    let slow = |config: &mut Config| {
        config.body_timeout = Duration::from_millis(60);
        config.body_min_rate = 0;
    };
    for threads in THREADS {
        for (framing, sent, is_closed, expected) in [
            ("Content-Length: 10", "12345", true, "Truncated"),
            (
                "Transfer-Encoding: chunked",
                "5\r\n12345\r\n",
                true,
                "Truncated",
            ),
            ("Content-Length: 10", "12345", false, "TooSlow"),
            ("Content-Length: 10", "", false, "TooSlow"),
            (
                "Transfer-Encoding: chunked",
                "5\r\n12345\r\nzz\r\n",
                false,
                "Refused",
            ),
        ] {
            let (report, reported) = mpsc::channel();
            let server = server(threads, slow, move |stream, reply| {
                let error = read_all(stream, 100).unwrap_err();
                // Later reads say the same.
                assert_eq!(read_all(stream, 100).unwrap_err(), error);
                report.send(format!("{error:?}")).unwrap();
                answer(reply, error.to_string().as_bytes());
            });
            let mut stream = server.connect();
            stream.write_all(&head("/up", framing)).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            if is_closed {
                stream.shutdown(Shutdown::Write).unwrap();
            }
            let error = reported.recv_timeout(PATIENCE).unwrap();
            assert!(error.starts_with(expected), "{framing} {sent:?}: {error}");
            let response = read_response(&mut stream);
            assert_eq!(
                response.header("connection").as_deref(),
                Some("close"),
                "{error}"
            );
            expect_end(&mut stream);
        }
    }
}

fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_client_that_sends_its_whole_body_first_gets_an_early_response() {
    const RESPONSE: usize = 8 << 20;
    for threads in THREADS {
        let server = server(
            threads,
            |_| {},
            |_, reply| answer(reply, &vec![b'r'; RESPONSE]),
        );
        let mut stream = server.connect();
        let body = vec![b'b'; 16 << 20];
        stream
            .write_all(&head("/up", &format!("Content-Length: {}", body.len())))
            .unwrap();
        // Reads nothing before all is sent: the server must not wait for the response to be read.
        stream.write_all(&body).unwrap();
        let response = read_response(&mut stream);
        assert_eq!(response.body.len(), RESPONSE);
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        expect_end(&mut stream);
    }
}

#[test]
fn a_slow_upload_delays_no_other_request() {
    let server = server(
        2,
        |_| {},
        |stream, reply| {
            answer(reply, &read_all(stream, 100).unwrap());
        },
    );
    let mut slow = server.connect();
    slow.write_all(&head("/up", "Content-Length: 4")).unwrap();
    slow.write_all(b"ab").unwrap();
    let began = Instant::now();
    for _ in 0..50 {
        let mut stream = server.connect();
        stream
            .write_all(&head("/other", "Content-Length: 1"))
            .unwrap();
        stream.write_all(b"x").unwrap();
        assert_eq!(read_response(&mut stream).text(), "whole");
    }
    assert!(began.elapsed() < PATIENCE);
    slow.write_all(b"cd").unwrap();
    assert_eq!(read_response(&mut slow).text(), "abcd");
}

#[test]
fn a_stream_ends_with_its_request() {
    let (keep, kept) = mpsc::channel();
    let server = server(
        2,
        |_| {},
        move |stream, reply| {
            keep.send(stream.clone()).unwrap();
            answer(reply, b"early");
        },
    );
    let mut stream = server.connect();
    stream.write_all(&head("/up", "Content-Length: 4")).unwrap();
    assert_eq!(read_response(&mut stream).text(), "early");
    let body = kept.recv_timeout(PATIENCE).unwrap();
    stream.write_all(b"late").unwrap();
    assert_eq!(body.read(&mut [0; 10]), Err(BodyError::Ended));
}

#[test]
fn a_read_ends_at_the_deadline_of_its_request() {
    for threads in THREADS {
        let (report, reported) = mpsc::channel();
        let server = server(
            threads,
            |config| config.request_timeout = Some(Duration::from_millis(200)),
            move |stream, reply| {
                report.send(read_all(stream, 100)).unwrap();
                reply.abort();
            },
        );
        // The client sends a part of the body, and does not react to 504.
        let mut stream = server.connect();
        stream.write_all(&head("/up", "Content-Length: 9")).unwrap();
        assert_eq!(read_response(&mut stream).status, 504);
        let outcome = reported.recv_timeout(PATIENCE).unwrap();
        assert_eq!(outcome, Err(BodyError::Ended), "{threads}");
    }
}

#[test]
fn an_aborted_response_closes_the_connection_though_another_thread_reads() {
    let (done, is_done) = mpsc::channel();
    let server = server(
        2,
        |_| {},
        move |stream, reply| {
            let (stream, done) = (stream.clone(), done.clone());
            std::thread::spawn(move || done.send(read_all(&stream, 100)).unwrap());
            // Lets that thread wait for the client.
            std::thread::sleep(Duration::from_millis(100));
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Known(10));
            reply.send_copy(b"part").unwrap();
            reply.flush().unwrap();
            reply.abort();
        },
    );
    let mut stream = server.connect();
    stream.write_all(&head("/up", "Content-Length: 9")).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received.ends_with(b"\r\n\r\npart"));
    let outcome = is_done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(outcome, Err(BodyError::Ended));
}

#[test]
fn a_worker_that_drains_waits_for_a_streamed_body() {
    for threads in THREADS {
        let (begin, begun) = mpsc::channel();
        let server = server(
            threads,
            |_| {},
            move |stream, reply| {
                begin.send(()).unwrap();
                answer(reply, &read_all(stream, 100).unwrap());
            },
        );
        let mut stream = server.connect();
        stream.write_all(&head("/up", "Content-Length: 4")).unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        server.handle.drain();
        stream.write_all(b"body").unwrap();
        let response = read_response(&mut stream);
        assert_eq!(response.text(), "body", "{threads}");
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        expect_end(&mut stream);
        drop(stream);
        let began = Instant::now();
        while !server.handle.is_finished() {
            assert!(began.elapsed() < PATIENCE, "{threads}");
            std::thread::yield_now();
        }
    }
}
