//! The server with a Rust function as its application: measures the cost of the event loop and the HTTP engine alone.
//!
//! `constant PORT [THREADS] [SLEEP_MICROSECONDS]` answers every request with the same thirteen bytes on 127.0.0.1.
//! The variable EVENT_LOOPS sets the number of event loops, and COMPUTE how many microseconds of CPU time each call
//! takes before it answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a program for measuring, not a part of the server"
)]

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{AppSpec, BindAddress, Config, LogLevel, LogTarget, Threads};
use lockgate_http::BodyLength;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Reply, Request, Worker};
use rustix::time::{ClockId, clock_gettime};

struct Constant {
    sleep: Duration,
    /// Steps of a computation.
    steps: u64,
}

/// SplitMix64, as often as `steps` says: work that touches no memory.
fn compute(steps: u64) -> u64 {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for step in 0..steps {
        word = (word ^ (word >> 30))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .wrapping_add(step);
    }
    std::hint::black_box(word)
}

/// How many steps take this much CPU time, measured once.
fn steps_of(time: Duration) -> u64 {
    const TRIED: u64 = 50_000_000;
    let began = cpu_seconds();
    compute(std::hint::black_box(TRIED));
    let per_step = (cpu_seconds() - began) / TRIED as f64;
    (time.as_secs_f64() / per_step) as u64
}

/// The CPU time of this thread.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn number_in_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

impl App for Constant {
    fn call(&self, _request: &mut Request, reply: &mut Reply) {
        if !self.sleep.is_zero() {
            std::thread::sleep(self.sleep);
        }
        compute(self.steps);
        let body = b"Hello, World!";
        let head = reply.head();
        head.set_status(200, b"OK").expect("a valid status");
        head.push(b"Content-Type", b"text/plain")
            .expect("a valid header");
        reply.start(BodyLength::Known(body.len() as u64));
        if reply.send_copy(body).is_ok() {
            let _ = reply.finish();
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8000);
    let threads = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .and_then(NonZeroUsize::new);
    let sleep = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .map_or(Duration::ZERO, Duration::from_micros);
    let mut config = Config::with_defaults(AppSpec::Module {
        module: "constant".into(),
        attribute: None,
    });
    config.threads = threads.map_or(Threads::Auto, Threads::Count);
    config.event_loops = number_in_environment("EVENT_LOOPS").unwrap_or(1);
    let steps = number_in_environment("COMPUTE")
        .map_or(0, |micros| steps_of(Duration::from_micros(micros as u64)));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    rustix::net::sockopt::set_tcp_nodelay(&listener, true).expect("a TCP socket");
    let bind = BindAddress::Tcp {
        host: "127.0.0.1".into(),
        port,
    };
    let error_log = Arc::new(
        ErrorLog::open(&LogTarget::Stderr, LogLevel::Info).expect("standard error is open"),
    );
    let app = Arc::new(Constant { sleep, steps });
    let handle = Worker::start(
        Arc::new(config),
        vec![(bind.into(), listener.into())],
        app,
        error_log,
    )
    .expect("a worker");
    eprintln!("serving on 127.0.0.1:{port}, each call computes {steps} steps");
    while !handle.is_finished() {
        std::thread::sleep(Duration::from_millis(100));
    }
}
