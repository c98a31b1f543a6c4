//! HTTP/2 over real sockets: streams on several threads, flow control in both directions, resets, deadlines, priorities
//! and the end of connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod client;
#[allow(dead_code, reason = "each test uses a part of it")]
mod h2client;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use client::{PATIENCE, Server, answer};
use h2client::{Client, DATA, END_STREAM, GOAWAY, RST_STREAM};
use lockgate_http::BodyLength;
use lockgate_worker::{Body, Reply, Request, SharedBytes};

const WIDE: u32 = 1 << 20;

struct Owned(Vec<u8>);

impl SharedBytes for Owned {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn path_of(request: &Request) -> String {
    String::from_utf8(request.head.path().to_vec()).unwrap()
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn read_all(request: &mut Request) -> Result<Vec<u8>, lockgate_worker::BodyError> {
    match request.take_body() {
        Body::Empty => Ok(Vec::new()),
        Body::Memory(bytes) => Ok(bytes.to_vec()),
        Body::Spooled { mut file, length } => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut *file, &mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, length);
            Ok(bytes)
        }
        Body::Stream(stream) => {
            let mut bytes = Vec::new();
            let mut part = [0; 5000];
            loop {
                match stream.read(&mut part)? {
                    0 => return Ok(bytes),
                    count => bytes.extend_from_slice(&part[..count]),
                }
            }
        }
    }
}

/// A thread pool of this many threads; the application answers with the path, or does what the path says.
fn start(threads: usize, adjust: impl FnOnce(&mut lockgate_config::Config)) -> (Server, Events) {
    let (report, reported) = channel();
    let (release, released) = channel();
    let app = Mutex::new((report, released));
    let server = Server::start_with(threads, adjust, move |request, reply| {
        let path = path_of(request);
        match path.as_str() {
            "/shared" => {
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Known(300_000));
                reply
                    .send_shared(Box::new(Owned(pattern(300_000))))
                    .unwrap();
                reply.finish().unwrap();
                app.lock().unwrap().0.send(path).unwrap();
            }
            "/file" => {
                let mut file = tempfile::tempfile().unwrap();
                std::io::Write::write_all(&mut file, &pattern(300_000)).unwrap();
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Known(299_990));
                reply
                    .send_file(
                        Arc::new(lockgate_worker::SharedFile::new(file)),
                        10,
                        299_990,
                    )
                    .unwrap();
                reply.finish().unwrap();
            }
            "/stream" => {
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Unknown);
                for part in pattern(1_000_000).chunks(10_000) {
                    if reply.send_copy(part).and_then(|_| reply.flush()).is_err() {
                        app.lock().unwrap().0.send("gone".into()).unwrap();
                        return;
                    }
                }
                reply.finish().unwrap();
            }
            "/echo" => match read_all(request) {
                Ok(body) => answer(reply, &body),
                Err(error) => {
                    app.lock().unwrap().0.send(format!("{error:?}")).unwrap();
                    reply.fail(400);
                }
            },
            "/wait" => {
                app.lock().unwrap().0.send(path).unwrap();
                loop {
                    if app.lock().unwrap().1.try_recv().is_ok() {
                        return answer(reply, b"released");
                    }
                    if reply.check_client(Instant::now()).is_err() {
                        app.lock().unwrap().0.send("gone".into()).unwrap();
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            "/204" => {
                reply.head().set_status(204, b"No Content").unwrap();
                reply.start(BodyLength::Known(0));
                reply.finish().unwrap();
            }
            "/short" => {
                reply.head().set_status(200, b"OK").unwrap();
                reply.start(BodyLength::Known(10));
                reply.send_copy(b"short").unwrap();
                assert!(reply.finish().is_err());
            }
            _ => answer(reply, path.as_bytes()),
        }
    });
    (server, Events { reported, release })
}

struct Events {
    reported: Receiver<String>,
    release: Sender<()>,
}

impl Events {
    fn next(&self) -> String {
        self.reported.recv_timeout(PATIENCE).unwrap()
    }
}

#[test]
fn requests_of_one_read_are_answered_and_the_version_is_known() {
    for threads in [1, 2] {
        let (server, _events) = start(threads, |_| {});
        let mut client = Client::connect(&server, WIDE);
        for round in 0..3 {
            let first = 1 + round * 200;
            for stream in (first..first + 200).step_by(2) {
                client.get(stream, &format!("/{stream}"));
            }
            for stream in (first..first + 200).step_by(2) {
                let response = client.finish(stream);
                assert_eq!(response.status, "200");
                assert_eq!(response.text(), format!("/{stream}"));
                assert!(response.header("date").is_some());
            }
        }
        let version = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&version);
        let server = Server::start(threads, move |request: &mut Request, reply: &mut Reply| {
            *seen.lock().unwrap() = Some(request.head.version().as_str());
            answer(reply, b"");
        });
        let mut client = Client::connect(&server, WIDE);
        client.get(1, "/");
        assert_eq!(client.finish(1).header("content-length"), Some("0"));
        assert_eq!(*version.lock().unwrap(), Some("HTTP/2.0"));
    }
}

