//! What counts for a worker with several event loops as for one with one: TLS sessions, HTTP/2, held responses, the
//! cache, limits, counters and logs.
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
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use client::loops::{answer_with_thread, event_loops, one_of_each, thread_name, until};
use client::{Server, answer, answer_with, get, read_response};
use lockgate_config::{
    Config, HostPattern, LogTarget, Networks, Rate, RateKey, RateLimitConfig, Scheme,
};
use lockgate_observe::Scoreboard;
use lockgate_push::{Content, Message};
use lockgate_shm::responses::{ResponseStore, ResponseStorePlan};
use lockgate_shm::{Log, LogPlan, Rates, RatesPlan};
use lockgate_tls::{
    Acceptor, Board, Certificate, Material, ServerSettings, TicketKeys, self_signed,
};
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

fn words(count: usize) -> &'static [AtomicU64] {
    Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect())
}

fn lock_words(count: usize) -> &'static [AtomicU32] {
    Vec::leak((0..count).map(|_| AtomicU32::new(0)).collect())
}

/// Event loops whose numbers something reads.
fn counted(count: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.event_loops = count;
        config.admin_bind = Some(lockgate_config::BindAddress::Unix("/unused".into()));
    }
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

fn limit(rates: Vec<Rate>, concurrency: Option<u32>) -> RateLimitConfig {
    RateLimitConfig {
        name: "test".to_owned(),
        host: HostPattern::Any,
        path: "/limited".to_owned(),
        methods: Vec::new(),
        key: RateKey::Address,
        rates,
        burst: None,
        concurrency: concurrency.and_then(NonZeroU32::new),
        is_dry_run: false,
    }
}

/// The table of all workers, and the one that a worker without a supervisor makes.
fn tables() -> [Option<Rates>; 2] {
    let plan = RatesPlan {
        memory: 1 << 20,
        workers: 4,
    };
    let table = Rates::new(words(plan.words()), &plan, (1, 2));
    assert!(table.is_some());
    [table, None]
}

#[test]
fn a_rate_is_that_of_all_event_loops() {
    for rates in tables() {
        let rate = Rate {
            count: NonZeroU32::new(11).unwrap(),
            period: Duration::from_secs(24 * 3600),
        };
        let adjust = |config: &mut Config| {
            config.event_loops = 2;
            config.routes.rate_limits = vec![limit(vec![rate], None)];
        };
        let server = Server::start_with_resources(
            1,
            adjust,
            |resources| resources.rates = rates,
            |_, reply| answer_with_thread(reply),
        );
        let mut streams = one_of_each(2, || server.connect());
        let statuses: Vec<u16> = (0..20)
            .map(|number| get(&mut streams[number % 2], "/limited").status)
            .collect();
        let expected: Vec<u16> = [[200; 11].as_slice(), &[429; 9]].concat();
        assert_eq!(statuses, expected, "{}", rates.is_some());
    }
}

