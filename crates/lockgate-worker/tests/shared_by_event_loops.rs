//! What the event loops of a worker share: TLS sessions, HTTP/2, held responses and the cache.
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

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use client::loops::{
    answer_with_thread, counted, event_loops, one_of_each, thread_name, until, words,
};
use client::{Server, answer, answer_with, get, read_response};
use lockgate_config::Scheme;
use lockgate_observe::Scoreboard;
use lockgate_push::{Content, Message};
use lockgate_shm::responses::{ResponseStore, ResponseStorePlan};
use lockgate_shm::{Log, LogPlan};
use lockgate_tls::{
    Acceptor, Board, Certificate, Material, ServerSettings, TicketKeys, self_signed,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

fn lock_words(count: usize) -> &'static [AtomicU32] {
    Vec::leak((0..count).map(|_| AtomicU32::new(0)).collect())
}

/// An acceptor with a certificate of its own, and clients that trust it.
fn tls() -> (Arc<Acceptor>, Arc<ClientConfig>) {
    let (chain, key) = self_signed(&["shop.example".to_owned()], 0, 4_000_000_000).unwrap();
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap();
    let material = Material {
        ticket_keys: TicketKeys::new(0, &[7; TicketKeys::RANDOM]),
        certificates: vec![certificate.source().clone()],
        ..Material::default()
    };
    let board = Board::new(words(100_000));
    board.publish(&material).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(64);
    let acceptor = Acceptor::new(ServerSettings::default(), board).unwrap();
    (Arc::new(acceptor), Arc::new(config))
}

#[test]
fn a_tls_session_that_began_in_one_event_loop_is_resumed_in_all() {
    let (acceptor, config) = tls();
    let server = Server::start_with_resources(
        1,
        event_loops(2),
        |resources| {
            resources.acceptor = Some(acceptor);
            resources.listeners[0].0.scheme = Scheme::Https;
        },
        |_, reply| answer_with_thread(reply),
    );
    let mut kinds: HashMap<String, Vec<HandshakeKind>> = HashMap::new();
    // Open connections, because an event loop takes two more than the others before it leaves one to them.
    let mut streams = Vec::new();
    until("every event loop has resumed a session", || {
        let name = ServerName::try_from("shop.example").unwrap();
        let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = StreamOwned::new(session, server.connect());
        for _ in 0..3 {
            let thread = get(&mut stream, "/").text();
            let kind = stream.conn.handshake_kind().unwrap();
            kinds.entry(thread).or_default().push(kind);
        }
        streams.push(stream);
        let has_resumed = |kinds: &Vec<HandshakeKind>| kinds.contains(&HandshakeKind::Resumed);
        kinds.len() == 2 && kinds.values().all(has_resumed)
    });
    let full = kinds
        .values()
        .flatten()
        .filter(|kind| **kind == HandshakeKind::Full);
    assert_eq!(full.count(), 3, "the requests of the first connection");
}

#[test]
fn streams_stay_in_the_event_loop_of_their_connection() {
    let gate = Arc::new(Barrier::new(2));
    let server = Server::start_with(1, event_loops(2), move |request, reply| {
        if request.head.path() == b"/meet" {
            gate.wait();
        }
        let body = match request.head.path() {
            b"/long" => thread_name().repeat(5000),
            _ => thread_name(),
        };
        answer(reply, body.as_bytes());
    });
    let mut by_thread = HashMap::new();
    let mut others = Vec::new();
    until("every event loop has a connection", || {
        let mut client = h2client::Client::connect(&server, 1000);
        client.get(1, "/");
        let thread = client.finish(1).text();
        others.extend(by_thread.insert(thread, client));
        by_thread.len() == 2
    });
    // Calls of two event loops run at the same time, or they never meet.
    for client in by_thread.values_mut() {
        client.get(3, "/meet");
    }
    for (thread, client) in &mut by_thread {
        assert_eq!(client.finish(3).text(), *thread);
        for stream in [5, 7] {
            client.get(stream, "/long");
            client.grant(stream, 1 << 20);
            client.grant(0, 1 << 20);
        }
    }
    for (thread, client) in &mut by_thread {
        for stream in [5, 7] {
            assert_eq!(client.finish(stream).text(), thread.repeat(5000));
        }
    }
}

