//! Responses that wait for messages, over HTTP/1 and HTTP/2.
#![cfg(test)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use lockgate_config::{AppSpec, Config, LogLevel, LogTarget, Threads};
use lockgate_push::{Content, Message};
use lockgate_shm::{Log, LogPlan};

use super::tls::{Scrambled, scramble};
use super::{Function, http2, with_event_loop};
use crate::exchange::request::Request;
use crate::exchange::response::Reply;
use crate::log::ErrorLog;
use crate::worker::{Handle, Resources, Worker};
use lockgate_http::BodyLength;

pub(super) fn log(size: usize) -> Log {
    let plan = LogPlan { size, channels: 64 };
    let lock_words = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
    let words = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    Log::new(Vec::leak(lock_words), Vec::leak(words), plan, (1, 2)).unwrap()
}

pub(super) fn publish(log: &Log, channel: &str, id: &str, content: &str) {
    let message = Message {
        channel: channel.to_owned(),
        id: Some(id.to_owned()),
        content: Some(Content::Text(content.to_owned())),
        ..Message::default()
    };
    let mut record = Vec::new();
    message.encode(&mut record);
    log.append(channel.as_bytes(), id.as_bytes(), &record, 0)
        .unwrap();
}

/// `/stream` is held in the channel `a`, `/poll` waits for a response of it.
fn serve(request: &mut Request, reply: &mut Reply) {
    let head = reply.head();
    head.set_status(200, b"OK").unwrap();
    let (hold, body): (&[u8], &[u8]) = match request.head.path() {
        b"/stream" => (b"stream", b"begin\n"),
        b"/poll" => (b"response", b"nothing"),
        _ => (b"", b"plain"),
    };
    if !hold.is_empty() {
        head.push(b"Grip-Hold", hold).unwrap();
        head.push(b"Grip-Channel", b"a").unwrap();
    }
    reply.start(BodyLength::Known(body.len() as u64));
    reply.send_copy(body).unwrap();
    reply.finish().unwrap();
}

fn start(threads: usize, log: Log) -> Handle {
    start_with(threads, log, |_| {}, serve)
}

/// A worker with this broadcast log.
pub(super) fn start_with(
    threads: usize,
    log: Log,
    adjust: impl FnOnce(&mut Config),
    app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
) -> Handle {
    let mut config = Config::with_defaults(AppSpec::Module {
        module: "test".into(),
        attribute: None,
    });
    config.threads = Threads::Count(threads.try_into().unwrap());
    adjust(&mut config);
    let error_log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
    let resources = Resources {
        config: Arc::new(config),
        listeners: Vec::new(),
        app: Arc::new(Function(app)),
        error_log,
        worker_slot: None,
        acceptor: None,
        broadcast: Some(log),
        responses: None,
        rates: None,
        spans: None,
        owns_process: true,
    };
    let handle = Worker::prepare(resources).unwrap();
    handle.open();
    handle
}

/// Waits until the event loop knows this many subscribed connections.
pub(super) fn wait_for_subscribers(handle: &Handle, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (sender, receiver) = std::sync::mpsc::channel();
        with_event_loop(handle, move |event_loop| {
            sender.send(event_loop.subscribers()).unwrap();
        });
        let found = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        if found == count {
            return;
        }
        assert!(Instant::now() < deadline, "{found} subscribers");
        std::thread::yield_now();
    }
}

pub(super) fn receive(client: &mut UnixStream, count: usize) -> String {
    let mut received = vec![0; count];
    client.read_exact(&mut received).unwrap();
    String::from_utf8(scramble(&received)).unwrap()
}

pub(super) fn receive_until(client: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push_str(&receive(client, 1));
    }
    text
}

