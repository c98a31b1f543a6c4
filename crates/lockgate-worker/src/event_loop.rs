//! The event loop of a worker: poller, connections and timers, for one thread at a time. The thread that holds it (the
//! leader) does not hold the GIL, except to take or leave a request under `try_lock`.
//!
//! Invariant: what was polled and has not run is stored in here and never on a stack, so that a follower finds all of
//! it.

mod accepting;
mod arrival_time;
mod draining;
mod eviction;
pub mod poller;
mod queue_expiry;
mod returned;
pub mod scratch;
pub mod slot;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::BindAddress;
use lockgate_observe::WorkerSlot;

use self::accepting::AcceptThrottles;
use self::draining::Drain;
pub use self::returned::Returned;
use crate::event_loop::poller::{Poller, Readiness};
use crate::event_loop::scratch::Scratch;
use crate::event_loop::slot::{Slot, SlotTable};
use crate::event_loop::timers::Timers;
use crate::exchange::request::Request;
use crate::http1::{Connection, Next, Phase};
use crate::listeners::{Acceptor, Addresses, Arrival};
use crate::queue::{Exchange, Queue, QueueDiscipline};
use crate::shared::Shared;
use crate::transport::outbox::Flushed;
use arrival_time::ArrivalClock;
use queue_expiry::QueueExpiry;

const WAKER: u64 = 0;

/// Maximum size of one read: larger reads help only uploads, and those are bound by the copy.
const READ_BUFFER: usize = 64 * 1024;

/// A turn's responses are sent together, but at most this many, and at most this long after the first.
/// Flask, 64 connections: 83 µs a request when each is sent at once, 55 with 1 ms, 53 with 4 ms (design.md §4).
pub const FLUSH_AFTER: usize = 64;
pub const FLUSH_WITHIN: Duration = Duration::from_millis(2);

/// With `threads = 1` a response that waits for the end of its turn would wait for the next call, however long that is.
const BURST: usize = 4;

/// Ready requests delay the next poll by no more than this: a client that pipelines for ever gets no more of the event
/// loop than others.
const POLL_WITHIN: Duration = Duration::from_millis(4);

/// Time for bulk work (bodies, input that is read and dropped, long responses) per poll, after everything that may be a
/// request. Without this limit, 500 clients that sent one-byte chunks as fast as they could delayed others by 170 ms.
const BULK_WITHIN: Duration = Duration::from_millis(2);

/// How a leader's turn ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Requests are ready.
    Ready,
    /// The worker is done.
    Over,
}

/// See the module documentation.
pub struct EventLoop {
    scratch: Scratch,
    /// Parsed requests that wait for a thread.
    ready: Queue,
    /// Connections whose response is complete and not sent yet.
    unflushed: Vec<Box<Connection>>,
    unflushed_since: Option<Instant>,
    poller: Poller,
    acceptor: Acceptor,
    slots: SlotTable,
    timers: Timers,
    /// Connections that yielded before their input was used up; each is in here once.
    again: VecDeque<u64>,
    polled_at: Instant,
    arrival_clock: ArrivalClock,
    waiting: QueueExpiry,
    events: Vec<(u64, Readiness)>,
    arrivals: Vec<Arrival>,
    addresses: Addresses,
    complaints: AcceptThrottles,
    /// Number of requests so far.
    requests: u64,
    /// Set once nothing more is accepted.
    drain: Option<Drain>,
}

impl EventLoop {
    pub fn new(
        listeners: Vec<(BindAddress, OwnedFd)>,
        waker: &crate::event_loop::poller::Waker,
        worker_slot: Option<WorkerSlot>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch_waker(waker, WAKER)?;
        let acceptor = Acceptor::new(listeners, worker_slot)?;
        Ok(Self {
            scratch: Scratch::new(READ_BUFFER, Instant::now()),
            ready: Queue::default(),
            unflushed: Vec::new(),
            unflushed_since: None,
            poller,
            acceptor,
            slots: SlotTable::default(),
            timers: Timers::default(),
            again: VecDeque::new(),
            polled_at: Instant::now(),
            arrival_clock: ArrivalClock::new(Instant::now()),
            waiting: QueueExpiry::new(Instant::now()),
            events: Vec::new(),
            arrivals: Vec::new(),
            addresses: Addresses::default(),
            complaints: AcceptThrottles::default(),
            requests: 0,
            drain: None,
        })
    }

