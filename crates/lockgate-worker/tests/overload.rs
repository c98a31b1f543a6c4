//! More requests than threads, over real sockets: which are refused, which are dropped, and what the application sees.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "each test uses a part of it")]
mod client;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use client::{PATIENCE, Server, answer, get, read_response};
use lockgate_config::{Config, LogTarget};
use lockgate_worker::{Reply, Request};

/// A call of `/hold` lasts until the test releases it; every other call is only recorded.
#[derive(Default)]
struct Stage {
    state: Mutex<State>,
    has_changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    seen: Vec<String>,
}

impl Stage {
    fn open(&self) {
        self.state.lock().unwrap().is_open = true;
        self.has_changed.notify_all();
    }

    fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }

    fn enter(&self, path: &str) {
        self.state.lock().unwrap().seen.push(path.to_owned());
        self.has_changed.notify_all();
        if path == "/hold" {
            self.wait_until(|state| state.is_open);
        }
    }

    /// Sleeps until `count` calls have begun.
    fn wait_for_calls(&self, count: usize) {
        self.wait_until(|state| state.seen.len() == count);
    }

    fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) = (self.has_changed)
            .wait_timeout_while(state, PATIENCE, |state| !condition(state))
            .unwrap();
        assert!(!timeout.timed_out(), "not within {PATIENCE:?}");
    }
}

fn serve(threads: usize) -> (Server, Arc<Stage>) {
    let stage = Arc::new(Stage::default());
    (Server::start(threads, perform(&stage)), stage)
}

fn serve_with(threads: usize, adjust: impl FnOnce(&mut Config)) -> (Server, Arc<Stage>) {
    let stage = Arc::new(Stage::default());
    let server = Server::start_with(threads, adjust, perform(&stage));
    (server, stage)
}

fn perform(stage: &Arc<Stage>) -> impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static {
    let stage = Arc::clone(stage);
    move |request, reply| {
        let path = String::from_utf8_lossy(request.head.path()).into_owned();
        stage.enter(&path);
        answer(reply, path.as_bytes());
    }
}

fn send(server: &Server, path: &str) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream
}

/// Occupies every thread.
fn hold_all(server: &Server, stage: &Stage, threads: usize) -> Vec<TcpStream> {
    let held: Vec<_> = (0..threads).map(|_| send(server, "/hold")).collect();
    stage.wait_for_calls(threads);
    held
}

/// Returns after the event loop has read all that was sent before; it refuses such a request without a thread.
fn wait_for_event_loop(server: &Server) {
    let mut last = server.connect();
    last.write_all(b"GET / HTTP/9.9\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut last).status, 505);
}

/// Waits for a time that is itself the subject of the test.
fn pass(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until - Instant::now());
    }
}

#[test]
fn a_request_whose_time_is_over_is_refused_while_all_threads_are_busy() {
    const LIMIT: Duration = Duration::from_millis(300);
    let (server, stage) = serve_with(2, |config| config.queue_timeout = Some(LIMIT));
    let held = hold_all(&server, &stage, 2);
    let began = Instant::now();
    let mut late = send(&server, "/late");
    let response = read_response(&mut late);
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after").as_deref(), Some("1"));
    assert!(began.elapsed() >= LIMIT, "not before its time");
    assert!(began.elapsed() < LIMIT * 8, "{:?}", began.elapsed());
    stage.open();
    // The connection itself is in order.
    assert_eq!(response.header("connection"), None);
    assert_eq!(get(&mut late, "/again").text(), "/again");
    for mut stream in held {
        assert_eq!(read_response(&mut stream).text(), "/hold");
    }
    assert_eq!(stage.seen(), ["/hold", "/hold", "/again"]);
}

#[test]
fn with_one_thread_requests_are_refused_when_the_call_before_them_ends() {
    let (server, stage) = serve_with(1, |config| {
        config.queue_timeout = Some(Duration::from_millis(100));
    });
    let mut held = hold_all(&server, &stage, 1);
    let mut late: Vec<_> = (0..5).map(|at| send(&server, &format!("/{at}"))).collect();
    // Half of the time without a poll counts as waiting time.
    pass(Duration::from_millis(400));
    stage.open();
    assert_eq!(read_response(&mut held[0]).text(), "/hold");
    for stream in &mut late {
        assert_eq!(read_response(stream).status, 503);
        assert_eq!(get(stream, "/again").status, 200);
    }
    assert!(stage.seen()[1..].iter().all(|path| path == "/again"));
}

#[test]
fn a_full_queue_refuses_requests_at_once() {
    let (server, stage) = serve_with(2, |config| config.queue_size = 3);
    let held = hold_all(&server, &stage, 2);
    let mut waiting: Vec<_> = (0..3).map(|at| send(&server, &format!("/{at}"))).collect();
    wait_for_event_loop(&server);
    for _ in 0..2 {
        let mut beyond = send(&server, "/beyond");
        let response = read_response(&mut beyond);
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after").as_deref(), Some("1"));
    }
    // A pipelining client is refused as often as it asks, in order, and HEAD gets no body.
    let mut pipelining = server.connect();
    pipelining
        .write_all(&b"GET /p HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50))
        .unwrap();
    for _ in 0..50 {
        assert_eq!(read_response(&mut pipelining).status, 503);
    }
    let mut last = server.connect();
    last.write_all(b"HEAD /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\n"));
    stage.open();
    for stream in held
        .into_iter()
        .chain(waiting.drain(..))
        .collect::<Vec<_>>()
        .iter_mut()
    {
        assert_eq!(read_response(stream).status, 200);
    }
    assert!(!stage.seen().iter().any(|path| path == "/beyond"));
    assert_eq!(get(&mut server.connect(), "/").status, 200);
}

