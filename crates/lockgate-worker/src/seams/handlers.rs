//! A handler that answers in the event loop, and one that wraps the writer of the response.
#![cfg(test)]

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, LocalResponse, ResponseHead, ShortBody};

use super::tls::{Scrambled, read_to_end, scramble};
use super::{answer, start, with_event_loop};
use crate::blocking_pool::BlockingPool;
use crate::exchange::Exchange;
use crate::exchange::answer::Answer;
use crate::exchange::handler::{Handled, Handler, Resume};
use crate::exchange::prepared::{Prepared, PreparedBody};
use crate::exchange::request::Request;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, ResponseWriter, Sent,
};
use crate::helper_thread::PanicGuard;
use crate::transport::outbox::SharedBytes;
use crate::worker::Handle;
use lockgate_files::SharedFile;

fn add_handler(handle: &Handle, handler: impl Handler + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    with_event_loop(handle, move |event_loop| {
        event_loop.add_handler(Box::new(handler));
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(20)).unwrap();
}

/// Answers below `/local`.
struct Local;

impl Handler for Local {
    fn concerns(&self, request: &Request) -> bool {
        request.head.path() == b"/local"
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        let response = LocalResponse::text(203, "from a handler").with_header("X-By", "handler");
        Handled::Answer(exchange, response.into())
    }
}

#[test]
fn a_handler_answers_without_a_thread() {
    for threads in [1, 2] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let handle = start(threads, move |_, reply| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(reply, b"application");
        });
        add_handler(&handle, Local);
        let mut client = Scrambled::connect(&handle);
        let requests = "GET /local HTTP/1.1\r\nHost: a\r\n\r\n\
             HEAD /local HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\
             GET / HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /local HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(&scramble(requests.as_bytes())).unwrap();
        let text = read_to_end(&mut client);
        assert_eq!(text.matches("HTTP/1.1 203 ").count(), 4, "{text}");
        assert_eq!(text.matches("X-By: handler\r\n").count(), 4, "{text}");
        assert_eq!(text.matches(": from a handler\n").count(), 3, "{text}");
        assert_eq!(text.matches("\r\n\r\napplication").count(), 1, "{text}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        handle.stop();
    }
}

/// Writes bodies in capitals and keeps them, as compression and a cache do.
struct Capitals {
    inner: Box<dyn ResponseWriter>,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl ResponseWriter for Capitals {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        let mut head = head.clone();
        head.push(b"X-Case", b"upper").unwrap();
        self.inner.start(&head, length);
    }
    fn allows_body(&self) -> bool {
        self.inner.allows_body()
    }
    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        let bytes = bytes.to_ascii_uppercase();
        self.kept.lock().unwrap().extend_from_slice(&bytes);
        self.inner.send_copy(&bytes)
    }
    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.send_copy(bytes.bytes())
    }
    fn send_file(&mut self, _: Arc<SharedFile>, _: u64, _: u64) -> Result<Sent, ClientGone> {
        Err(ClientGone)
    }
    fn flush(&mut self) -> Result<(), ClientGone> {
        self.inner.flush()
    }
    fn is_committed(&self) -> bool {
        self.inner.is_committed()
    }
    fn discard_response(&mut self) {
        self.kept.lock().unwrap().clear();
        self.inner.discard_response();
    }
    fn finish(self: Box<Self>) -> Result<(), ShortBody> {
        self.inner.finish()
    }
    fn abort(self: Box<Self>) {
        self.inner.abort();
    }
    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }
    fn respond(self: Box<Self>, response: Prepared, now: Instant) {
        self.inner.respond(response, now);
    }
    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
        self.inner.drop_request(why, now);
    }
    fn client(&mut self) -> &mut dyn ClientProbe {
        self.inner.client()
    }
    fn control(&mut self) -> &mut dyn ExchangeControl {
        self.inner.control()
    }
}

struct Wrapping(Arc<Mutex<Vec<u8>>>);

impl Handler for Wrapping {
    fn concerns(&self, _: &Request) -> bool {
        true
    }

    fn handle(&self, exchange: Exchange) -> Handled {
        Handled::Pass(Exchange {
            writer: Box::new(Capitals {
                inner: exchange.writer,
                kept: Arc::clone(&self.0),
            }),
            ..exchange
        })
    }
}

#[test]
fn a_handler_may_wrap_the_writer_of_the_response() {
    for threads in [1, 2] {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let handle = start(threads, |request, reply| {
            reply.head().set_status(200, b"OK").unwrap();
            reply.start(BodyLength::Unknown);
            reply.send_copy(b"first ").unwrap();
            reply.flush().unwrap();
            reply.send_copy(request.head.path()).unwrap();
            reply.finish().unwrap();
        });
        add_handler(&handle, Wrapping(Arc::clone(&kept)));
        let mut client = Scrambled::connect(&handle);
        let requests = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(&scramble(requests.as_bytes())).unwrap();
        let text = read_to_end(&mut client);
        assert_eq!(text.matches("X-Case: upper\r\n").count(), 2, "{text}");
        assert_eq!(text.matches("FIRST ").count(), 2, "{text}");
        assert_eq!(&*kept.lock().unwrap(), b"FIRST /ONEFIRST /TWO");
        handle.stop();
    }
}

/// Takes requests, and answers them on another thread or passes them on from there.
struct Taking {
    pool: BlockingPool,
    resume: Arc<dyn Resume>,
    file: Arc<SharedFile>,
}

impl Handler for Taking {
    fn concerns(&self, request: &Request) -> bool {
        request.head.path() != b"/plain"
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        // The others are added before it.
        exchange.next_handler = 1;
        let (resume, file) = (Arc::clone(&self.resume), Arc::clone(&self.file));
        let job = move || {
            if exchange.request.head.path() != b"/file" {
                return resume.resume(exchange);
            }
            let mut head = ResponseHead::default();
            head.set_status(203, b"").unwrap();
            let body = PreparedBody::Parts(vec![
                PreparedBody::Bytes(b"<".to_vec()),
                PreparedBody::File {
                    file,
                    offset: 2,
                    length: 5,
                },
                PreparedBody::Bytes(vec![b'>'; 20_000]),
            ]);
            let head = Arc::new(head);
            let prepared = Prepared {
                head,
                body,
                is_negotiated: false,
            };
            (exchange.writer).respond(prepared, Instant::now());
        };
        self.pool.spawn(job).unwrap();
        Handled::Taken
    }
}

#[test]
fn a_handler_may_answer_on_another_thread_or_pass_the_request_on_from_there() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"a file of bytes").unwrap();
    let file = Arc::new(SharedFile::new(file));
    for threads in [1, 2] {
        let handle = start(threads, |_, reply| answer(reply, b"application"));
        let taking = Taking {
            pool: BlockingPool::for_disks(PanicGuard::default()),
            resume: Arc::clone(&handle.thread().context.inbox) as Arc<dyn Resume>,
            file: Arc::clone(&file),
        };
        add_handler(&handle, taking);
        let mut client = Scrambled::connect(&handle);
        let requests = "GET /file HTTP/1.1\r\nHost: a\r\n\r\n\
             HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /other HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /plain HTTP/1.1\r\nHost: a\r\n\r\n\
             GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(&scramble(requests.as_bytes())).unwrap();
        let text = read_to_end(&mut client);
        assert_eq!(text.matches("Content-Length: 20006\r\n").count(), 3);
        assert_eq!(text.matches("\r\n\r\n<file >>>").count(), 2);
        assert_eq!(text.matches("\r\n\r\napplication").count(), 2);
        handle.stop();
    }
}
