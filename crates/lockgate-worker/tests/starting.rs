//! A worker whose start fails leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::{AppSpec, BindAddress, Config, LogLevel, LogTarget};
use lockgate_worker::app::ThreadBody;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{App, Reply, Request, Worker};

/// An application for which the system starts one thread.
struct OneThread(AtomicU32);

impl App for OneThread {
    fn call(&self, _request: &mut Request, _reply: &mut Reply) {}

    fn spawn(&self, name: String, body: ThreadBody) -> io::Result<()> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => thread::Builder::new().name(name).spawn(body).map(drop),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

#[test]
fn a_worker_that_cannot_start_all_threads_ends_those_that_run_and_closes_its_listeners() {
    let config = Config::with_defaults(AppSpec::Module {
        module: "test".into(),
        attribute: None,
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let bind = BindAddress::Tcp {
        host: "127.0.0.1".into(),
        port: address.port(),
    };
    let app = Arc::new(OneThread(AtomicU32::new(0)));
    let freed = Arc::downgrade(&app);
    let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
    let listeners = vec![(bind.into(), listener.into())];
    let started = Worker::start(Arc::new(config), listeners, app, log);
    assert!(started.is_err());
    let until = Instant::now() + Duration::from_secs(20);
    while freed.strong_count() > 0 {
        assert!(Instant::now() < until, "its thread still runs");
        thread::yield_now();
    }
    assert!(TcpStream::connect(address).is_err());
}