#[test]
fn requests_of_clients_that_closed_while_they_waited_are_not_run() {
    for threads in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("access.log");
        let target = LogTarget::File(log.clone());
        let (server, stage) = serve_with(threads, |config| config.access_log = Some(target));
        let mut held = hold_all(&server, &stage, threads);
        for at in 0..10 {
            let stream = send(&server, &format!("/gone/{at}"));
            if at % 2 == 0 {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        }
        // Clients that closed without a reset count as gone after a while; with one thread, no thread saw them come.
        pass(Duration::from_millis(300));
        stage.open();
        for stream in &mut held {
            assert_eq!(read_response(stream).text(), "/hold");
        }
        assert_eq!(get(&mut server.connect(), "/after").text(), "/after");
        let seen = stage.seen();
        assert!(
            !seen.iter().any(|path| path.starts_with("/gone")),
            "{seen:?}"
        );
        let lines = || std::fs::read_to_string(&log).unwrap_or_default();
        // A reset may discard what the server has not read: then there was no request.
        let has_line = |at: usize| lines().contains(&format!("/gone/{at} "));
        // There is no event for a growing file.
        let deadline = Instant::now() + PATIENCE;
        while !(1..10).step_by(2).all(has_line) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}");
            pass(Duration::from_millis(5));
        }
        let text = lines();
        let mut gone = text.lines().filter(|line| line.contains("/gone/"));
        assert!(gone.all(|line| line.contains(" HTTP/1.1\" 499 ")), "{text}");
    }
}

#[test]
fn a_client_that_half_closes_is_answered_when_its_turn_comes_soon() {
    for threads in [1, 2] {
        let (server, stage) = serve(threads);
        let mut idle = send(&server, "/idle");
        idle.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_response(&mut idle).text(), "/idle");
        // A call has no time limit.
        let mut held = hold_all_but_first(&server, &stage, threads);
        for stream in &mut held {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        pass(Duration::from_millis(200));
        stage.open();
        for stream in &mut held {
            assert_eq!(read_response(stream).text(), "/hold");
        }
    }
}

fn hold_all_but_first(server: &Server, stage: &Stage, threads: usize) -> Vec<TcpStream> {
    let held: Vec<_> = (0..threads).map(|_| send(server, "/hold")).collect();
    stage.wait_for_calls(threads + 1);
    held
}

#[test]
fn a_client_that_half_closed_and_waited_for_long_gets_503() {
    for threads in [1, 2] {
        let (server, stage) = serve(threads);
        let held = hold_all(&server, &stage, threads);
        let mut half = send(&server, "/half");
        half.shutdown(Shutdown::Write).unwrap();
        pass(Duration::from_millis(300));
        stage.open();
        let response = read_response(&mut half);
        assert_eq!(response.status, 503);
        assert_eq!(response.header("retry-after").as_deref(), Some("1"));
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        assert_eq!(half.read(&mut [0]).unwrap(), 0);
        drop(held);
        assert!(!stage.seen().iter().any(|path| path == "/half"));
    }
}

#[test]
fn a_request_that_arrives_with_the_end_of_its_stream_is_dropped_while_it_waits() {
    let (server, stage) = serve(2);
    let mut stream = server.connect();
    assert_eq!(get(&mut stream, "/first").status, 200);
    let held = hold_all_but_first(&server, &stage, 2);
    // One segment has the request and the end of the stream (tcp(7), TCP_CORK), so one event reports both.
    rustix::net::sockopt::set_tcp_cork(&stream, true).unwrap();
    write!(stream, "GET /last HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut stream).status, 503);
    stage.open();
    drop(held);
}

#[test]
fn while_clients_leave_the_newest_are_served_first() {
    for threads in [1, 2] {
        let (server, stage) = serve(threads);
        let held = hold_all(&server, &stage, threads);
        let waiting: Vec<_> = (0..5)
            .map(|at| {
                let stream = send(&server, &format!("/{at}"));
                wait_for_event_loop_if_led(&server, threads);
                stream
            })
            .collect();
        drop(send(&server, "/gone"));
        pass(Duration::from_millis(300));
        stage.open();
        for mut stream in held.into_iter().chain(waiting) {
            assert_eq!(read_response(&mut stream).status, 200);
        }
        let seen = stage.seen();
        assert!(!seen.iter().any(|path| path == "/gone"));
        if threads > 1 {
            // Two threads take them, each the newest first; the system may suspend one that has just taken one.
            assert!(["/4", "/3"].contains(&seen[2].as_str()), "{seen:?}");
            let others: Vec<&String> = seen[2..].iter().filter(|path| *path != "/4").collect();
            assert!(others[0] != "/0" && others[1] != "/0", "{seen:?}");
        }
    }
}

fn wait_for_event_loop_if_led(server: &Server, threads: usize) {
    if threads > 1 {
        wait_for_event_loop(server);
    }
}