#[test]
fn messages_are_parts_of_a_stream_and_the_connection_can_continue() {
    for threads in [1, 2] {
        let log = log(1 << 16);
        let handle = start(threads, log);
        let mut client = Scrambled::connect(&handle);
        client
            .write_all(&scramble(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        let head = receive_until(&mut client, "\r\n\r\n");
        assert!(!head.contains("Grip"), "{head}");
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        assert_eq!(
            receive_until(&mut client, "begin\n\r\n"),
            "6\r\nbegin\n\r\n"
        );
        publish(&log, "b", "0", "of another channel");
        publish(&log, "a", "1", "one");
        assert_eq!(receive_until(&mut client, "one\r\n"), "3\r\none\r\n");
        client
            .write_all(&scramble(b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        // The worker ends: the stream does, too, whole.
        handle.drain();
        assert_eq!(receive_until(&mut client, "0\r\n\r\n"), "0\r\n\r\n");
        wait_for_end(&handle);
    }
}

pub(super) fn wait_for_end(handle: &Handle) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !handle.is_finished() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_message_is_the_response_that_a_client_waits_for() {
    let log = log(1 << 16);
    let handle = start(2, log);
    let mut client = Scrambled::connect(&handle);
    for number in ["1", "2"] {
        client
            .write_all(&scramble(b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n"))
            .unwrap();
        wait_for_subscribers(&handle, 1);
        publish(&log, "a", number, number);
        let head = receive_until(&mut client, "\r\n\r\n");
        assert!(head.contains("Content-Length: 1\r\n"), "{head}");
        assert_eq!(receive(&mut client, 1), number);
        wait_for_subscribers(&handle, 0);
    }
    handle.stop();
}

#[test]
fn a_client_that_does_not_read_is_sent_the_rest_from_the_log() {
    let log = log(1 << 24);
    let handle = start(2, log);
    let mut client = Scrambled::connect(&handle);
    client
        .write_all(&scramble(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"))
        .unwrap();
    wait_for_subscribers(&handle, 1);
    let line = "x".repeat(999);
    for number in 0..1500 {
        publish(
            &log,
            "a",
            &number.to_string(),
            &format!("{line}{number:04}\n"),
        );
    }
    let mut text = String::new();
    while !text.ends_with("1499\n\r\n") {
        let mut buffer = vec![0; 1 << 16];
        let count = client.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&scramble(&buffer[..count])).unwrap());
    }
    for number in 0..1500 {
        assert!(text.contains(&format!("x{number:04}\n")), "{number}");
    }
    handle.stop();
}

#[test]
fn streams_of_one_connection_get_messages_within_their_windows() {
    let log = log(1 << 20);
    let handle = start(2, log);
    let mut client = http2::connect(&handle);
    for stream in [1, 3] {
        client
            .write_all(&scramble(&http2::get(stream, "/stream")))
            .unwrap();
    }
    client
        .write_all(&scramble(&http2::get(5, "/poll")))
        .unwrap();
    wait_for_subscribers(&handle, 3);
    publish(&log, "a", "1", "one");
    let mut bodies = std::collections::BTreeMap::<u32, Vec<u8>>::new();
    let mut has_ended = false;
    while bodies.values().map(Vec::len).sum::<usize>() < 9 + 9 + 3 || !has_ended {
        let (kind, flags, stream, payload) = http2::receive(&mut client);
        if kind == 0 {
            bodies.entry(stream).or_default().extend(payload);
            has_ended |= stream == 5 && flags & 1 != 0;
        }
    }
    assert_eq!(bodies[&1], b"begin\none");
    assert_eq!(bodies[&3], b"begin\none");
    assert_eq!(bodies[&5], b"one");
    // A client that resets a stream leaves the others.
    client
        .write_all(&scramble(&http2::frame(3, 0, 1, &[0, 0, 0, 8])))
        .unwrap();
    wait_for_subscribers(&handle, 1);
    publish(&log, "a", "2", "two");
    let (kind, _, stream, payload) = http2::receive(&mut client);
    assert_eq!((kind, stream, payload.as_slice()), (0, 3, &b"two"[..]));
    // Windows of 100 bytes: what does not fit waits in the log.
    for number in 0..30 {
        publish(&log, "a", &format!("n{number}"), &format!("<{number:08}>"));
    }
    let mut text = String::new();
    while !text.ends_with("<00000029>") {
        let (kind, _, stream, payload) = http2::receive(&mut client);
        if kind == 0 {
            assert_eq!(stream, 3);
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            client
                .write_all(&scramble(&http2::frame(8, 0, 3, &length)))
                .unwrap();
            text.push_str(&String::from_utf8(payload).unwrap());
        }
    }
    let expected: String = (0..30).map(|number| format!("<{number:08}>")).collect();
    assert_eq!(text, expected);
    handle.drain();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (kind, flags, stream, _) = http2::receive(&mut client);
        if kind == 0 && stream == 3 && flags & 1 != 0 {
            break;
        }
        assert!(Instant::now() < deadline);
    }
    handle.stop();
}
