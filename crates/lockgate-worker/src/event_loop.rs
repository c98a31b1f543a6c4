//! The event loop of a worker: poller, connections and timers, for one thread at a time. The thread that holds it (the
//! leader) does not hold the GIL, except to take or leave a request under `try_lock`.
//!
//! Invariant: what was polled and has not run is stored in here and never on a stack, so that a follower finds all of
//! it.

pub mod accepting;
mod arrival_time;
pub mod context;
mod draining;
mod eviction;
mod flushing;
pub mod handle;
pub mod listeners;
pub mod load_shedding;
mod publishing;
mod queue_expiry;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::Priority;

use self::accepting::Accepting;
use self::arrival_time::ArrivalClock;
use self::context::Context;
use self::draining::Drain;
use self::publishing::Publishing;
use self::queue_expiry::QueueExpiry;
use self::timers::{Timers, time_until_first};
use crate::client::{Client, Local};
use crate::connection::inbox::Returned;
use crate::connection::slot::{Slot, SlotTable};
use crate::connection::turn::Turn;
use crate::connection::{Activity, Driven, Protocol};
use crate::exchange::Exchange;
use crate::exchange::handler::Handler;
use crate::exchange::request::Request;
use crate::poller::{Poller, Readiness, Selector};
use crate::transport::Transport;
use crate::transport::descriptors::TrackedFd;

const WAKER: u64 = 0;

/// Maximum size of one read: larger reads help only uploads, and those are bound by the copy.
const READ_BUFFER: usize = 64 * 1024;

/// With `threads = 1` a response that waits for the end of its turn would wait for the next call, however long that is.
const BURST: usize = 4;

/// Ready requests delay the next poll by no more than this: a client that pipelines for ever gets no more of the event
/// loop than others.
const POLL_WITHIN: Duration = Duration::from_millis(4);

/// Time for bulk work (bodies, input that is read and dropped, long responses) per poll, after everything that may be a
/// request. Without this limit, 500 clients that sent one-byte chunks as fast as they could delayed others by 170 ms.
const BULK_WITHIN: Duration = Duration::from_millis(2);

/// Why the event loop returns to its thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// Requests are ready.
    Ready,
    /// The worker is done.
    Over,
}

/// A connection that was just accepted.
pub struct Opened {
    pub slot: Arc<Slot>,
    pub transport: Box<dyn Transport>,
    pub client: Arc<Client>,
    pub local: Arc<Local>,
}

/// Decides which protocol a new connection speaks.
pub trait Opener {
    /// The connection, before anything of it was read.
    fn open(&self, opened: Opened, now: Instant) -> Box<dyn Protocol>;
}

/// See the module documentation.
pub struct EventLoop {
    context: Arc<Context>,
    turn: Turn,
    /// Connections whose response is complete and not sent yet.
    unflushed: Vec<Box<dyn Protocol>>,
    /// Connections that stay in their slots while they have several requests, and that have output of this turn.
    unflushed_slots: Vec<u64>,
    unflushed_since: Option<Instant>,
    poller: Poller,
    accepting: Accepting,
    slots: SlotTable,
    timers: Timers,
    /// Connections that yielded before their input was used up; each is in here once.
    yielded: VecDeque<u64>,
    polled_at: Instant,
    arrival_clock: ArrivalClock,
    expiry: QueueExpiry,
    events: Vec<(u64, Readiness)>,
    /// Empty between two calls of [`EventLoop::take_all_returns`].
    returned: Vec<Returned>,
    /// Set if responses may wait for messages.
    publishing: Option<Box<Publishing>>,
    /// Set once nothing more is accepted.
    drain: Option<Drain>,
}

