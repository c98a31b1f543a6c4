//! What the event loop lends to a connection while it drives it: the read buffer, spare objects, the time, and the
//! queue of complete requests. An idle connection holds none of it.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::http2::Scratch;

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::queue::{LongestWait, Queue};
use crate::exchange::request::Request;
use crate::exchange::subscriber::Subscriber;
use crate::exchange::writer::DropReason;
use crate::thread_pool::ThreadPool;
use crate::thread_pool::bulkheads::{Bulkheads, Entry};

/// Spare objects kept of each kind; more than a turn needs would only use memory.
const SPARE_PARTS: usize = 64;

/// One read of a multiplexed connection may have more than a hundred requests.
const SPARE_REQUESTS: usize = 256;

/// See the module documentation.
pub struct Turn {
    /// The read buffer. It is empty between two connections.
    pub buffer: Box<[u8]>,
    /// Requests for reuse, whose buffers have their size already.
    pub requests: Vec<Box<Request>>,
    /// Requests of one read, until they are dispatched. It is empty between two connections.
    pub batch: Vec<Exchange>,
    /// For decoding HTTP/2 heads.
    pub scratch: Scratch,
    /// Output buffers that idle connections do not need.
    outputs: Vec<Vec<u8>>,
    pub now: Instant,
    /// When the requests that are being read arrived, as far as can be known.
    pub arrived_at: Instant,
    /// Bytes read since they were last recorded on the scoreboard.
    pub received: u64,
    /// Requests that the server itself has made of the application.
    pub subrequests: u64,
    /// Responses that wait for no more messages.
    pub unsubscribed: Vec<Subscriber>,
    /// Subscribers for whom records wait in the broadcast log, and whose clients have taken all that was sent to them.
    pub behind: Vec<Subscriber>,
    /// Complete requests that wait for a thread.
    pub ready: Queue,
    /// Number of requests so far.
    pub served: u64,
    handlers: Vec<Box<dyn Handler>>,
    /// Maximum number of requests that wait for a thread (`queue_size`).
    queue_size: usize,
    pool: Arc<ThreadPool>,
    /// `None`: no route limits its requests.
    bulkheads: Option<Arc<Bulkheads>>,
}

impl Turn {
    pub fn new(
        read_buffer: usize,
        handlers: Vec<Box<dyn Handler>>,
        queue_size: usize,
        (pool, bulkheads): (Arc<ThreadPool>, Option<Arc<Bulkheads>>),
        now: Instant,
    ) -> Self {
        Self {
            buffer: vec![0; read_buffer].into_boxed_slice(),
            requests: Vec::new(),
            batch: Vec::new(),
            scratch: Scratch::default(),
            outputs: Vec::new(),
            now,
            arrived_at: now,
            received: 0,
            subrequests: 0,
            unsubscribed: Vec::new(),
            behind: Vec::new(),
            ready: Queue::default(),
            served: 0,
            handlers,
            queue_size,
            pool,
            bulkheads,
        }
    }

    /// Puts a handler before the others.
    #[cfg(test)]
    pub fn add_handler(&mut self, handler: Box<dyn Handler>) {
        self.handlers.insert(0, handler);
    }

    /// Takes a complete request: a handler answers it, or it waits for a thread, or it is refused because the queue is
    /// full.
    // Inlined: the call costs a plain hello 20 instructions.
    #[inline]
    pub fn dispatch(&mut self, exchange: Exchange) {
        self.served += 1;
        self.pass_on(exchange, 0);
    }

    /// Goes on with a request that a handler has taken and does not answer.
    pub fn resume(&mut self, mut exchange: Exchange) {
        exchange.queued_at = self.now;
        let next = usize::from(exchange.next_handler);
        self.pass_on(exchange, next);
    }