#[test]
fn streams_of_one_connection_run_at_the_same_time() {
    let together = Arc::new(Barrier::new(3));
    let server = Server::start(3, move |request: &mut Request, reply: &mut Reply| {
        together.wait();
        answer(reply, request.head.path());
    });
    let mut client = Client::connect(&server, WIDE);
    for stream in [1, 3, 5] {
        client.get(stream, &format!("/{stream}"));
    }
    for stream in [1, 3, 5] {
        assert_eq!(client.finish(stream).text(), format!("/{stream}"));
    }
}

#[test]
fn a_body_waits_for_its_windows_and_arrives_whole() {
    for threads in [1, 2] {
        for (path, expected) in [
            ("/shared", pattern(300_000)),
            ("/file", pattern(300_000)[10..].to_vec()),
            ("/stream", pattern(1_000_000)),
        ] {
            let (server, _events) = start(threads, |_| {});
            let mut client = Client::connect(&server, 1000);
            client.get(1, path);
            while !client.is_over(1) {
                let frame = client.next().expect("the connection is open");
                if frame.kind == DATA && !frame.payload.is_empty() {
                    client.grant(0, frame.payload.len() as u32);
                    client.grant(1, frame.payload.len() as u32 + 7);
                }
            }
            let response = &client.responses[&1];
            assert_eq!(response.reset, None, "{path} {threads}");
            assert!(response.body == expected, "{path} {threads}");
            client.get(3, "/after");
            client.grant(0, WIDE);
            assert_eq!(client.finish(3).text(), "/after");
        }
    }
}

#[test]
fn head_204_and_a_short_body_end_as_they_should() {
    let (server, _events) = start(2, |_| {});
    let mut client = Client::connect(&server, WIDE);
    client.request(1, "HEAD", "/head", &[], true);
    let head = client.finish(1);
    assert_eq!((head.status.as_str(), head.body.len()), ("200", 0));
    assert_eq!(head.header("content-length"), Some("5"));
    client.get(3, "/204");
    let empty = client.finish(3);
    assert_eq!((empty.status.as_str(), empty.body.len()), ("204", 0));
    assert_eq!(empty.header("content-length"), None);
    client.get(5, "/short");
    assert_eq!(client.finish(5).reset, Some(2), "INTERNAL_ERROR");
    client.get(7, "/7");
    assert_eq!(client.finish(7).text(), "/7");
}

#[test]
fn bodies_are_stored_in_memory_or_on_disk_and_requests_pass_them() {
    for threads in [1, 2] {
        let (server, _events) = start(threads, |config| config.body_memory = 10_000);
        let mut client = Client::connect(&server, WIDE);
        client.grant(0, WIDE);
        let body = pattern(200_000);
        client.request(1, "POST", "/echo", &[], false);
        client.request(3, "POST", "/echo", &[("content-length", "3")], false);
        for (index, part) in body.chunks(777).enumerate() {
            client.send(DATA, 0, 1, part);
            if index == 10 {
                client.get(5, "/between");
                assert_eq!(client.finish(5).text(), "/between");
            }
        }
        client.send(DATA, END_STREAM, 3, b"abc");
        assert_eq!(client.finish(3).text(), "abc");
        client.send(DATA, END_STREAM, 1, b"");
        assert!(client.finish(1).body == body, "{threads}");
    }
}

#[test]
fn a_streamed_body_is_bounded_by_its_window_until_it_is_read() {
    for threads in [1, 3] {
        let (server, events) = start(threads, |config| {
            config.stream_request_body = vec!["/echo".into()];
        });
        let mut client = Client::connect(&server, WIDE);
        client.grant(0, WIDE);
        client.request(1, "POST", "/echo", &[("expect", "100-continue")], false);
        while client
            .responses
            .get(&1)
            .is_none_or(|one| one.status != "100")
        {
            client.next().unwrap();
        }
        let body = pattern(200_000);
        let mut window = 65_536;
        for part in body.chunks(8192) {
            while window < part.len() as u32 {
                // The application reads, and the server gives back what was read.
                client.next().unwrap();
                window += client.windows.remove(&1).unwrap_or(0);
            }
            window -= part.len() as u32;
            client.send(DATA, 0, 1, part);
        }
        client.send(DATA, END_STREAM, 1, b"");
        client.responses.clear();
        assert!(client.finish(1).body == body, "{threads}");
        // A client that leaves in the middle of a body.
        client.request(3, "POST", "/echo", &[], false);
        for part in body[..40_000].chunks(8192) {
            client.send(DATA, 0, 3, part);
        }
        while !client.windows.contains_key(&3) {
            client.next().unwrap();
        }
        client.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes());
        assert_eq!(events.next(), "Truncated");
    }
}

