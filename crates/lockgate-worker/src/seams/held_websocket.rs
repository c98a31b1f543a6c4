//! WebSockets that the server holds: the application gets their events in requests.
#![cfg(test)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use lockgate_http::BodyLength;
use lockgate_http::websocket::events::{EventLimits, WebSocketEvent, decode, encode};
use lockgate_shm::Log;

use super::push::{
    log, publish, receive, receive_until, start_with, wait_for_end, wait_for_subscribers,
};
use super::tls::{Scrambled, scramble};
use crate::exchange::request::{Body, Request};
use crate::exchange::response::Reply;
use crate::worker::Handle;

/// The requests that the application has had, each as one line.
type Seen = Arc<Mutex<Vec<String>>>;

fn line(request: &Request, body: &[u8]) -> String {
    let field = |name| {
        let value = request.head.header(name).unwrap_or(b"-");
        String::from_utf8_lossy(value).into_owned()
    };
    format!(
        "{} {} {} {} {}",
        String::from_utf8_lossy(request.head.method()),
        String::from_utf8_lossy(request.head.target()),
        field("Sec-WebSocket-Extensions"),
        field("Meta-User"),
        String::from_utf8_lossy(body).replace("\r\n", " "),
    )
}

/// Sends back each message in capitals; subscribes to the channel `a` at first.
fn serve(request: &mut Request, reply: &mut Reply, seen: &Seen) {
    let body = match request.take_body() {
        Body::Memory(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    };
    seen.lock().unwrap().push(line(request, &body));
    let limits = EventLimits {
        events: 100,
        size: 1 << 20,
    };
    let mut events = Vec::new();
    for event in decode(&body, limits).unwrap() {
        match event {
            WebSocketEvent::Open => {
                let subscribe = r#"c:{"type": "subscribe", "channel": "a"}"#;
                encode(&WebSocketEvent::Open, &mut events);
                encode(&WebSocketEvent::Text(subscribe.to_owned()), &mut events);
            }
            WebSocketEvent::Text(text) => {
                let answer = format!("m:{}", text.to_uppercase());
                encode(&WebSocketEvent::Text(answer), &mut events);
            }
            event @ WebSocketEvent::Close(_) => encode(&event, &mut events),
            _ => {}
        }
    }
    let is_allowed = request.head.path() != b"/ws/forbidden";
    let head = reply.head();
    head.set_status(if is_allowed { 200 } else { 418 }, b"Teapot")
        .unwrap();
    head.push(b"Content-Type", b"application/websocket-events")
        .unwrap();
    head.push(b"Sec-WebSocket-Extensions", b"grip; message-prefix=\"m:\"")
        .unwrap();
    head.push(b"Sec-WebSocket-Protocol", b"chat").unwrap();
    head.push(b"Set-Meta-User", b"alice").unwrap();
    head.push(b"X-From", b"application").unwrap();
    reply.start(BodyLength::Known(events.len() as u64));
    reply.send_copy(&events).unwrap();
    reply.finish().unwrap();
}

fn start(threads: usize, log: Log) -> (Handle, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let handle = start_with(
        threads,
        log,
        |config| config.push.websocket_over_http = vec!["/ws/".to_owned()],
        move |request, reply| serve(request, reply, &record),
    );
    (handle, seen)
}

fn ask(client: &mut UnixStream, path: &str) {
    let sent = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nMeta-User: forged\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    client.write_all(&scramble(sent.as_bytes())).unwrap();
}

fn open(handle: &Handle, path: &str) -> UnixStream {
    let mut client = Scrambled::connect(handle);
    ask(&mut client, path);
    let head = receive_until(&mut client, "\r\n\r\n");
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nX-From: application\r\n\r\n"
    );
    client
}

