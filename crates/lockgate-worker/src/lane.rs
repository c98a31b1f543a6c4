//! The event loop of a worker: poller, connections and timers, for one thread at a time. The thread that holds it (the
//! leader) does not hold the GIL, except to take or leave a request under `try_lock`.
//!
//! Invariant: what was polled and has not run is stored in here and never on a stack, so that a standby finds all of
//! it.

mod door;
mod drain;
mod eviction;
mod returned;
mod sight;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::BindAddress;
use lockgate_observe::Seat;

use self::door::Complaints;
use self::drain::Drain;
pub use self::returned::Returned;
use crate::accept::{Acceptor, Addresses, Arrival};
use crate::connection::{Connection, Next, Phase};
use crate::outbox::Flushed;
use crate::poller::{Poller, Readiness};
use crate::queue::{Job, Order, Queue};
use crate::request::Request;
use crate::shared::Shared;
use crate::slot::{Slot, SlotTable};
use crate::timers::Timers;
use crate::workbench::Workbench;
use sight::Sight;
use waiting::Waiting;

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
pub struct Lane {
    bench: Workbench,
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
    sight: Sight,
    waiting: Waiting,
    events: Vec<(u64, Readiness)>,
    arrivals: Vec<Arrival>,
    addresses: Addresses,
    complaints: Complaints,
    /// Number of requests so far.
    requests: u64,
    /// Set once nothing more is accepted.
    drain: Option<Drain>,
}

impl Lane {
    pub fn new(
        listeners: Vec<(BindAddress, OwnedFd)>,
        waker: &crate::poller::Waker,
        seat: Option<Seat>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch_waker(waker, WAKER)?;
        let acceptor = Acceptor::new(listeners, seat)?;
        Ok(Self {
            bench: Workbench::new(READ_BUFFER, Instant::now()),
            ready: Queue::default(),
            unflushed: Vec::new(),
            unflushed_since: None,
            poller,
            acceptor,
            slots: SlotTable::default(),
            timers: Timers::default(),
            again: VecDeque::new(),
            polled_at: Instant::now(),
            sight: Sight::new(Instant::now()),
            waiting: Waiting::new(Instant::now()),
            events: Vec::new(),
            arrivals: Vec::new(),
            addresses: Addresses::default(),
            complaints: Complaints::default(),
            requests: 0,
            drain: None,
        })
    }

    /// Leads until a request is ready or the worker is over. Called by the leader, without the GIL.
    pub fn turn(&mut self, shared: &Arc<Shared>) -> Turn {
        loop {
            self.bench.now = Instant::now();
            self.sight.came_at = self.bench.now;
            self.flush_all();
            self.take_returns(shared);
            self.apply_stop(shared);
            self.look_for_quiet();
            self.acceptor.publish(self.slots.in_use(), self.requests);
            shared.descriptors.note_connections(self.slots.in_use());
            if !self.ready.is_empty() || shared.crew.can_take_back() {
                if self.must_poll(self.bench.now) {
                    self.poll(shared, Some(Duration::ZERO));
                }
                if self.give_up_waiting(shared) {
                    // Their answers should not wait for a call.
                    continue;
                }
                return Turn::Ready;
            }
            if self.give_up_waiting(shared) {
                continue;
            }
            if self.is_over(shared) {
                return Turn::Over;
            }
            let wakes = [
                shared.crew.admits_at(),
                self.gives_up_at(shared),
                self.report_saturation(shared),
                self.looks_for_quiet_at(),
            ];
            let timeout = self.time_to_wait(wakes);
            shared.books.note_waiting(self.queued(shared));
            self.poll(shared, timeout);
        }
    }

    /// The next ready request: the oldest, unless clients have been leaving.
    pub fn take_ready(&mut self, order: &Order) -> Option<Job> {
        self.ready.take(order)
    }

