//! Accepting: the event loop takes new connections while there is room, and none once the worker drains.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::Endpoint;
use lockgate_http::{LocalResponse, ResponseContext};
use lockgate_observe::{Level, WorkerSlot};

use super::eviction::{MIN_IDLE, find_evictable};
use super::listeners::{ACCEPTS_AT_ONCE, Acceptor, AddressCounts, Addresses, Arrival};
use super::{EventLoop, Opened, Opener};
use crate::client::Local;
use crate::connection::{Driven, Protocol};
use crate::date::with_date;
use crate::exchange::client_identity::is_among;
use crate::log::throttle::{LogThrottle, and_suppressed};
use crate::poller::Selector;
use crate::transport::descriptors::TrackedFd;
use crate::transport::{Plain, Resettable, Tls, Transport};

/// The listeners, and what limits the connections that come from them.
pub struct Accepting {
    pub(super) acceptor: Acceptor,
    /// Empty between two calls of [`EventLoop::accept`].
    arrivals: Vec<Arrival>,
    addresses: Addresses,
    throttles: Throttles,
}

/// Warnings about accepting that may recur many times.
#[derive(Default)]
struct Throttles {
    full: LogThrottle,
    failed: LogThrottle,
    address_limit: LogThrottle,
}

impl Accepting {
    /// All event loops of a worker have the same counts.
    pub fn new(
        listeners: Vec<(Endpoint, OwnedFd)>,
        worker_slot: Option<WorkerSlot>,
        addresses: AddressCounts,
    ) -> io::Result<Self> {
        Ok(Self {
            acceptor: Acceptor::new(listeners, worker_slot)?,
            arrivals: Vec::new(),
            addresses: Addresses::new(addresses),
            throttles: Throttles::default(),
        })
    }
}

impl EventLoop {
    pub(super) fn accept(&mut self, opener: &dyn Opener, token: u64) {
        let held = self.slots.in_use();
        let now = self.turn.now;
        let mut room = self.context.descriptors.room_for_connections(held);
        let mut evictable = Vec::new();
        if room == 0 {
            evictable = find_evictable(
                &self.slots,
                self.context.config.keep_alive,
                ACCEPTS_AT_ONCE,
                now,
            );
            room = evictable.len();
            self.report_full();
        }
        if room == 0 {
            self.arrival_clock.on_pause();
            // The kernel has woken this event loop alone. Another one may have an idle connection, or the next that ends.
            (self.context.lifecycle.worker).let_others_accept(&self.context.inbox);
            // Checked again when a connection closes, or when one has been idle for long enough.
            return self.pause_accepting(now + MIN_IDLE);
        }
        let share = self.accepting.acceptor.share(&self.poller, held, now);
        if share == 0 {
            return self.arrival_clock.on_pause();
        }
        let most = room.min(share);
        let mut arrivals = std::mem::take(&mut self.accepting.arrivals);
        if let Err(error) = self.accepting.acceptor.accept(token, most, &mut arrivals) {
            self.report_failure(&error);
            self.pause_accepting(Acceptor::resumes_at_after_failure(now));
        }
        let taken = arrivals.len();
        for token in evictable.into_iter().take(taken) {
            self.evict(token);
        }
        let part = (taken >= most.min(ACCEPTS_AT_ONCE)).then_some(taken);
        let backlog = usize::try_from(self.context.config.backlog).unwrap_or(usize::MAX);
        self.arrival_clock.record_accepted(now, part, backlog);
        let arrived_at = std::mem::replace(
            &mut self.turn.arrived_at,
            self.arrival_clock.connection_arrived_at,
        );
        for arrival in arrivals.drain(..) {
            self.admit(opener, arrival);
        }
        self.turn.arrived_at = arrived_at;
        self.accepting.arrivals = arrivals;
        let held = self.slots.in_use();
        self.context.descriptors.record_connections(held);
        let served = self.turn.served;
        let gave_way = (self.accepting.acceptor).give_way(&self.poller, held, served);
        self.pause_after_failure(gave_way);
    }

    /// Closes an idle connection, as at the end of `keep_alive`.
    fn evict(&mut self, token: u64) {
        if let Some(connection) = self.slots.take(token) {
            self.time_out(connection);
        }
    }

    pub(super) fn admit(&mut self, opener: &dyn Opener, arrival: Arrival) {
        let limit = self.context.config.limits.connections_per_address;
        // Not counted without a limit, nor for a proxy or a balancer, whose address has many clients.
        let web_servers = &self.context.config.uwsgi.protocol.peers;
        let is_proxy = || match arrival.local.is_uwsgi {
            true => is_among(web_servers, &arrival.client),
            false => self.context.proxies.may_be_proxy(&arrival.client),
        };
        let network = arrival.network.filter(|_| limit > 0 && !is_proxy());
        if !self.accepting.addresses.take(network, limit) {
            return self.refuse_connection(arrival);
        }
        let slot = self.slots.insert();
        self.accepting.addresses.enter(slot.token(), network);
        let opened = Opened {
            slot,
            transport: self.transport(arrival.socket, &arrival.local, arrival.network.is_none()),
            client: arrival.client,
            local: arrival.local,
        };
        self.open(opener.open(opened, self.turn.now));
    }