fn send(client: &mut UnixStream, opcode: u8, payload: &[u8]) {
    let head = [
        0x80 | opcode,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    client
        .write_all(&scramble(&[&head, payload].concat()))
        .unwrap();
}

fn receive_frame(client: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.read_exact(&mut head).unwrap();
    let [first, length] = scramble(&head)[..] else {
        unreachable!()
    };
    let mut payload = vec![0; usize::from(length)];
    client.read_exact(&mut payload).unwrap();
    (first, scramble(&payload))
}

#[test]
fn a_websocket_is_held_from_its_handshake_to_its_close() {
    for threads in [1, 2] {
        let log = log(1 << 16);
        let (handle, seen) = start(threads, log);
        let mut client = open(&handle, "/ws/echo?x=1");
        send(&mut client, 1, b"hello");
        assert_eq!(receive_frame(&mut client), (0x81, b"HELLO".to_vec()));
        wait_for_subscribers(&handle, 1);
        publish(&log, "a", "1", "news");
        assert_eq!(receive_frame(&mut client), (0x81, b"news".to_vec()));
        send(&mut client, 8, b"\x03\xe8");
        assert_eq!(receive_frame(&mut client), (0x88, b"\x03\xe8".to_vec()));
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
        wait_for_subscribers(&handle, 0);
        let start = "POST /ws/echo?x=1 grip";
        assert_eq!(
            *seen.lock().unwrap(),
            [
                format!("{start} - OPEN "),
                format!("{start} alice TEXT 5 hello "),
                format!("{start} alice CLOSE 2 \u{3}\u{fffd} "),
            ]
        );
        drop(client);
        handle.drain();
        wait_for_end(&handle);
    }
}

#[test]
fn a_refusal_is_the_answer_to_the_handshake() {
    let log = log(1 << 16);
    let (handle, _) = start(2, log);
    let mut client = Scrambled::connect(&handle);
    ask(&mut client, "/ws/forbidden");
    let head = receive_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 418 Teapot\r\n"), "{head}");
    let length = head.split("Content-Length: ").nth(1).unwrap();
    let length = length.split('\r').next().unwrap().parse().unwrap();
    receive(&mut client, length);
    // The connection is still one of HTTP.
    let forged = "POST /ws/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/websocket-events\r\n\
        Content-Length: 6\r\n\r\nOPEN\r\n";
    client.write_all(&scramble(forged.as_bytes())).unwrap();
    let head = receive_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    handle.stop();
}

#[test]
fn a_worker_that_ends_closes_its_websockets_and_the_application_knows() {
    let log = log(1 << 16);
    let (handle, seen) = start(2, log);
    let mut clients = [open(&handle, "/ws/a"), open(&handle, "/ws/b")];
    handle.drain();
    for client in &mut clients {
        assert_eq!(receive_frame(client), (0x88, b"\x03\xe9".to_vec()));
    }
    let [mut answers, leaves] = clients;
    send(&mut answers, 8, b"\x03\xe9");
    drop(leaves);
    assert_eq!(answers.read(&mut [0; 9]).unwrap(), 0);
    drop(answers);
    wait_for_end(&handle);
    let seen = seen.lock().unwrap();
    let has = |end: &str| seen.iter().any(|one| one.ends_with(end));
    assert!(has("/ws/a grip alice CLOSE 2 \u{3}\u{fffd} "), "{seen:?}");
    assert!(has("/ws/b grip alice DISCONNECT "), "{seen:?}");
}

#[test]
fn a_client_that_goes_with_output_on_its_way_leaves_no_connection() {
    let log = log(1 << 22);
    let (handle, seen) = start(2, log);
    let mut client = open(&handle, "/ws/a");
    wait_for_subscribers(&handle, 1);
    let content = "x".repeat(60_000);
    for number in 0..20 {
        publish(&log, "a", &number.to_string(), &content);
    }
    // Some has arrived, so that the rest is on its way.
    client.read_exact(&mut [0; 60_000]).unwrap();
    drop(client);
    wait_for_subscribers(&handle, 0);
    handle.drain();
    wait_for_end(&handle);
    let seen = seen.lock().unwrap();
    assert!(seen.last().unwrap().contains("DISCONNECT"), "{seen:?}");
}