    /// Whether the sockets have to be polled before another request is taken.
    pub fn must_poll(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.polled_at) >= POLL_WITHIN
    }

    /// Queues a request that did not come from an HTTP/1 connection of this lane.
    #[cfg(test)]
    pub fn push_ready(&mut self, job: Job) {
        self.ready.push(job);
    }

    /// Whether a burst is in progress: without a standby that would send it, a response is only delayed in a burst.
    pub fn has_many_ready(&self) -> bool {
        self.ready.len() >= BURST
    }

    /// Takes a connection whose response is complete; it is flushed with the others of this turn.
    pub fn leave_unflushed(&mut self, connection: Box<Connection>) {
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
        self.bench.keep_request(request);
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
        let asked_at = self.bench.now;
        let outcome = self.poller.wait(timeout, &mut events);
        shared.returns.end_polling();
        self.bench.now = Instant::now();
        self.polled_at = self.bench.now;
        // A request that was held back, by another request or by close(), is ready from now on.
        self.sight.came_at = self.bench.now;
        // Before accepting: a client whose connection was announced to end finds a free place for its next one.
        self.take_returns(shared);
        let watched = self.slots.in_use() + self.acceptor.listeners() + 1;
        self.sight
            .look(asked_at, self.bench.now, events.len(), watched);
        if let Err(error) = outcome {
            shared.report_fatal(&format!("cannot wait for events: {error}"));
        }
        for (token, readiness) in events.drain(..) {
            self.take_event(shared, token, readiness);
        }
        self.events = events;
        self.acceptor.note_looked();
        self.go_on_with_bulk();
        let received = std::mem::take(&mut self.bench.received);
        shared.books.note_received(received);
        self.sight.came_at = self.bench.now;
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
                    self.waiting.note_departure(self.bench.now);
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
            if self.bench.now.elapsed() >= BULK_WITHIN {
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
                    Phase::Lingering { .. } => connection.linger(&mut self.bench),
                    _ if connection.hung_up => connection.lose(self.bench.now),
                    _ if connection.slot.hold().keeps_next_request() => Next::Wait,
                    _ => connection.receive(&mut self.bench),
                }
            } else {
                match connection.flush() {
                    Ok(Flushed::Blocked) => Next::Wait,
                    Ok(Flushed::Bounded) => Next::Again,
                    Ok(Flushed::All) if connection.phase == Phase::Writing => {
                        connection.count_response(self.bench.now);
                        match connection.end_response(self.bench.now) {
                            Next::Wait if connection.has_input() => continue,
                            next => next,
                        }
                    }
                    Ok(Flushed::All) => continue,
                    Err(_) => connection.lose(self.bench.now),
                }
            };
            match next {
                Next::Flush => {}
                Next::Dispatch(request) => {
                    let ready_nanos = connection.shared.books.nanos(self.sight.came_at);
                    connection.begin_exchange(self.bench.outputs.pop(), ready_nanos);
                    self.requests += 1;
                    if request.head.is_about_server() {
                        return self.answer_about_server(request, connection);
                    }
                    if self.is_queue_full(&connection.shared) {
                        return self.refuse_queued(request, connection);
                    }
                    return self.ready.push(Job {
                        request,
                        channel: connection,
                        ready_at: self.sight.came_at,
                        ready_nanos,
                        was_kept: false,
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
            connection.shorten_waiting(self.bench.now + drain.linger);
        }
        if connection.out.is_empty() {
            self.bench.keep_output(connection.out.take_spare());
        }
        let slot = Arc::clone(&connection.slot);
        let mut state = slot.lock();
        if state.pending.any() {
            // An edge came while a crew thread owned the connection; it will not be reported again.
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
            .is_some_and(|at| at <= self.bench.now)
        {
            self.resume_accepting();
        }
        // Input sent in time may still be in the kernel, beyond what this poll returned: time is not up before it was
        // seen. Without this, 173 of 300 requests were lost after a call of 3 s with `threads = 1`.
        let over = self.sight.seen_all_at().min(self.bench.now);
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
                // The same goes for connections that wait for their share of the lane.
                let soon = self.bench.now + BULK_WITHIN;
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
            match connection.expire(self.bench.now) {
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
