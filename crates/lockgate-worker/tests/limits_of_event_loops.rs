//! Limits, counters and logs of a worker with several event loops: they are those of all its event loops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "this file uses a part of the client")]
mod client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use client::loops::{answer_with_thread, counted, one_of_each, until, words};
use client::{Server, answer, get, read_response};
use lockgate_config::{Config, HostPattern, LogTarget, Networks, Rate, RateKey, RateLimitConfig};
use lockgate_observe::Scoreboard;
use lockgate_shm::{Rates, RatesPlan};

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