impl EventLoop {
    pub fn new(
        context: Arc<Context>,
        accepting: Accepting,
        handlers: Vec<Box<dyn Handler>>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.watch_waker(context.inbox.waker(), WAKER)?;
        let now = Instant::now();
        Ok(Self {
            turn: Turn::new(
                READ_BUFFER,
                handlers,
                context.config.queue_size,
                (Arc::clone(&context.pool), context.bulkheads.clone()),
                now,
            ),
            unflushed: Vec::new(),
            unflushed_slots: Vec::new(),
            unflushed_since: None,
            poller,
            accepting,
            slots: SlotTable::new(Arc::clone(&context.inbox)),
            timers: Timers::new(now),
            yielded: VecDeque::new(),
            polled_at: now,
            arrival_clock: ArrivalClock::new(now),
            expiry: QueueExpiry::new(now, context.longest_wait().server),
            events: Vec::new(),
            returned: Vec::new(),
            publishing: (context.broadcast).map(|log| Box::new(Publishing::new(log))),
            drain: None,
            context,
        })
    }

    /// Leads until a request is ready or the worker is over. Called by the leader, without the GIL.
    pub fn run(&mut self, opener: &dyn Opener) -> Exit {
        loop {
            self.turn.now = Instant::now();
            self.turn.arrived_at = self.turn.now;
            self.flush_all();
            self.take_returns();
            self.apply_stop(opener);
            self.check_quiet();
            self.publish();
            if !self.turn.ready.is_empty() || self.context.pool.can_take_from_backlog() {
                if self.must_poll(self.turn.now) {
                    self.poll(opener, Some(Duration::ZERO));
                }
                if self.expiry.drop_requests(&mut self.turn, &self.context) {
                    // Their answers should not wait for a call.
                    continue;
                }
                return Exit::Ready;
            }
            if self.expiry.drop_requests(&mut self.turn, &self.context) {
                continue;
            }
            if self.is_over() {
                return Exit::Over;
            }
            let wakes = [
                self.context.pool.admits_at(),
                self.expiry.next(&self.turn, &self.context),
                self.expiry.report_saturation(&self.turn, &self.context),
                self.next_quiet_check(),
            ];
            let timeout = self.time_to_wait(wakes);
            self.context.metrics.record_waiting(self.queued());
            self.poll(opener, timeout);
        }
    }

    /// Publishes the number of connections to the other workers and to the descriptor budget.
    fn publish(&mut self) {
        let held = self.slots.in_use();
        self.accepting.acceptor.publish(held, self.turn.served);
        self.context.descriptors.record_connections(held);
        self.record_held();
    }

    /// The next ready request: the oldest, unless clients have been leaving.
    pub fn take_ready(&mut self) -> Option<Exchange> {
        self.turn.ready.take(self.context.pool.discipline())
    }

    /// The highest priority of the requests that are ready.
    pub fn ready_priority(&self) -> Option<Priority> {
        self.turn.ready.priority()
    }

    /// Number of requests that wait for a thread.
    pub fn queued(&self) -> usize {
        self.turn.queued()
    }