    fn transport(&self, socket: TrackedFd, local: &Local, is_unix: bool) -> Box<dyn Transport> {
        match &self.context.acceptor {
            _ if local.is_uwsgi && is_unix => Box::new(Resettable::new(socket)),
            Some(acceptor) if local.is_tls => Box::new(Tls::new(socket, Arc::clone(acceptor))),
            _ => Box::new(Plain::new(socket)),
        }
    }

    /// Answers and drops a client that has its maximum of connections: what it has sent so far is read, so that the
    /// close does not become a reset that discards the answer, but no more input is awaited.
    fn refuse_connection(&mut self, arrival: Arrival) {
        let limit = self.context.config.limits.connections_per_address;
        if let Some(suppressed) = self.accepting.throttles.address_limit.record(self.turn.now) {
            let message = format!(
                "refused a connection from {}: it has {limit} connections already; see limit_connections_per_address{}",
                arrival.client.host(),
                and_suppressed(suppressed)
            );
            self.context
                .error_log
                .write_unless_blocked(Level::Warning, &message);
        }
        if arrival.local.is_tls {
            // A handshake would cost more than a request.
            return;
        }
        let mut answer = Vec::new();
        let response = LocalResponse::text(429, "this address has too many connections").closing();
        with_date(|date| {
            let server = self.context.server_header.as_deref();
            let context = ResponseContext::closing(false, date, server);
            response.encode(&mut answer, &context)
        });
        let mut transport = Plain::new(arrival.socket);
        // A failure here has no remedy: the connection is dropped in any case.
        let _ = transport.read(&mut self.turn.buffer);
        let _ = transport.write(&[IoSlice::new(&answer)]);
        let _ = transport.shutdown_write();
    }

    /// Serves a connection over any transport.
    #[cfg(test)]
    pub fn adopt(&mut self, opener: &dyn Opener, transport: Box<dyn Transport>) {
        let opened = Opened {
            slot: self.slots.insert(),
            transport,
            client: Arc::default(),
            local: Arc::default(),
        };
        self.open(opener.open(opened, self.turn.now));
    }

    fn open(&mut self, connection: Box<dyn Protocol>) {
        let link = connection.link();
        let token = link.slot.token();
        let descriptor = link.transport.descriptor();
        if let Err(error) = self.poller.watch_connection(descriptor, token) {
            drop(connection);
            self.report_failure(&error);
            self.accepting.addresses.leave(token);
            return self.slots.remove(token);
        }
        // A handshake comes after everything that may be a request; an event reports its first bytes.
        if connection.is_bulk() {
            return self.place(Driven::Wait(connection));
        }
        // Under load the request has arrived by now; if not, the read costs less than another turn would.
        self.drive(connection);
    }

    /// A connection was closed: its slot is free, unless the application has not finished with the request.
    pub(super) fn release(&mut self, token: u64) {
        if (self.slots.get(token)).is_some_and(|slot| slot.hold().keeps_slot()) {
            return;
        }
        self.slots.remove(token);
        if let Some(publishing) = &mut self.publishing {
            publishing.remove_connection(token);
        }
        self.accepting.addresses.leave(token);
        let held = self.slots.in_use();
        if self.drain.is_none() && self.accepting.acceptor.may_resume(held) {
            // A descriptor and a place are free again.
            self.resume_accepting();
        }
    }

    /// Starts accepting; the worker has accepted nothing so far.
    pub(super) fn begin_accepting(&mut self) {
        if self.drain.is_none() {
            self.accepting.acceptor.join();
            self.resume_accepting();
        }
    }

    /// Moves this worker behind other workers, which are to get new connections first.
    pub(super) fn yield_to_siblings(&mut self) {
        if self.drain.is_none() {
            let went_behind = self.accepting.acceptor.go_behind(&self.poller);
            self.pause_after_failure(went_behind);
        }
    }

    pub(super) fn resume_accepting(&mut self) {
        let watched = self.accepting.acceptor.watch(&self.poller);
        self.pause_after_failure(watched);
    }

    fn pause_after_failure(&mut self, outcome: io::Result<()>) {
        if outcome.is_err() {
            self.pause_accepting(Acceptor::resumes_at_after_failure(self.turn.now));
        }
    }

    fn pause_accepting(&mut self, until: std::time::Instant) {
        self.accepting.acceptor.pause(&self.poller, until);
    }

    fn report_full(&mut self) {
        let Some(suppressed) = self.accepting.throttles.full.record(self.turn.now) else {
            return;
        };
        let open = (self.context.descriptors).connections(self.slots.in_use());
        let reason = if open < self.context.config.worker_connections {
            "the limit set by the number of descriptors (`ulimit -n`)"
        } else {
            "the limit set by worker_connections"
        };
        let message = format!(
            "{open} connections are open, {reason}; a new connection replaces the one that has been idle longest, \
             or waits until one is closed{}",
            and_suppressed(suppressed)
        );
        self.context
            .error_log
            .write_unless_blocked(Level::Warning, &message);
    }

    pub(super) fn report_failure(&mut self, error: &io::Error) {
        if let Some(suppressed) = self.accepting.throttles.failed.record(self.turn.now) {
            let message = format!(
                "cannot accept a connection: {error}; retrying every 0.1 s (see `ulimit -n`){}",
                and_suppressed(suppressed)
            );
            self.context
                .error_log
                .write_unless_blocked(Level::Error, &message);
        }
    }
}