    /// Leads until a request is ready or the worker is over. Called by the leader, without the GIL.
    pub fn turn(&mut self, shared: &Arc<Shared>) -> Turn {
        loop {
            self.scratch.now = Instant::now();
            self.arrival_clock.came_at = self.scratch.now;
            self.flush_all();
            self.take_returns(shared);
            self.apply_stop(shared);
            self.look_for_quiet();
            self.acceptor.publish(self.slots.in_use(), self.requests);
            shared.descriptors.record_connections(self.slots.in_use());
            if !self.ready.is_empty() || shared.pool.can_take_from_backlog() {
                if self.must_poll(self.scratch.now) {
                    self.poll(shared, Some(Duration::ZERO));
                }
                if self.drop_expired_requests(shared) {
                    // Their answers should not wait for a call.
                    continue;
                }
                return Turn::Ready;
            }
            if self.drop_expired_requests(shared) {
                continue;
            }
            if self.is_over(shared) {
                return Turn::Over;
            }
            let wakes = [
                shared.pool.admits_at(),
                self.next_expiry(shared),
                self.report_saturation(shared),
                self.looks_for_quiet_at(),
            ];
            let timeout = self.time_to_wait(wakes);
            shared.metrics.record_waiting(self.queued(shared));
            self.poll(shared, timeout);
        }
    }

    /// The next ready request: the oldest, unless clients have been leaving.
    pub fn take_ready(&mut self, order: &QueueDiscipline) -> Option<Exchange> {
        self.ready.take(order)
    }