#[test]
fn a_reset_stream_is_gone_for_the_call_and_for_the_queue() {
    let (server, events) = start(2, |_| {});
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/wait");
    assert_eq!(events.next(), "/wait");
    client.get(3, "/other");
    assert_eq!(client.finish(3).text(), "/other");
    client.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    assert_eq!(events.next(), "gone");
    client.get(5, "/after");
    assert_eq!(client.finish(5).text(), "/after");
    // The connection is lost.
    client.get(7, "/wait");
    assert_eq!(events.next(), "/wait");
    drop(client);
    assert_eq!(events.next(), "gone");
    let (server, events) = start(1, |_| {});
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/wait");
    assert_eq!(events.next(), "/wait");
    client.get(3, "/never");
    client.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes());
    client.get(5, "/last");
    client.synchronize();
    events.release.send(()).unwrap();
    assert_eq!(client.finish(1).text(), "released");
    assert_eq!(client.finish(5).text(), "/last");
    assert!(!client.responses.contains_key(&3));
}

#[test]
fn a_late_request_gets_504_on_its_stream_only() {
    let (server, events) = start(3, |config| {
        config.request_timeout = Some(Duration::from_millis(200));
    });
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/wait");
    assert_eq!(events.next(), "/wait");
    let late = client.finish(1);
    assert_eq!(late.status, "504");
    assert_eq!(
        late.text(),
        "504 Gateway Timeout: the request took too long\n"
    );
    assert_eq!(events.next(), "gone");
    client.get(3, "/3");
    assert_eq!(client.finish(3).text(), "/3");
}

#[test]
fn a_read_that_waits_at_the_deadline_does_not_block_the_answer() {
    let (server, _events) = start(8, |config| {
        config.stream_request_body = vec!["/echo".into()];
        config.request_timeout = Some(Duration::from_millis(30));
    });
    let mut client = Client::connect(&server, WIDE);
    for round in 0..10 {
        let first = 1 + 10 * round;
        // Each reads until its deadline, at which the watcher answers.
        for stream in (first..first + 10).step_by(2) {
            client.request(stream, "POST", "/echo", &[], false);
        }
        for stream in (first..first + 10).step_by(2) {
            assert_eq!(client.finish(stream).status, "504");
        }
    }
}

#[test]
fn a_client_that_holds_a_window_at_zero_loses_that_stream() {
    for path in ["/shared", "/stream"] {
        for threads in [1, 2] {
            let (server, events) = start(threads, |config| {
                config.write_timeout = Duration::from_millis(300);
            });
            let mut client = Client::connect(&server, 1000);
            client.get(1, path);
            let response = client.finish(1);
            assert_eq!(
                (response.body.len(), response.reset),
                (1000, Some(8)),
                "{path}"
            );
            let event = events.next();
            assert_eq!(event, if path == "/shared" { "/shared" } else { "gone" });
            client.get(3, "/3");
            assert_eq!(client.finish(3).text(), "/3", "{path} {threads}");
        }
    }
}

#[test]
fn a_slow_body_gets_408_and_other_streams_continue() {
    let (server, _events) = start(2, |config| {
        config.body_timeout = Duration::from_millis(200);
    });
    let mut client = Client::connect(&server, WIDE);
    client.request(1, "POST", "/echo", &[], false);
    client.send(DATA, 0, 1, b"some");
    let response = client.finish(1);
    assert_eq!(response.status, "408");
    client.get(3, "/3");
    assert_eq!(client.finish(3).text(), "/3");
    assert_eq!(client.responses[&1].reset, Some(0), "NO_ERROR");
}

#[test]
fn a_full_queue_and_a_refused_head_are_answered_on_their_streams() {
    let (server, events) = start(1, |config| config.queue_size = 1);
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/wait");
    assert_eq!(events.next(), "/wait");
    for stream in [3, 5, 7] {
        client.get(stream, "/");
    }
    client.request(
        9,
        "GET",
        "/",
        &[("content-type", "a"), ("content-type", "b")],
        true,
    );
    for (stream, status) in [(5, "503"), (7, "503"), (9, "400")] {
        assert_eq!(client.finish(stream).status, status);
    }
    events.release.send(()).unwrap();
    assert_eq!(client.finish(1).text(), "released");
    assert_eq!(client.finish(3).status, "200");
}

