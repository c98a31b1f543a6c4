//! The identity of requests over real sockets: every response has the id that the application and the log have.
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

use std::io::Write;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{PATIENCE, Server, answer, read_response};
use h2client::Client;
use lockgate_config::{Config, LogLevel, LogTarget, Networks};
use lockgate_observe::{SpanRecord, SpanText};
use lockgate_shm::{Cursor, Log, LogPlan, Read};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

/// What the application gets of one field.
fn seen(request: &Request, name: &str) -> String {
    let values: Vec<String> = (request.head.headers())
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect();
    values.join("|")
}

/// The application answers with the id that it gets, or does what the path says.
fn start(adjust: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(
        2,
        |config| {
            config.identity.request_id = true;
            adjust(config);
        },
        |request, reply| {
            let id = seen(request, "x-request-id");
            match request.head.path() {
                b"/own" => {
                    reply
                        .head()
                        .push(b"x-request-id", b"of-the-application")
                        .unwrap();
                }
                b"/late" => std::thread::sleep(Duration::from_millis(300)),
                _ => {}
            }
            if request.head.path() == b"/late" {
                return;
            }
            answer(reply, id.as_bytes());
        },
    )
}

fn is_made(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// All values of a field of a response.
fn ids(headers: &[(String, String)]) -> Vec<&str> {
    let ids = headers.iter().filter(|(name, _)| name == "x-request-id");
    ids.map(|(_, value)| &**value).collect()
}

#[test]
fn the_application_and_the_response_have_one_id() {
    for is_trusted in [true, false] {
        let server = start(|config| {
            if !is_trusted {
                config.proxies.trusted = Networks::default();
            }
        });
        let mut stream = server.connect();
        let mut http2 = Client::connect(&server, 1 << 20);
        let long = "x".repeat(100);
        let cases: [(&str, &str, bool); 6] = [
            ("/", "", false),
            ("/", "abc", true),
            ("/own", "abc", true),
            ("/own", "", false),
            ("/", &long, true),
            ("/", "not an id", false),
        ];
        for (index, (path, sent, is_taken)) in cases.into_iter().enumerate() {
            let field = match sent {
                "" => String::new(),
                id => format!("X-Request-Id: {id}\r\n"),
            };
            write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n").unwrap();
            let over_http1 = read_response(&mut stream);
            let fields = [("x-request-id", sent)];
            let fields = if sent.is_empty() { &[][..] } else { &fields };
            let number = 2 * index as u32 + 1;
            http2.request(number, "GET", path, fields, true);
            let over_http2 = http2.finish(number);
            for (headers, body) in [
                (&over_http1.headers, over_http1.text()),
                (&over_http2.headers, over_http2.text()),
            ] {
                let ids = ids(headers);
                assert_eq!(ids, [&*body], "{path} {sent}");
                match is_taken && is_trusted {
                    true => assert_eq!(body, sent),
                    false => assert!(is_made(&body), "{path} {sent}: {body}"),
                }
            }
        }
    }
}

#[test]
fn responses_of_the_server_itself_have_ids_of_their_own() {
    let server = start(|config| config.request_timeout = Some(Duration::from_millis(50)));
    let mut seen = Vec::new();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        // The head is faulty: its id is never taken, nor that of an earlier request on the connection.
        ("GET / HTTP/1.1\r\nX-Request-Id: of-the-client\r\n\r\n", 400),
        ("GET /%0\r\n", 400),
        ("GET /late HTTP/1.1\r\nHost: a\r\n\r\n", 504),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ] {
        let mut stream = server.connect();
        write!(stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n{request}").unwrap();
        let first = read_response(&mut stream);
        let second = read_response(&mut stream);
        assert_eq!(second.status, status, "{request:?}");
        for response in [first, second] {
            let ids = ids(&response.headers);
            assert!(ids.len() == 1 && is_made(ids[0]), "{request:?}: {ids:?}");
            seen.push(ids[0].to_owned());
        }
    }
    let mut http2 = Client::connect(&server, 1 << 20);
    for (stream, method, path, status) in [
        (1, "GET", "/late", "504"),
        (3, "OPTIONS", "*", "200"),
        (5, "CONNECT-NOT", "/ a", "400"),
    ] {
        http2.request(stream, method, path, &[], true);
        let response = http2.finish(stream);
        if response.reset.is_some() {
            continue;
        }
        assert_eq!(response.status, status, "{path}");
        let ids = ids(&response.headers);
        assert!(ids.len() == 1 && is_made(ids[0]), "{path}: {ids:?}");
        seen.push(ids[0].to_owned());
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "each request has an id of its own");
}

struct Echo(Arc<Mutex<Vec<String>>>);

impl App for Echo {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        let id = request.id().unwrap_or("none").to_owned();
        self.0.lock().unwrap().push(id.clone());
        std::thread::sleep(Duration::from_millis(5));
        answer(reply, id.as_bytes());
    }
}

