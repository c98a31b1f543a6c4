//! A worker with several event loops, over real sockets, with Rust functions as its application.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "this file uses a part of the client")]
mod client;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use client::loops::{answer_with_thread, event_loops, one_of_each, until};
use client::{Server, answer, get, read_response};
use lockgate_config::{Config, LogLevel, LogTarget};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Reply, Request};

/// Threads of each event loop.
const THREADS: [usize; 3] = [1, 2, 8];

/// The event loops in which these connections are, by a thread of each: with one thread, an event loop runs all calls
/// on it.
fn threads_of(server: &Server, connections: usize) -> HashMap<String, Vec<TcpStream>> {
    let mut by_thread: HashMap<String, Vec<TcpStream>> = HashMap::new();
    for _ in 0..connections {
        let mut stream = server.connect();
        let thread = get(&mut stream, "/").text();
        by_thread.entry(thread).or_default().push(stream);
    }
    by_thread
}

/// Connects and asks for this path until the condition holds.
fn ask_until(
    server: &Server,
    path: &str,
    what: &str,
    condition: impl Fn() -> bool,
) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    until(what, || {
        let mut stream = server.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        streams.push(stream);
        thread::sleep(Duration::from_millis(10));
        condition()
    });
    streams
}

#[test]
fn connections_are_spread_over_all_event_loops_as_evenly_as_over_workers() {
    for count in [2, 4] {
        // On a busy machine an event loop may be absent until others have taken its part.
        let is_even = (0..10).any(|_| {
            let server =
                Server::start_with(1, event_loops(count), |_, reply| answer_with_thread(reply));
            let mut by_thread = threads_of(&server, 12 * count);
            // Each connection stays where it is.
            for (thread, streams) in &mut by_thread {
                for stream in streams {
                    assert_eq!(&get(stream, "/").text(), thread);
                }
            }
            // The bound of the balance between workers: an eighth and two more than the mean.
            let most = by_thread.values().map(Vec::len).max();
            by_thread.len() == count && most <= Some(12 + 12 / 8 + 3)
        });
        assert!(is_even, "{count} event loops");
    }
}

#[test]
fn calls_of_different_event_loops_run_at_the_same_time() {
    let gate = Arc::new(Barrier::new(2));
    let at_gate = Arc::clone(&gate);
    let server = Server::start_with(1, event_loops(2), move |request, reply| {
        if request.head.path() == b"/meet" {
            at_gate.wait();
        }
        answer_with_thread(reply);
    });
    let mut streams = one_of_each(2, || server.connect());
    for stream in &mut streams {
        stream
            .write_all(b"GET /meet HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_response(stream).status, 200);
    }
}

#[test]
fn many_clients_get_every_response_once_from_several_event_loops() {
    for threads in THREADS {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let server = Server::start_with(threads, event_loops(3), move |request, reply| {
            counted.fetch_add(1, Ordering::Relaxed);
            let target = request.head.target().to_vec();
            answer(reply, &target);
        });
        thread::scope(|scope| {
            for client in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    for round in 0..6 {
                        let mut stream = server.connect();
                        for request in 0..10 {
                            let path = format!("/{client}/{round}/{request}");
                            assert_eq!(get(&mut stream, &path).text(), path);
                        }
                    }
                });
            }
        });
        assert_eq!(
            calls.load(Ordering::Relaxed),
            8 * 6 * 10,
            "{threads} threads"
        );
    }
}

#[test]
fn a_drain_finishes_the_requests_of_every_event_loop() {
    for threads in THREADS {
        let running = Arc::new(AtomicUsize::new(0));
        let is_free = Arc::new(AtomicBool::new(false));
        let (count, free) = (Arc::clone(&running), Arc::clone(&is_free));
        let server = Server::start_with(threads, event_loops(2), move |request, reply| {
            if request.head.path() == b"/wait" {
                count.fetch_add(1, Ordering::SeqCst);
                until("the drain", || free.load(Ordering::SeqCst));
            }
            answer_with_thread(reply);
        });
        let mut streams = ask_until(&server, "/wait", "both event loops are in calls", || {
            running.load(Ordering::SeqCst) == 2 * threads
        });
        server.handle.drain();
        assert!(!server.handle.is_finished());
        is_free.store(true, Ordering::SeqCst);
        for stream in &mut streams {
            assert_eq!(read_response(stream).status, 200, "{threads} threads");
        }
        until("the worker has finished", || server.handle.is_finished());
        assert!(!server.handle.has_failed());
        assert!(
            TcpStream::connect(server.address).is_err(),
            "a listener is left"
        );
    }
}