    #[inline]
    fn pass_on(&mut self, mut exchange: Exchange, next: usize) {
        for (index, handler) in self.handlers.iter().enumerate().skip(next) {
            if !handler.concerns(&exchange.request) {
                continue;
            }
            exchange.next_handler = index as u8 + 1;
            match handler.handle(exchange) {
                Handled::Pass(passed) => exchange = passed,
                Handled::Answer(answered, answer) => {
                    answered.writer.answer(&answer, self.now);
                    return self.clear_and_keep(answered.request);
                }
                Handled::Respond(answered, response) => {
                    answered.writer.respond(response, self.now);
                    return self.clear_and_keep(answered.request);
                }
                Handled::Taken => return,
            }
        }
        if let Some(bulkheads) = &self.bulkheads {
            exchange = match bulkheads.enter(exchange) {
                Entry::Admitted(exchange) => exchange,
                Entry::Waiting => return,
                Entry::Full(exchange) => return self.refuse_full(exchange),
            };
        }
        if self.queued_for_threads() >= self.queue_size {
            return self.refuse_full(exchange);
        }
        self.ready.push(exchange);
    }

    #[cold]
    fn refuse_full(&mut self, exchange: Exchange) {
        exchange
            .writer
            .drop_request(DropReason::QueueFull, self.now);
        self.clear_and_keep(exchange.request);
    }

    fn queued_for_threads(&self) -> usize {
        self.ready.len() + self.pool.backlog_len()
    }

    /// Number of requests that wait for a thread, or for a place in a bulkhead.
    pub fn queued(&self) -> usize {
        let bulkheads = self.bulkheads.as_ref();
        self.queued_for_threads() + bulkheads.map_or(0, |bulkheads| bulkheads.waiting())
    }

    /// Since when the oldest of them waits.
    #[inline(always)]
    pub fn oldest(&self) -> Option<Instant> {
        let for_threads = match (self.ready.oldest(), self.pool.oldest_in_backlog()) {
            (Some(ready), Some(backlog)) => Some(ready.min(backlog)),
            (ready, backlog) => ready.or(backlog),
        };
        let Some(bulkheads) = &self.bulkheads else {
            return for_threads;
        };
        for_threads.into_iter().chain(bulkheads.oldest()).min()
    }

    /// Drops or answers waiting requests whose time is over or whose clients have gone. Returns when to check again,
    /// and whether there were any.
    pub fn drop_expired(&mut self, limit: LongestWait<'_>) -> (Option<Instant>, bool) {
        let mut dropped = Vec::new();
        let of_ready = self.ready.drop_requests(self.now, limit, &mut dropped);
        let of_backlog = self.pool.drop_from_backlog(self.now, limit, &mut dropped);
        // A bulkhead that is full does not mean that the threads are: the others stay first come, first served.
        self.pool.discipline().record_drops(dropped.len());
        let of_bulkheads = (self.bulkheads.as_ref())
            .and_then(|bulkheads| bulkheads.drop_requests(self.now, limit, &mut dropped));
        let again = [of_ready, of_backlog, of_bulkheads];
        let has_any = !dropped.is_empty();
        for (exchange, why) in dropped {
            exchange.writer.drop_request(why, self.now);
            self.clear_and_keep(exchange.request);
        }
        (again.into_iter().flatten().min(), has_any)
    }

    /// Keeps a cleared request's buffers for reuse.
    pub fn keep_request(&mut self, request: Box<Request>) {
        if self.requests.len() < SPARE_REQUESTS {
            self.requests.push(request);
        }
    }

    fn clear_and_keep(&mut self, mut request: Box<Request>) {
        request.clear();
        self.keep_request(request);
    }

    /// A spare output buffer for a response.
    pub fn spare_output(&mut self) -> Option<Vec<u8>> {
        self.outputs.pop()
    }

