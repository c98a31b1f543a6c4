//! Test doubles, to prove that the interfaces admit what is not a plain socket or a plain answer: a transport that
//! behaves like TLS below HTTP/1 and HTTP/2, handlers, a connection that is taken over.
#![cfg(test)]

mod endless_reader;
mod endless_sender;
mod handlers;
mod held_websocket;
mod http2;
mod push;
mod take_over;
mod tls;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockgate_config::{AppSpec, Config, LogLevel, LogTarget, Threads};
use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use crate::app::App;
use crate::connection::inbox::{Returned, StopMode};
use crate::event_loop::EventLoop;
use crate::exchange::answer::Answer;
use crate::exchange::prepared::Prepared;
use crate::exchange::request::Request;
use crate::exchange::response::Reply;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, Presence, PresenceCheck, ResponseWriter,
    Sent,
};
use crate::log::ErrorLog;
use crate::transport::Transport;
use crate::transport::outbox::SharedBytes;
use crate::worker::{Handle, Worker};
use lockgate_files::SharedFile;

/// How the request of a [`Client`] ended in the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Answered(u16),
    Dropped(DropReason),
}

/// A client that only stays or leaves.
pub struct Client {
    presence: Presence,
    ended: Arc<Mutex<Vec<Ended>>>,
}

impl Client {
    pub fn new(presence: Presence) -> Self {
        Self::recorded(presence, &Arc::default())
    }

    /// Its end is recorded.
    pub fn recorded(presence: Presence, ended: &Arc<Mutex<Vec<Ended>>>) -> Self {
        let ended = Arc::clone(ended);
        Self { presence, ended }
    }
}

impl ResponseWriter for Client {
    fn start(&mut self, _: &ResponseHead, _: BodyLength) {}
    fn allows_body(&self) -> bool {
        true
    }
    fn send_copy(&mut self, _: &[u8]) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_shared(&mut self, _: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn send_file(&mut self, _: Arc<SharedFile>, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Ok(Sent::default())
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }
    fn is_committed(&self) -> bool {
        false
    }
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        Ok(())
    }
    fn abort(self: Box<Self>) {}
    fn answer(self: Box<Self>, answer: &Answer, _: Instant) {
        let ended = Ended::Answered(answer.response.status);
        self.ended.lock().unwrap().push(ended);
    }
    fn respond(self: Box<Self>, response: Prepared, _: Instant) {
        let ended = Ended::Answered(response.head.status());
        self.ended.lock().unwrap().push(ended);
    }
    fn drop_request(self: Box<Self>, why: DropReason, _: Instant) {
        self.ended.lock().unwrap().push(Ended::Dropped(why));
    }
    fn discard_response(&mut self) {}
    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Client {
    fn presence(&mut self, _: PresenceCheck) -> Presence {
        self.presence
    }
}

impl ExchangeControl for Client {
    fn record_environ(&mut self, _: Vec<(String, String)>) {}
}

/// Runs `visit` on the event loop, in the leader.
fn with_event_loop(handle: &Handle, visit: impl FnOnce(&mut EventLoop) + Send + 'static) {
    let inbox = &handle.thread().context.inbox;
    inbox.push(Returned::Visit(Box::new(visit)), true);
}

/// Serves a connection over this transport.
fn adopt(handle: &Handle, transport: Box<dyn Transport>) {
    let protocols = handle.thread().protocols.clone();
    with_event_loop(handle, move |event_loop| {
        event_loop.adopt(&protocols, transport)
    });
}

/// Answers 200 with this body.
fn answer(reply: &mut Reply, body: &[u8]) {
    reply.head().set_status(200, b"OK").unwrap();
    reply.start(BodyLength::Known(body.len() as u64));
    reply.send_copy(body).unwrap();
    reply.finish().unwrap();
}

struct Function<F>(F);

impl<F: Fn(&mut Request, &mut Reply) + Send + Sync + 'static> App for Function<F> {
    fn call(&self, request: &mut Request, reply: &mut Reply) {
        (self.0)(request, reply);
    }
}

fn start(threads: usize, app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static) -> Handle {
    start_with(|_| {}, threads, app)
}

fn start_with(
    adjust: impl FnOnce(&mut Config),
    threads: usize,
    app: impl Fn(&mut Request, &mut Reply) + Send + Sync + 'static,
) -> Handle {
    let mut config = Config::with_defaults(AppSpec::Module {
        module: "test".into(),
        attribute: None,
    });
    config.threads = Threads::Count(threads.try_into().unwrap());
    adjust(&mut config);
    let log = Arc::new(ErrorLog::open(&LogTarget::Stderr, LogLevel::Critical).unwrap());
    Worker::start(Arc::new(config), Vec::new(), Arc::new(Function(app)), log).unwrap()
}

#[test]
fn a_panic_in_the_event_loop_ends_the_worker_and_not_only_its_thread() {
    for threads in [1, 2, 8] {
        let handle = start(threads, |_, _| {});
        with_event_loop(&handle, move |_| {
            panic!("provoked by a test, with {threads} threads")
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        while !handle.is_finished() {
            assert!(Instant::now() < deadline, "{threads} threads");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(handle.has_failed(), "{threads} threads");
        assert_eq!(handle.thread().context.inbox.stop_mode(), StopMode::Stop);
    }
}

#[test]
fn a_fatal_error_never_weakens_a_stop() {
    let handle = start(1, |_, _| {});
    handle.thread().context.inbox.ask_to_stop(StopMode::Stop);
    handle.thread().context.report_fatal("provoked by a test");
    assert_eq!(handle.thread().context.inbox.stop_mode(), StopMode::Stop);
}