#[test]
fn a_stop_ends_every_event_loop_while_all_are_in_calls() {
    for threads in [1, 2] {
        let running = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, over) = (Arc::clone(&running), Arc::clone(&is_over));
        let server = Server::start_with(threads, event_loops(2), move |request, reply| {
            if request.head.path() == b"/wait" {
                count.fetch_add(1, Ordering::SeqCst);
                until("the end", || over.load(Ordering::SeqCst));
            }
            answer(reply, b"");
        });
        let _streams = ask_until(&server, "/wait", "all threads are in calls", || {
            running.load(Ordering::SeqCst) == 2 * threads
        });
        server.handle.stop();
        until("the worker has finished", || server.handle.is_finished());
        assert!(
            TcpStream::connect(server.address).is_err(),
            "a listener is left"
        );
        is_over.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_retiring_worker_says_on_every_connection_that_it_is_the_last_response() {
    let server = Server::start_with(2, event_loops(2), |_, reply| answer_with_thread(reply));
    let mut streams: Vec<TcpStream> = (0..16).map(|_| server.connect()).collect();
    for stream in &mut streams {
        assert_eq!(get(stream, "/").header("connection"), None);
    }
    server.handle.retire();
    until("no event loop accepts", || {
        TcpStream::connect(server.address).is_err()
    });
    for stream in &mut streams {
        let response = get(stream, "/");
        assert_eq!(response.header("connection").as_deref(), Some("close"));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    until("the worker has finished", || server.handle.is_finished());
}

/// Panics between two turns of the event loop whose thread has run this request.
struct Panicking(Mutex<Option<ThreadId>>);

impl App for Panicking {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        if request.head.path() == b"/panic" {
            *self.0.lock().unwrap() = Some(thread::current().id());
        }
        answer_with_thread(reply);
    }

    fn between_turns(&self, _release: &dyn Fn()) {
        let panics = *self.0.lock().unwrap() == Some(thread::current().id());
        assert!(!panics, "provoked by a test");
    }
}

#[test]
fn a_panic_in_one_event_loop_ends_the_whole_worker() {
    let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
    for threads in THREADS {
        let adjust = |config: &mut Config| {
            config.event_loops = 2;
            config.threads = lockgate_config::Threads::Count(threads.try_into().unwrap());
        };
        let server = Server::start_app(adjust, Panicking(Mutex::default()), Arc::clone(&log));
        let mut streams: Vec<TcpStream> = (0..16).map(|_| server.connect()).collect();
        for stream in &mut streams {
            assert_eq!(get(stream, "/").status, 200);
        }
        // The response may be lost with the worker.
        streams[0]
            .write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        until("the worker has finished", || server.handle.is_finished());
        assert!(server.handle.has_failed(), "{threads} threads");
    }
}

#[test]
fn an_event_loop_whose_only_thread_is_in_a_call_is_noticed_although_others_serve() {
    let (has_begun, is_over) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
    let (begun, over) = (Arc::clone(&has_begun), Arc::clone(&is_over));
    let server = Server::start_with(1, event_loops(2), move |request, reply| {
        if request.head.path() == b"/stuck" {
            begun.store(true, Ordering::SeqCst);
            until("the end", || over.load(Ordering::SeqCst));
        }
        answer_with_thread(reply);
    });
    let limit = Duration::from_millis(200);
    let mut streams = one_of_each(2, || server.connect());
    assert!(!server.handle.is_stuck(limit));
    streams[0]
        .write_all(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // Otherwise the next connection may still come to the same event loop.
    until("the call", || has_begun.load(Ordering::SeqCst));
    until("the call is noticed", || {
        // The event loop that is free accepts it.
        assert_eq!(get(&mut server.connect(), "/").status, 200);
        server.handle.is_stuck(limit)
    });
    assert_eq!(get(&mut streams[1], "/").status, 200);
    is_over.store(true, Ordering::SeqCst);
    until("it is over", || !server.handle.is_stuck(limit));
    assert_eq!(read_response(&mut streams[0]).status, 200);
}

#[test]
fn connections_of_all_event_loops_count_for_the_workers_limit() {
    let running = Arc::new(AtomicUsize::new(0));
    let is_free = Arc::new(AtomicBool::new(false));
    let (count, free) = (Arc::clone(&running), Arc::clone(&is_free));
    let adjust = |config: &mut Config| {
        config.event_loops = 2;
        config.worker_connections = 6;
    };
    let server = Server::start_with(8, adjust, move |_, reply| {
        count.fetch_add(1, Ordering::SeqCst);
        until("the last connection", || free.load(Ordering::SeqCst));
        answer(reply, b"");
    });
    let mut streams = Vec::new();
    for number in 1..=7 {
        let mut stream = server.connect();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        streams.push(stream);
        until("the call", || {
            running.load(Ordering::SeqCst) == number.min(6)
        });
    }
    // None of the six is idle, so the seventh waits until one of them ends.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(running.load(Ordering::SeqCst), 6);
    is_free.store(true, Ordering::SeqCst);
    for mut stream in streams {
        assert_eq!(read_response(&mut stream).status, 200);
    }
}
