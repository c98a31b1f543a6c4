//! A panic outside of a request ends the worker, which logs why: a worker never looks alive without one of its parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[allow(dead_code, reason = "this file uses a part of the client")]
mod client;

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use client::{Server, answer, get, read_response};
use lockgate_config::{Config, LogLevel, LogTarget};
use lockgate_worker::app::IfDue;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Handle, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where the application panics, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Call,
    BetweenTurns,
    Stack,
    Interrupt,
}

struct Panicking(Place);

impl App for Panicking {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        match request.head.path() {
            b"/panic" if self.0 == Place::Call => panic!("in a call"),
            // Longer than the deadlines of the test.
            b"/slow" => std::thread::sleep(Duration::from_secs(2)),
            _ => {}
        }
        answer(reply, b"done");
    }

    fn between_turns(&self, _release: &dyn Fn()) {
        assert!(self.0 != Place::BetweenTurns, "between turns");
    }

    fn stack(&self, _thread: u64) -> Option<String> {
        assert!(self.0 != Place::Stack, "in a stack sample");
        None
    }

    fn interrupt(&self, _thread: u64, if_due: IfDue<'_>) -> Option<String> {
        assert!(self.0 != Place::Interrupt, "in an interruption");
        if_due(false, &mut || {});
        None
    }
}

fn has_finished(handle: &Handle, within: Duration) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(
        handle.finished_fd(),
        PollFlags::IN,
    )];
    let within = Timespec::try_from(within).unwrap();
    poll(&mut watched, Some(&within)).unwrap() == 1
}

/// One test, because the panic hook is global to the process.
#[test]
fn a_panic_costs_a_request_or_ends_a_worker_that_logs_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.log");
    let log = Arc::new(ErrorLog::open(&LogTarget::File(path.clone()), LogLevel::Info).unwrap());
    log.report_panics();
    for threads in [1, 2, 8] {
        for (place, target, logged) in [
            (Place::Call, "/panic", "in a call"),
            (Place::BetweenTurns, "/", "between turns"),
            (Place::Stack, "/slow", "in a stack sample"),
            (Place::Interrupt, "/slow", "in an interruption"),
        ] {
            let case = format!("{place:?}, {threads} threads");
            let adjust = |config: &mut Config| {
                config.threads =
                    lockgate_config::Threads::Count(NonZeroUsize::new(threads).unwrap());
                match place {
                    Place::Stack => config.slow_request = Some(Duration::from_millis(100)),
                    Place::Interrupt => config.request_timeout = Some(Duration::from_millis(100)),
                    Place::Call | Place::BetweenTurns => {}
                }
            };
            let server = Server::start_app(adjust, Panicking(place), Arc::clone(&log));
            let mut stream = server.connect();
            write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            if place == Place::Call {
                assert_eq!(read_response(&mut stream).status, 500, "{case}");
                assert_eq!(get(&mut server.connect(), "/").text(), "done", "{case}");
                assert!(!server.handle.has_failed(), "{case}");
            } else {
                assert!(
                    has_finished(&server.handle, Duration::from_secs(20)),
                    "{case}"
                );
                assert!(server.handle.has_failed(), "{case}");
            }
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("panic in thread"), "{case}: {text}");
            assert!(text.contains(logged), "{case}: {text}");
            let reasons = text.matches("this worker ends and is replaced").count();
            assert_eq!(reasons, usize::from(place != Place::Call), "{case}: {text}");
            fs::write(&path, "").unwrap();
        }
    }
}