#[test]
fn urgent_bodies_are_sent_first() {
    let (server, events) = start(2, |_| {});
    let mut client = Client::connect(&server, WIDE);
    for (stream, priority) in [(1, "u=7"), (3, "u=3, i"), (5, "u=3, i"), (7, "u=0")] {
        client.request(stream, "GET", "/shared", &[("priority", priority)], true);
        assert_eq!(events.next(), "/shared");
    }
    // The window of the connection is used up by now.
    let before = loop {
        client.next().unwrap();
        let received: usize = client.responses.values().map(|one| one.body.len()).sum();
        if received == 65_535 {
            break client.order.len();
        }
    };
    client.grant(0, 2 * WIDE);
    for stream in [1, 3, 5, 7] {
        assert!(client.finish(stream).body == pattern(300_000));
    }
    let order = &client.order[before..];
    let last = |stream| order.iter().rposition(|one| *one == stream).unwrap();
    let first = |stream| order.iter().position(|one| *one == stream).unwrap();
    assert!(
        last(7) < first(3) && last(3) < last(5) + 3 && last(5) < last(3) + 3,
        "{order:?}"
    );
    assert!(
        first(5) < last(3) && last(5).max(last(3)) < first(1),
        "{order:?}"
    );
}

#[test]
fn a_draining_worker_says_goodbye_twice_and_fails_no_request() {
    for threads in [1, 2] {
        let (server, events) = start(threads, |_| {});
        let mut client = Client::connect(&server, WIDE);
        client.get(1, "/wait");
        assert_eq!(events.next(), "/wait");
        let mut idle = Client::connect(&server, WIDE);
        if threads > 1 {
            idle.get(1, "/idle");
            assert_eq!(idle.finish(1).text(), "/idle");
        }
        server.handle.retire();
        events.release.send(()).unwrap();
        // The client has not seen the first GOAWAY yet, or knows that its requests are still served.
        while client.going.is_empty() {
            client.next().unwrap();
        }
        client.get(3, "/late");
        assert_eq!(client.finish(1).text(), "released");
        client.drain();
        assert_eq!(client.going.len(), 2, "{:?}", client.going);
        if client.going[1] >= 3 {
            assert_eq!(client.responses[&3].text(), "/late", "{threads}");
        }
        assert_eq!(client.going[0], (1 << 31) - 1);
        drop(client);
        idle.drain();
        drop(idle);
        let deadline = Instant::now() + PATIENCE;
        while !server.handle.is_finished() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn an_idle_connection_and_one_that_has_served_enough_are_ended_with_goaway() {
    let (server, _events) = start(2, |config| {
        config.keep_alive = Duration::from_millis(200);
    });
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/1");
    assert_eq!(client.finish(1).text(), "/1");
    client.drain();
    assert_eq!(client.going, [1]);
    let (server, _events) = start(2, |config| config.limits.requests_per_connection = 2);
    let mut client = Client::connect(&server, WIDE);
    for stream in [1, 3] {
        client.get(stream, "/");
        assert_eq!(client.finish(stream).status, "200");
    }
    client.drain();
    assert_eq!(client.going, [(1 << 31) - 1, 3]);
}

#[test]
fn a_request_may_run_for_longer_than_keep_alive() {
    for threads in [1, 2] {
        let (server, events) = start(threads, |config| {
            config.keep_alive = Duration::from_millis(300);
        });
        let mut client = Client::connect(&server, WIDE);
        client.get(1, "/1");
        assert_eq!(client.finish(1).text(), "/1");
        client.synchronize();
        // It comes alone: the server has nothing to send when it has read it.
        client.get(3, "/wait");
        assert_eq!(events.next(), "/wait");
        std::thread::sleep(Duration::from_millis(600));
        events.release.send(()).unwrap();
        assert_eq!(client.finish(3).text(), "released", "{threads}");
    }
}

#[test]
fn a_connection_is_idle_once_the_last_request_has_ended() {
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let server = Server::start_with(
        3,
        |config| config.keep_alive = Duration::from_millis(100),
        move |request: &mut Request, reply: &mut Reply| {
            // The response is complete, or its stream is reset, long before the call ends.
            let held = reply.hold();
            if request.head.path() == b"/answered" {
                answer(reply, b"");
            }
            released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            reply.abort();
            drop(held);
        },
    );
    for (path, is_answered) in [("/answered", true), ("/reset", false)] {
        let mut client = Client::connect(&server, WIDE);
        client.get(1, path);
        if is_answered {
            client.finish(1);
        } else {
            client.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        }
        client.synchronize();
        std::thread::sleep(Duration::from_millis(20));
        release.send(()).unwrap();
        client.drain();
        assert_eq!(client.going, [1], "{path}");
    }
}

#[test]
fn a_violation_ends_the_connection_with_goaway() {
    let (server, events) = start(2, |_| {});
    let mut client = Client::connect(&server, WIDE);
    client.get(1, "/wait");
    assert_eq!(events.next(), "/wait");
    client.send(DATA, 0, 9, b"on an idle stream");
    while client.next().is_some_and(|frame| frame.kind != GOAWAY) {}
    assert_eq!(client.going, [1]);
    assert_eq!(events.next(), "gone");
}

#[test]
fn a_malformed_rest_of_an_answered_request_gives_its_place_back() {
    let (server, _events) = start(2, |config| {
        config.http2.max_concurrent_streams = 2;
        config.body_timeout = Duration::from_millis(50);
    });
    let mut client = Client::connect(&server, 0);
    for round in 0..4 {
        let stream = 1 + 2 * round;
        client.request(stream, "POST", "/", &[("content-length", "1")], false);
        // The answer, 408, waits for the window.
        while client
            .responses
            .get(&stream)
            .is_none_or(|one| one.status != "408")
        {
            client.next().unwrap();
        }
        client.send(DATA, 0, stream, b"too long");
        assert_eq!(client.finish(stream).reset, Some(1), "PROTOCOL_ERROR");
    }
    client.get(9, "/204");
    assert_eq!(client.finish(9).status, "204");
}

#[test]
fn heads_that_wait_for_their_bodies_are_bounded() {
    let (server, _events) = start(2, |config| config.limits.request_head = 16_384);
    let mut client = Client::connect(&server, WIDE);
    let long = "v".repeat(7500);
    let post = |client: &mut Client, stream| {
        client.request(
            stream,
            "POST",
            "/echo",
            &[("a", &long), ("b", &long)],
            false,
        );
    };
    for stream in (1..=17).step_by(2) {
        post(&mut client, stream);
    }
    assert_eq!(client.finish(17).reset, Some(7), "REFUSED_STREAM");
    client.send(DATA, END_STREAM, 1, b"first");
    assert_eq!(client.finish(1).text(), "first");
    post(&mut client, 19);
    client.send(DATA, END_STREAM, 19, b"again");
    assert_eq!(client.finish(19).text(), "again");
}

#[test]
fn a_long_body_goes_on_whatever_the_client_sends_meanwhile() {
    const LENGTH: usize = 16 << 20;
    let server = Server::start(2, |_: &mut Request, reply: &mut Reply| {
        reply.head().set_status(200, b"OK").unwrap();
        reply.start(BodyLength::Known(LENGTH as u64));
        reply.send_shared(Box::new(Owned(vec![7; LENGTH]))).unwrap();
        reply.finish().unwrap();
    });
    let mut client = Client::connect(&server, 1 << 30);
    client.grant(0, 1 << 30);
    client.get(1, "/");
    while !client.is_over(1) {
        // A frame that changes nothing and needs no answer: PRIORITY.
        if client.next().expect("the connection is open").kind == DATA {
            client.send(2, 0, 3, b"\0\0\0\0\x10");
        }
    }
    assert_eq!(client.responses[&1].body.len(), LENGTH);
}

#[test]
fn http2_can_be_turned_off() {
    let (server, _events) = start(2, |config| config.http2.is_enabled = false);
    let mut socket = Client::connect(&server, WIDE).socket;
    let response = client::read_response(&mut socket);
    assert_eq!(response.status, 505);
}

#[test]
fn the_preface_may_arrive_in_any_parts() {
    let (server, _events) = start(2, |_| {});
    for cut in [1, 3, 4, 14, 15, 16, 17, 18, 23] {
        let mut socket = server.connect();
        let hello = [
            &lockgate_http::http2::PREFACE[..],
            &h2client::frame(h2client::SETTINGS, 0, 0, b""),
        ]
        .concat();
        std::io::Write::write_all(&mut socket, &hello[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        std::io::Write::write_all(&mut socket, &hello[cut..]).unwrap();
        let mut head = [0; 9];
        std::io::Read::read_exact(&mut socket, &mut head).unwrap();
        assert_eq!(head[3], h2client::SETTINGS, "cut at {cut}");
    }
}