    /// Whether the sockets have to be polled before another request is taken.
    pub fn must_poll(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.polled_at) >= POLL_WITHIN
    }

    /// Puts a handler before the others.
    #[cfg(test)]
    pub fn add_handler(&mut self, handler: Box<dyn Handler>) {
        self.turn.add_handler(handler);
    }

    /// Whether a burst is in progress: without a follower that would send it, a response is only delayed in a burst.
    pub fn has_many_ready(&self) -> bool {
        self.turn.ready.len() >= BURST
    }

    /// Keeps a request's buffers for reuse.
    pub fn reuse(&mut self, request: Box<Request>) {
        self.turn.keep_request(request);
    }

    fn poll(&mut self, opener: &dyn Opener, timeout: Option<Duration>) {
        let mut events = std::mem::take(&mut self.events);
        // What returned connections and streamed bodies have received: the wait may be long.
        self.context.metrics.take_received(&mut self.turn.received);
        let timeout = if self.context.inbox.begin_polling() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let asked_at = self.turn.now;
        let outcome = self.poller.wait(timeout, &mut events);
        self.context.inbox.end_polling();
        let now = Instant::now();
        self.turn.now = now;
        self.polled_at = now;
        // A request that was held back, by another request or by close(), is ready from now on.
        self.turn.arrived_at = now;
        // Before accepting: a client whose connection was announced to end finds a free place for its next one.
        self.take_returns();
        let watched = self.slots.in_use() + self.accepting.acceptor.listeners() + 1;
        self.arrival_clock
            .on_poll(asked_at, now, events.len(), watched);
        self.turn.arrived_at = self.arrival_clock.request_arrived_at;
        if let Err(error) = outcome {
            self.context.report_fatal(&format!(
                "the poller failed: {error}; this worker ends and is replaced"
            ));
        }
        for (token, readiness) in events.drain(..) {
            self.take_event(opener, token, readiness);
        }
        self.events = events;
        self.accepting.acceptor.on_polled();
        self.drive_yielded();
        self.deliver_messages();
        self.context.metrics.take_received(&mut self.turn.received);
        self.turn.arrived_at = self.turn.now;
        self.expire();
    }

    fn time_to_wait(&self, wakes: [Option<Instant>; 4]) -> Option<Duration> {
        if !self.yielded.is_empty() || self.has_publications() {
            return Some(Duration::ZERO);
        }
        let own = [self.timers.next(), self.accepting.acceptor.resumes_at()];
        time_until_first(own.into_iter().chain(wakes), Instant::now())
    }

    fn take_event(&mut self, opener: &dyn Opener, token: u64, readiness: Readiness) {
        if token == WAKER {
            return;
        }
        if self.accepting.acceptor.owns(token) {
            return self.accept(opener, token);
        }
        let Some(slot) = self.slots.get(token) else {
            return;
        };
        let mut state = slot.lock();
        match state.connection.take() {
            None => {
                state.pending.merge(readiness);
                if readiness.read_closed || readiness.hung_up {
                    self.expiry.on_client_close(self.turn.now);
                }
            }
            Some(mut connection) => {
                // The request that it is about to read may wait for a thread.
                if readiness.read_closed || readiness.hung_up {
                    self.expiry.on_client_close(self.turn.now);
                }
                connection.link_mut().record(readiness);
                if state.is_queued || connection.is_bulk() {
                    let link = connection.link();
                    // The first event of a socket, that it is writable, is no news to a handshake.
                    let is_news = !readiness.is_writable_only()
                        || link.has_output()
                        || !link.transport.begins_with_handshake();
                    state.connection = Some(connection);
                    if is_news && !std::mem::replace(&mut state.is_queued, true) {
                        self.yielded.push_back(token);
                    }
                    return;
                }
                drop(state);
                self.drive(connection);
            }
        }
    }

    /// Drives connections that yielded, in that order, for a bounded time.
    fn drive_yielded(&mut self) {
        for _ in 0..self.yielded.len() {
            let Some(token) = self.yielded.pop_front() else {
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
                    connection.link_mut().readable = true;
                    self.drive(connection);
                }
            }
            if self.turn.now.elapsed() >= BULK_WITHIN {
                return;
            }
        }
    }

    /// Drives a connection that is owned here until it waits, runs, or is over.
    fn drive(&mut self, connection: Box<dyn Protocol>) {
        let driven = connection.drive(&mut self.turn);
        self.place(driven);
    }

    /// Puts a connection where its next event finds it.
    fn place(&mut self, driven: Driven) {
        match driven {
            Driven::Lent => {}
            Driven::Wait(connection) => self.put_back(connection),
            Driven::Again(connection) => {
                let slot = &connection.link().slot;
                if !std::mem::replace(&mut slot.lock().is_queued, true) {
                    self.yielded.push_back(slot.token());
                }
                self.put_back(connection);
            }
            Driven::Closed(token) => self.release(token),
        }
    }

    /// Leaves a connection in its slot until an event or its deadline.
    fn put_back(&mut self, mut connection: Box<dyn Protocol>) {
        if let Some(drain) = &self.drain {
            connection.shorten_waiting(self.turn.now + drain.linger);
        }
        let link = connection.link_mut();
        if link.out.is_empty() {
            self.turn.keep_output(link.out.take_spare());
        }
        let slot = Arc::clone(&link.slot);
        let mut state = slot.lock();
        if state.pending.any() {
            // An edge came while a thread owned the connection; it will not be reported again.
            let pending = std::mem::take(&mut state.pending);
            let has_news = pending.readable
                || pending.read_closed
                || pending.hung_up
                || (pending.writable && link.has_output());
            link.record(pending);
            if has_news && !std::mem::replace(&mut state.is_queued, true) {
                self.yielded.push_back(slot.token());
            }
        }
        if state.armed.is_none_or(|armed| link.deadline < armed) {
            state.armed = Some(link.deadline);
            self.timers.arm(link.deadline, slot.token());
        }
        state.connection = Some(connection);
    }

    fn expire(&mut self) {
        let now = self.turn.now;
        if (self.accepting.acceptor.resumes_at()).is_some_and(|at| at <= now) {
            self.resume_accepting();
        }
        // Input sent in time may still be in the kernel, beyond what this poll returned: time is not up before it was
        // seen. Without this, 173 of 300 requests were lost after a call of 3 s with `threads = 1`.
        let over = self.arrival_clock.seen_all_at().min(now);
        while let Some((at, token)) = self.timers.pop_due(over) {
            let Some(slot) = self.slots.get(token) else {
                continue;
            };
            let mut state = slot.lock();
            if state.armed == Some(at) {
                state.armed = None;
            }
            let Some(connection) = state.connection.take() else {
                continue;
            };
            if state.is_queued && connection.activity() != Activity::Lingering {
                // The same goes for connections that wait for their share of the event loop.
                let soon = now + BULK_WITHIN;
                self.timers.arm(soon, token);
                state.armed = Some(soon);
                state.connection = Some(connection);
                continue;
            }
            drop(state);
            if connection.link().deadline > over {
                self.put_back(connection);
                continue;
            }
            self.time_out(connection);
        }
    }

    /// The deadline of a connection that is owned here has passed.
    fn time_out(&mut self, connection: Box<dyn Protocol>) {
        let driven = connection.expire(&mut self.turn);
        self.place(driven);
    }

    #[inline]
    fn take_returns(&mut self) {
        if self.context.inbox.has_items() {
            self.take_all_returns();
        }
    }

    /// Takes what is there now. What is returned meanwhile comes after the next poll: a client that pipelines requests
    /// which the event loop answers itself would otherwise keep it from all other clients.
    fn take_all_returns(&mut self) {
        let mut all = std::mem::take(&mut self.returned);
        self.context.inbox.take_all(&mut all);
        for returned in all.drain(..) {
            match returned {
                Returned::Connection(connection) => self.drive(connection),
                Returned::Upgraded(connection, application) => {
                    self.watch_upgraded(connection, &application);
                }
                Returned::Subscribed(subscriber) => self.subscribe(subscriber),
                Returned::Answered(subscriber, number, answer) => {
                    self.take_answer(subscriber, number, answer);
                }
                Returned::Resumed(exchange) => self.turn.resume(exchange),
                Returned::Published => self.on_published(),
                Returned::Closed(token) => self.release(token),
                Returned::Released(token) => self.resume(token),
                Returned::Abandoned => self.expiry.on_client_close(self.turn.now),
                Returned::Received(bytes) => self.turn.received += bytes,
                Returned::Opening => self.begin_accepting(),
                Returned::GivingWay => self.yield_to_siblings(),
                #[cfg(test)]
                Returned::Visit(visit) => visit(self),
            }
        }
        self.returned = all;
    }

    /// Drives a connection that has two descriptors from now on.
    fn watch_upgraded(&mut self, connection: Box<dyn Protocol>, application: &TrackedFd) {
        let token = connection.link().slot.token();
        match self.poller.watch_connection(application.as_fd(), token) {
            Ok(()) => self.drive(connection),
            Err(error) => {
                drop(connection);
                self.report_failure(&error);
                self.release(token);
            }
        }
    }

    /// Drives a connection whose last request the application has finished with, or that has output.
    fn resume(&mut self, token: u64) {
        if let Some(connection) = self.slots.take(token) {
            let driven = connection.resume(&mut self.turn);
            self.place(driven);
        }
    }
}
