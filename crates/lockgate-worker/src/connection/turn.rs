//! What the event loop lends to a connection while it drives it: the read buffer, spare objects, the time, and the
//! queue of complete requests. An idle connection holds none of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::queue::Queue;
use crate::exchange::request::Request;
use crate::exchange::writer::DropReason;
use crate::thread_pool::ThreadPool;

/// Spare objects kept of each kind; more than a turn needs would only use memory.
const SPARE_PARTS: usize = 64;

/// See the module documentation.
pub struct Turn {
    /// The read buffer. It is empty between two connections.
    pub buffer: Box<[u8]>,
    /// Requests for reuse, whose buffers have their size already.
    pub requests: Vec<Box<Request>>,
    /// Output buffers that idle connections do not need.
    outputs: Vec<Vec<u8>>,
    pub now: Instant,
    /// When the requests that are being read arrived, as far as can be known.
    pub arrived_at: Instant,
    /// Bytes read since they were last recorded on the scoreboard.
    pub received: u64,
    /// Complete requests that wait for a thread.
    pub ready: Queue,
    /// Number of requests so far.
    pub served: u64,
    handlers: Vec<Box<dyn Handler>>,
    /// Maximum number of requests that wait for a thread (`queue_size`).
    queue_size: usize,
    pool: Arc<ThreadPool>,
}

impl Turn {
    pub fn new(
        read_buffer: usize,
        handlers: Vec<Box<dyn Handler>>,
        queue_size: usize,
        pool: Arc<ThreadPool>,
        now: Instant,
    ) -> Self {
        Self {
            buffer: vec![0; read_buffer].into_boxed_slice(),
            requests: Vec::new(),
            outputs: Vec::new(),
            now,
            arrived_at: now,
            received: 0,
            ready: Queue::default(),
            served: 0,
            handlers,
            queue_size,
            pool,
        }
    }

    /// Puts a handler before the others.
    #[cfg(test)]
    pub fn add_handler(&mut self, handler: Box<dyn Handler>) {
        self.handlers.insert(0, handler);
    }

    /// Takes a complete request: a handler answers it, or it waits for a thread, or it is refused because the queue is
    /// full.
    pub fn dispatch(&mut self, mut exchange: Exchange) {
        self.served += 1;
        for handler in &self.handlers {
            if !handler.concerns(&exchange.request) {
                continue;
            }
            match handler.handle(exchange) {
                Handled::Pass(passed) => exchange = passed,
                Handled::Answer(answered, answer) => {
                    answered.writer.answer(&answer, self.now);
                    return self.clear_and_keep(answered.request);
                }
            }
        }
        if self.queued() >= self.queue_size {
            exchange
                .writer
                .drop_request(DropReason::QueueFull, self.now);
            return self.clear_and_keep(exchange.request);
        }
        self.ready.push(exchange);
    }

    /// Number of requests that wait for a thread.
    pub fn queued(&self) -> usize {
        self.ready.len() + self.pool.backlog_len()
    }

    /// Drops or answers waiting requests whose time is over or whose clients have gone. Returns when to look again, and
    /// whether there were any.
    pub fn drop_expired(&mut self, limit: Option<Duration>) -> (Option<Instant>, bool) {
        let mut dropped = Vec::new();
        let again = [
            self.ready.drop_requests(self.now, limit, &mut dropped),
            self.pool.drop_from_backlog(self.now, limit, &mut dropped),
        ];
        self.pool.discipline().record_drops(dropped.len());
        let has_any = !dropped.is_empty();
        for (exchange, why) in dropped {
            exchange.writer.drop_request(why, self.now);
            self.clear_and_keep(exchange.request);
        }
        (again.into_iter().flatten().min(), has_any)
    }

    /// Keeps a cleared request's buffers for reuse.
    pub fn keep_request(&mut self, request: Box<Request>) {
        if self.requests.len() < SPARE_PARTS {
            self.requests.push(request);
        }
    }

    fn clear_and_keep(&mut self, mut request: Box<Request>) {
        request.clear();
        self.keep_request(request);
    }

    /// An output buffer for a response, if one is at hand.
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