    /// Whether the sockets have to be polled before another request is taken.
    pub fn must_poll(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.polled_at) >= POLL_WITHIN
    }

    /// Queues a request that did not come from an HTTP/1 connection of this event loop.
    #[cfg(test)]
    pub fn push_ready(&mut self, exchange: Exchange) {
        self.ready.push(exchange);
    }

    /// Whether a burst is in progress: without a follower that would send it, a response is only delayed in a burst.
    pub fn has_many_ready(&self) -> bool {
        self.ready.len() >= BURST
    }

    /// Takes a connection whose response is complete; it is flushed with the others of this turn.
    pub fn defer_flush(&mut self, connection: Box<Connection>) {
        self.unflushed.push(connection);
    }

    /// Whether the responses of this turn have to be sent now.
    pub fn must_flush(&mut self, now: Instant) -> bool {
        if self.unflushed.is_empty() {
            return false;
        }
        let since = *self.unflushed_since.get_or_insert(now);
        self.unflushed.len() >= FLUSH_AFTER || now.saturating_duration_since(since) >= FLUSH_WITHIN
    }

    /// Keeps a request's buffers for reuse.
    pub fn reuse(&mut self, request: Box<Request>) {
        self.scratch.keep_request(request);
    }

    fn flush_all(&mut self) {
        self.unflushed_since = None;
        let mut unflushed = std::mem::take(&mut self.unflushed);
        for connection in unflushed.drain(..) {
            self.drive(connection);
        }
        self.unflushed = unflushed;
    }

    fn poll(&mut self, shared: &Arc<Shared>, timeout: Option<Duration>) {
        let mut events = std::mem::take(&mut self.events);
        let timeout = if shared.returns.begin_polling() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let asked_at = self.scratch.now;
        let outcome = self.poller.wait(timeout, &mut events);
        shared.returns.end_polling();
        self.scratch.now = Instant::now();
        self.polled_at = self.scratch.now;
        // A request that was held back, by another request or by close(), is ready from now on.
        self.arrival_clock.came_at = self.scratch.now;
        // Before accepting: a client whose connection was announced to end finds a free place for its next one.
        self.take_returns(shared);
        let watched = self.slots.in_use() + self.acceptor.listeners() + 1;
        self.arrival_clock
            .look(asked_at, self.scratch.now, events.len(), watched);
        if let Err(error) = outcome {
            shared.report_fatal(&format!("cannot wait for events: {error}"));
        }
        for (token, readiness) in events.drain(..) {
            self.take_event(shared, token, readiness);
        }
        self.events = events;
        self.acceptor.on_polled();
        self.go_on_with_bulk();
        let received = std::mem::take(&mut self.scratch.received);
        shared.metrics.record_received(received);
        self.arrival_clock.came_at = self.scratch.now;
        self.expire();
    }

    fn time_to_wait(&self, wakes: [Option<Instant>; 4]) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = [self.timers.next(), self.acceptor.resumes()]
            .into_iter()
            .chain(wakes)
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn take_event(&mut self, shared: &Arc<Shared>, token: u64, readiness: Readiness) {
        if token == WAKER {
            return;
        }
        if self.acceptor.owns(token) {
            return self.accept(shared, token);
        }
        let Some(slot) = self.slots.get(token) else {
            return;
        };
        let mut state = slot.lock();
        match state.connection.take() {
            None => {
                state.pending.merge(readiness);
                if readiness.read_closed || readiness.hung_up {
                    self.waiting.on_client_close(self.scratch.now);
                }
            }
            Some(mut connection) => {
                connection.note(readiness);
                if state.is_queued || connection.is_bulk() {
                    state.connection = Some(connection);
                    if !std::mem::replace(&mut state.is_queued, true) {
                        self.again.push_back(token);
                    }
                    return;
                }
                drop(state);
                self.drive(connection);
            }
        }
    }

    /// Drives connections that yielded, in that order, for a bounded time.
    fn go_on_with_bulk(&mut self) {
        for _ in 0..self.again.len() {
            let Some(token) = self.again.pop_front() else {
                return;
            };
            let Some(slot) = self.slots.get(token) else {
                continue;
            };
            let mut state = slot.lock();
            state.is_queued = false;
            match state.connection.take() {
                None => state.pending.readable = true,
                Some(mut connection) => {
                    drop(state);
                    connection.readable = true;
                    self.drive(connection);
                }
            }
            if self.scratch.now.elapsed() >= BULK_WITHIN {
                return;
            }
        }
    }

    /// Queues a connection behind others.
    fn queue(&mut self, slot: &Slot) {
        if !std::mem::replace(&mut slot.lock().is_queued, true) {
            self.again.push_back(slot.token());
        }
    }

    /// Drives a connection that is owned here until it waits, runs, or is over.
    fn drive(&mut self, mut connection: Box<Connection>) {
        loop {
            let next = if !connection.has_output() && connection.phase != Phase::Writing {
                match connection.phase {
                    Phase::Lingering { .. } => connection.linger(&mut self.scratch),
                    _ if connection.hung_up => connection.lose(self.scratch.now),
                    _ if connection.slot.hold().keeps_next_request() => Next::Wait,
                    _ => connection.receive(&mut self.scratch),
                }
            } else {
                match connection.flush() {
                    Ok(Flushed::Blocked) => Next::Wait,
                    Ok(Flushed::Bounded) => Next::Again,
                    Ok(Flushed::All) if connection.phase == Phase::Writing => {
                        connection.count_response(self.scratch.now);
                        match connection.end_response(self.scratch.now) {
                            Next::Wait if connection.has_input() => continue,
                            next => next,
                        }
                    }
                    Ok(Flushed::All) => continue,
                    Err(_) => connection.lose(self.scratch.now),
                }
            };
            match next {
                Next::Flush => {}
                Next::Dispatch(request) => {
                    let ready_nanos = connection.shared.metrics.nanos(self.arrival_clock.came_at);
                    connection.begin_exchange(self.scratch.outputs.pop(), ready_nanos);
                    self.requests += 1;
                    if request.head.is_server_wide_options() {
                        return self.answer_about_server(request, connection);
                    }
                    if self.is_queue_full(&connection.shared) {
                        return self.refuse_queued(request, connection);
                    }
                    return self.ready.push(Exchange {
                        request,
                        channel: connection,
                        ready_at: self.arrival_clock.came_at,
                        ready_nanos,
                        was_in_backlog: false,
                    });
                }
                Next::Close => return self.close(connection),
                Next::Again => {
                    self.queue(&Arc::clone(&connection.slot));
                    return self.put_back(connection);
                }
                Next::Wait => return self.put_back(connection),
            }
        }
    }

    /// Leaves a connection in its slot until an event or its deadline.
    fn put_back(&mut self, mut connection: Box<Connection>) {
        if let Some(drain) = &self.drain {
            connection.shorten_waiting(self.scratch.now + drain.linger);
        }
        if connection.out.is_empty() {
            self.scratch.keep_output(connection.out.take_spare());
        }
        let slot = Arc::clone(&connection.slot);
        let mut state = slot.lock();
        if state.pending.any() {
            // An edge came while a worker thread owned the connection; it will not be reported again.
            let pending = std::mem::take(&mut state.pending);
            let has_news = pending.readable
                || pending.read_closed
                || pending.hung_up
                || (pending.writable && connection.has_output());
            connection.note(pending);
            if has_news && !std::mem::replace(&mut state.is_queued, true) {
                self.again.push_back(slot.token());
            }
        }
        if state.armed.is_none_or(|armed| connection.deadline < armed) {
            state.armed = Some(connection.deadline);
            self.timers.arm(connection.deadline, slot.token());
        }
        state.connection = Some(connection);
    }

    fn close(&mut self, connection: Box<Connection>) {
        let token = connection.slot.token();
        drop(connection);
        self.release(token);
    }

    fn expire(&mut self) {
        if self
            .acceptor
            .resumes()
            .is_some_and(|at| at <= self.scratch.now)
        {
            self.resume_accepting();
        }
        // Input sent in time may still be in the kernel, beyond what this poll returned: time is not up before it was
        // seen. Without this, 173 of 300 requests were lost after a call of 3 s with `threads = 1`.
        let over = self.arrival_clock.seen_all_at().min(self.scratch.now);
        while let Some((at, token)) = self.timers.pop_due(over) {
            let Some(slot) = self.slots.get(token) else {
                continue;
            };
            let mut state = slot.lock();
            if state.armed == Some(at) {
                state.armed = None;
            }
            let Some(mut connection) = state.connection.take() else {
                continue;
            };
            if state.is_queued && !connection.is_lingering() {
                // The same goes for connections that wait for their share of the event loop.
                let soon = self.scratch.now + BULK_WITHIN;
                self.timers.arm(soon, token);
                state.armed = Some(soon);
                state.connection = Some(connection);
                continue;
            }
            drop(state);
            if connection.deadline > over {
                self.put_back(connection);
                continue;
            }
            match connection.expire(self.scratch.now) {
                Next::Close => self.close(connection),
                _ => self.drive(connection),
            }
        }
    }

    fn take_returns(&mut self, shared: &Arc<Shared>) {
        while let Some(returned) = shared.returns.pop() {
            match returned {
                Returned::Connection(connection) => self.drive(connection),
                Returned::Closed(token) => self.release(token),
                Returned::Released(token) => self.go_on(token),
                Returned::Opening => self.begin_accepting(),
                Returned::GivingWay => self.let_others_go_first(),
                #[cfg(test)]
                Returned::Visit(visit) => visit(self),
            }
        }
    }
}