#[test]
fn requests_in_flight_are_counted_in_all_event_loops() {
    for rates in tables() {
        let (running, is_over) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (count, over) = (Arc::clone(&running), Arc::clone(&is_over));
        let adjust = |config: &mut Config| {
            config.event_loops = 2;
            config.routes.rate_limits = vec![limit(Vec::new(), Some(3))];
        };
        let server = Server::start_with_resources(
            8,
            adjust,
            |resources| resources.rates = rates,
            move |_, reply| {
                count.fetch_add(1, Ordering::SeqCst);
                until("the end", || over.load(Ordering::SeqCst));
                answer(reply, b"");
            },
        );
        let ask = || {
            let mut stream = server.connect();
            stream
                .write_all(b"GET /limited HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            stream
        };
        let mut waiting: Vec<TcpStream> = (0..3).map(|_| ask()).collect();
        until("three are in flight", || {
            running.load(Ordering::SeqCst) == 3
        });
        for _ in 0..9 {
            assert_eq!(read_response(&mut ask()).status, 429);
        }
        is_over.store(true, Ordering::SeqCst);
        for stream in &mut waiting {
            assert_eq!(read_response(stream).status, 200);
        }
        // Their places are free again, in whichever event loop they were.
        for _ in 0..9 {
            until("a place is free", || {
                read_response(&mut ask()).status == 200
            });
        }
    }
}

#[test]
fn connections_of_an_address_are_counted_in_all_event_loops() {
    let adjust = |config: &mut Config| {
        config.event_loops = 2;
        config.limits.connections_per_address = 8;
        // By default loopback is that of proxies, whose connections do not count.
        config.proxies.trusted = Networks::default();
    };
    let scoreboard = Scoreboard::new(words(Scoreboard::WORDS));
    let server = Server::start_with_resources(
        1,
        adjust,
        |resources| resources.worker_slot = scoreboard.worker_slot(0),
        |_, reply| answer_with_thread(reply),
    );
    let mut streams = Vec::new();
    for left in [0, 6, 3] {
        // The others are closed.
        streams.truncate(left);
        until("the places are free again", || {
            let worker = scoreboard.worker(0).unwrap();
            worker.connections == left as u64
        });
        while streams.len() < 8 {
            streams.push(server.connect());
            assert_eq!(get(streams.last_mut().unwrap(), "/").status, 200);
        }
        for _ in 0..4 {
            assert_eq!(read_response(&mut server.connect()).status, 429);
        }
    }
}

#[test]
fn a_full_worker_closes_an_idle_connection_of_any_event_loop() {
    let (running, is_over) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let (count, over) = (Arc::clone(&running), Arc::clone(&is_over));
    let adjust = |config: &mut Config| {
        config.event_loops = 2;
        config.worker_connections = 6;
        config.keep_alive = Duration::from_secs(3600);
    };
    let server = Server::start_with(8, adjust, move |request, reply| {
        if request.head.path() == b"/wait" {
            count.fetch_add(1, Ordering::SeqCst);
            until("the end", || over.load(Ordering::SeqCst));
        }
        answer(reply, b"");
    });
    // Some of them are idle, in one event loop or in both; the others are in calls.
    let mut idle: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut idle {
        assert_eq!(get(stream, "/").status, 200);
    }
    let mut waiting = Vec::new();
    for number in 1..=6 {
        let mut stream = server.connect();
        stream
            .write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        waiting.push(stream);
        // The last two take the places of those that are idle, whichever event loop the kernel wakes.
        until("the call", || running.load(Ordering::SeqCst) == number);
    }
    for stream in &mut idle {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    is_over.store(true, Ordering::SeqCst);
    for stream in &mut waiting {
        assert_eq!(read_response(stream).status, 200);
    }
}

#[test]
fn counters_and_running_requests_of_a_worker_are_those_of_all_event_loops() {
    let scoreboard = Scoreboard::new(words(Scoreboard::WORDS));
    let slot = 3;
    let server = Server::start_with_resources(
        2,
        counted(2),
        |resources| resources.worker_slot = scoreboard.worker_slot(slot),
        move |request, reply| {
            // As a thread of the application finds its own request, to record that it has failed.
            let own = u64::from(lockgate_worker::os::thread_id());
            let mut entries = scoreboard.entries(slot);
            let entry = entries.find(|entry| entry.current().is_some_and(|(tid, _)| tid == own));
            let running = entry.and_then(|entry| entry.read()?.request);
            let target = running.map_or(Vec::new(), |running| running.target);
            assert_eq!(target, request.head.target());
            answer(reply, &target);
        },
    );
    let mut streams: Vec<TcpStream> = (0..12).map(|_| server.connect()).collect();
    for number in 0..120 {
        let path = format!("/{number}");
        assert_eq!(get(&mut streams[number % 12], &path).text(), path);
    }
    until("all are counted", || {
        let worker = scoreboard.worker(slot).unwrap();
        (
            worker.connections,
            worker.requests,
            worker.totals.classes[1],
        ) == (12, 120, 120)
    });
    assert_eq!(scoreboard.workers().count(), 1);
    assert_eq!(scoreboard.serving().count(), 1);
}

#[test]
fn the_access_log_has_every_request_once_whichever_event_loop_has_answered_it() {
    let directory = tempfile::tempdir().unwrap();
    let (file, old) = (
        directory.path().join("access"),
        directory.path().join("old"),
    );
    for count in [1, 2] {
        let target = LogTarget::File(file.clone());
        let adjust = |config: &mut Config| {
            config.event_loops = count;
            config.access_log = Some(target);
            config.access_log_format = "%(r)s %(s)s".to_owned();
        };
        let server = Server::start_with(2, adjust, |_, reply| answer_with_thread(reply));
        thread::scope(|scope| {
            for client in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..100 {
                        let mut stream = server.connect();
                        get(&mut stream, &format!("/{client}/{number}"));
                    }
                });
            }
            std::fs::rename(&file, &old).unwrap();
            server.handle.reopen_logs();
        });
        server.handle.drain();
        until("the worker has finished", || server.handle.is_finished());
        let read = |path| std::fs::read_to_string(path).unwrap();
        let text = read(&old) + &read(&file);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let mut expected: Vec<String> = (0..800)
            .map(|number| format!("GET /{}/{} HTTP/1.1 200", number / 100, number % 100))
            .collect();
        expected.sort_unstable();
        assert_eq!(lines, expected, "{count} event loops");
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(&old).unwrap();
    }
}