fn publish(log: &Log, number: usize) {
    let message = Message {
        channel: "news".to_owned(),
        id: Some(number.to_string()),
        content: Some(Content::Text(format!("message {number}\n"))),
        ..Message::default()
    };
    let mut record = Vec::new();
    message.encode(&mut record);
    log.append(b"news", number.to_string().as_bytes(), &record, 0)
        .unwrap();
}

#[test]
fn a_message_comes_once_to_each_held_response_of_every_event_loop() {
    let plan = LogPlan {
        size: 1 << 16,
        channels: 64,
    };
    let log = Log::new(
        lock_words(plan.lock_words()),
        words(plan.words()),
        plan,
        (1, 2),
    )
    .unwrap();
    let scoreboard = Scoreboard::new(words(Scoreboard::WORDS));
    for count in [1, 2, 3] {
        let server = Server::start_with_resources(
            1,
            counted(count),
            |resources| {
                resources.broadcast = Some(log);
                resources.worker_slot = scoreboard.worker_slot(count);
            },
            |_, reply| {
                let head = reply.head();
                head.set_status(200, b"OK").unwrap();
                head.push(b"X-Thread", thread_name().as_bytes()).unwrap();
                head.push(b"Grip-Hold", b"stream").unwrap();
                head.push(b"Grip-Channel", b"news").unwrap();
                answer_with(reply, b"begin\n");
            },
        );
        let (mut streams, mut threads) = (Vec::new(), HashSet::new());
        until("responses are held in every event loop", || {
            let mut stream = server.connect();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let head = read_to(&mut stream, "begin\n\r\n");
            let thread = head.lines().find(|line| line.starts_with("X-Thread"));
            threads.insert(thread.unwrap().to_owned());
            streams.push(stream);
            threads.len() == count && streams.len() > 4
        });
        until("all wait for messages", || {
            scoreboard.worker(count).unwrap().held == streams.len() as u64
        });
        (0..50).for_each(|number| publish(&log, number));
        for stream in &mut streams {
            let text = read_to(stream, "message 49\n\r\n");
            let found = text.lines().filter(|line| line.starts_with("message"));
            let expected = (0..50).map(|number| format!("message {number}"));
            assert!(found.eq(expected), "{text}");
        }
    }
}

fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn the_cache_is_one_for_all_event_loops() {
    let plan = ResponseStorePlan {
        memory: 1 << 20,
        entry_limit: 1 << 16,
    };
    let store = ResponseStore::new(
        lock_words(plan.lock_words()),
        words(plan.words()),
        &plan,
        (1, 2),
    );
    let (calls, has_asked) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let (counted, asked) = (Arc::clone(&calls), Arc::clone(&has_asked));
    let server = Server::start_with_resources(
        1,
        event_loops(2),
        |resources| resources.responses = store,
        move |request, reply| {
            let path = request.head.path().to_vec();
            if path == b"/" {
                return answer_with_thread(reply);
            }
            let number = counted.fetch_add(1, Ordering::SeqCst);
            if path == b"/slow" {
                until("the others have asked", || asked.load(Ordering::SeqCst));
            }
            let head = reply.head();
            head.set_status(200, b"OK").unwrap();
            head.push(b"Cache-Control", b"max-age=60").unwrap();
            answer_with(reply, number.to_string().as_bytes());
        },
    );
    let mut streams = one_of_each(2, || server.connect());
    let mut get_all = |path: &str| -> Vec<String> {
        let streams = streams.iter_mut();
        streams.map(|stream| get(stream, path).text()).collect()
    };
    for _ in 0..3 {
        assert_eq!(get_all("/page"), ["0", "0"]);
    }
    // What one event loop invalidates (RFC 9111 §4.4), the others do not give.
    for (number, expected) in [(0, ["2", "2"]), (1, ["4", "4"])] {
        let stream = &mut streams[number];
        stream
            .write_all(b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        read_response(stream);
        let found: Vec<_> = (streams.iter_mut())
            .map(|stream| get(stream, "/page").text())
            .collect();
        assert_eq!(found, expected);
    }
    // One call answers all that ask at the same time.
    for stream in &mut streams {
        stream
            .write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    has_asked.store(true, Ordering::SeqCst);
    for stream in &mut streams {
        assert_eq!(read_response(stream).text(), "5");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 6);
}