    /// Keeps an output buffer for reuse.
    pub fn keep_output(&mut self, output: Vec<u8>) {
        if output.capacity() > 0 && self.outputs.len() < SPARE_PARTS {
            self.outputs.push(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::writer::Presence;
    use crate::seams::{Client, Ended};
    use lockgate_http::{LocalResponse, RequestParser};
    use std::sync::Mutex;
    use std::time::Duration;

    type Record = Arc<Mutex<Vec<Ended>>>;

    fn request_for(path: &str) -> Box<Request> {
        let mut request = Box::<Request>::default();
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        RequestParser::new(lockgate_http::Limits::default())
            .step(head.as_bytes(), &mut request.head)
            .unwrap();
        request
    }

    fn dispatch(turn: &mut Turn, path: &str, presence: Presence, record: &Record) {
        let writer = Box::new(Client::recorded(presence, record));
        turn.dispatch(Exchange::new(request_for(path), writer, turn.arrived_at, 0));
    }

    fn turn_with(handlers: Vec<Box<dyn Handler>>, queue_size: usize) -> Turn {
        let pool = Arc::new(ThreadPool::new(2, None, Duration::from_millis(2)));
        Turn::new(1024, handlers, queue_size, (pool, None), Instant::now())
    }

    fn waiting(turn: &mut Turn) -> Vec<String> {
        let discipline = crate::exchange::queue::QueueDiscipline::default();
        std::iter::from_fn(|| turn.ready.take(&discipline))
            .map(|exchange| String::from_utf8(exchange.request.head.path().to_vec()).unwrap())
            .collect()
    }

    /// Sees requests below its path, and answers them with its status or passes them on.
    struct Below(&'static str, Option<u16>);

    impl Handler for Below {
        fn concerns(&self, request: &Request) -> bool {
            request.head.path().starts_with(self.0.as_bytes())
        }

        fn handle(&self, exchange: Exchange) -> Handled {
            match self.1 {
                Some(status) => Handled::Answer(exchange, LocalResponse::new(status).into()),
                None => Handled::Pass(exchange),
            }
        }
    }

    #[test]
    fn the_first_handler_that_answers_keeps_the_request_from_the_queue() {
        let mut turn = turn_with(
            vec![
                Box::new(Below("/a", None)),
                Box::new(Below("/a/b", Some(203))),
                Box::new(Below("/a", Some(404))),
            ],
            9,
        );
        let record = Record::default();
        for path in ["/a/b/c", "/a", "/", "/b"] {
            dispatch(&mut turn, path, Presence::Connected, &record);
        }
        let ended = record.lock().unwrap().clone();
        assert_eq!(ended, [Ended::Answered(203), Ended::Answered(404)]);
        assert_eq!(turn.requests.len(), 2, "their buffers are reused");
        assert_eq!(
            (turn.served, waiting(&mut turn)),
            (4, vec!["/".into(), "/b".into()])
        );
    }

    #[test]
    fn a_full_queue_refuses_the_newest_request_but_handlers_still_answer() {
        let mut turn = turn_with(vec![Box::new(Below("/local", Some(200)))], 2);
        let record = Record::default();
        for path in ["/1", "/2", "/3", "/local", "/4"] {
            dispatch(&mut turn, path, Presence::Connected, &record);
        }
        let full = Ended::Dropped(DropReason::QueueFull);
        assert_eq!(*record.lock().unwrap(), [full, Ended::Answered(200), full]);
        assert_eq!(waiting(&mut turn), ["/1", "/2"]);
        dispatch(&mut turn, "/5", Presence::Connected, &record);
        assert_eq!(waiting(&mut turn), ["/5"], "there is room again");
    }

    #[test]
    fn waiting_requests_are_dropped_for_their_age_or_their_client() {
        let limit = LongestWait {
            server: Some(Duration::from_secs(30)),
            routes: None,
        };
        for (presence, seconds, expected) in [
            (Presence::Connected, 29, None),
            (Presence::Connected, 30, Some(DropReason::TooLate)),
            (Presence::Gone, 0, Some(DropReason::Gone)),
            (Presence::HalfClosed, 1, Some(DropReason::HalfClosed)),
        ] {
            let mut turn = turn_with(Vec::new(), 9);
            let record = Record::default();
            dispatch(&mut turn, "/", presence, &record);
            turn.now += Duration::from_secs(seconds);
            let (again, has_any) = turn.drop_expired(limit);
            assert_eq!((again, has_any), (None, expected.is_some()), "{presence:?}");
            let ended: Vec<Ended> = expected.into_iter().map(Ended::Dropped).collect();
            assert_eq!(*record.lock().unwrap(), ended, "{presence:?} {seconds}");
            assert_eq!(turn.queued(), 1 - ended.len());
        }
    }

    #[test]
    fn a_client_that_has_just_half_closed_is_checked_again() {
        let mut turn = turn_with(Vec::new(), 9);
        let start = turn.now;
        dispatch(&mut turn, "/", Presence::HalfClosed, &Record::default());
        let unlimited = LongestWait {
            server: None,
            routes: None,
        };
        let (again, has_any) = turn.drop_expired(unlimited);
        assert!(!has_any);
        turn.now = again.unwrap();
        assert!(turn.now > start && turn.drop_expired(unlimited) == (None, true));
    }
}