#[test]
fn logs_name_the_id() {
    let directory = tempfile::tempdir().unwrap();
    let (access, errors) = (
        directory.path().join("access"),
        directory.path().join("errors"),
    );
    let log = ErrorLog::open(&LogTarget::File(errors.clone()), LogLevel::Info).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start_app(
        |config| {
            config.identity.request_id = true;
            config.access_log = Some(LogTarget::File(access.clone()));
            config.access_log_format = "%(I)s %(s)s".into();
            config.slow_request = Some(Duration::from_millis(1));
        },
        Echo(Arc::clone(&seen)),
        Arc::new(log),
    );
    let mut stream = server.connect();
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answered = read_response(&mut stream);
    write!(stream, "GET / HTTP/1.1\r\n\r\n").unwrap();
    let refused = read_response(&mut stream);
    drop(stream);
    // The watcher writes it.
    let deadline = Instant::now() + PATIENCE;
    let mut errors_found = String::new();
    while !errors_found.contains("Slow request") && Instant::now() < deadline {
        errors_found = std::fs::read_to_string(&errors).unwrap();
        std::thread::yield_now();
    }
    server.handle.drain();
    let finished = server.handle.finished_fd();
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut watched = [PollFd::new(&finished, PollFlags::IN)];
    assert_eq!(poll(&mut watched, Some(&patience)), Ok(1));
    let id = seen.lock().unwrap().join(" ");
    let refused = ids(&refused.headers)[0].to_owned();
    assert_eq!(ids(&answered.headers), [&*id]);
    let lines = std::fs::read_to_string(access).unwrap();
    assert_eq!(lines, format!("{id} 200\n{refused} 400\n"));
    assert!(
        errors_found.contains(&format!("GET / of 127.0.0.1 (id {id}) took")),
        "{errors_found}"
    );
}

/// The spans that are recorded, by path.
fn spans(log: Log, cursor: &mut Cursor, count: usize) -> Vec<(String, SpanRecord<Vec<u8>>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while found.len() < count && Instant::now() < deadline {
        let mut record = Vec::new();
        if let Read::Record { .. } = log.read(cursor, &mut record) {
            let span = SpanRecord::decode(&record).unwrap();
            let path = String::from_utf8_lossy(span.text(SpanText::Path)).into_owned();
            let texts = span.texts.map(<[u8]>::to_vec);
            let owned = SpanRecord {
                trace_id: span.trace_id,
                span_id: span.span_id,
                parent_id: span.parent_id,
                flags: span.flags,
                began: span.began,
                duration: span.duration,
                queued: span.queued,
                queued_before: span.queued_before,
                status: span.status,
                is_https: span.is_https,
                lost_before: span.lost_before,
                texts,
            };
            found.push((path, owned));
        } else {
            std::thread::yield_now();
        }
    }
    found
}

#[test]
fn a_sampled_request_is_recorded_as_a_span() {
    let plan = LogPlan {
        size: 1 << 20,
        channels: 1,
    };
    let locks: Vec<AtomicU32> = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
    let words: Vec<AtomicU64> = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    let log = Log::new(Vec::leak(locks), Vec::leak(words), plan, (1, 2)).unwrap();
    let server = Server::start_with_spans(log, |config| config.identity.trace = true);
    let mut cursor = log.head();
    let mut stream = server.connect();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-0";
    for (path, fields) in [
        ("/1", format!("traceparent: {parent}1\r\n")),
        ("/2", format!("traceparent: {parent}0\r\n")),
        (
            "/3?q",
            "X-Request-Start: t=1\r\nUser-Agent: me\r\n".to_owned(),
        ),
    ] {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a:1\r\n{fields}\r\n").unwrap();
        assert_eq!(read_response(&mut stream).status, 200);
    }
    write!(stream, "GET /4 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut stream).status, 400);
    let mut http2 = Client::connect(&server, 1 << 20);
    http2.get(1, "/5");
    assert_eq!(http2.finish(1).status, "200");
    let found = spans(log, &mut cursor, 3);
    let paths: Vec<&str> = found.iter().map(|(path, _)| &**path).collect();
    // Neither the trace that its sender does not sample, nor the head that never was a request.
    assert_eq!(paths, ["/1", "/3", "/5"]);
    let [(_, first), (_, third), (_, fifth)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(first.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!((first.parent_id, first.flags), (0xb7ad_6b71_6920_3331, 1));
    assert_eq!(
        (third.parent_id, third.status, third.queued_before),
        (0, 200, 0)
    );
    for (text, expected) in [
        (SpanText::Method, "GET"),
        (SpanText::Query, "q"),
        (SpanText::Host, "a:1"),
        (SpanText::Client, "127.0.0.1"),
        (SpanText::Protocol, "HTTP/1.1"),
        (SpanText::UserAgent, "me"),
        (SpanText::RequestId, ""),
        (SpanText::Failure, ""),
    ] {
        assert_eq!(third.text(text), expected.as_bytes(), "{text:?}");
    }
    assert_eq!(fifth.text(SpanText::Protocol), b"HTTP/2.0");
    let day = 86_400_000_000_000;
    let now = clock_gettime(ClockId::Realtime);
    let now = Duration::try_from(now).unwrap().as_nanos() as u64;
    assert!(first.began <= now && now - first.began < day, "{first:?}");
    assert!(first.duration < day);
}
