//! Accepting: the event loop takes new connections while there is room, and none once the worker drains.

use std::io::{self, IoSlice};
use std::sync::Arc;

use lockgate_http::{LocalResponse, ResponseContext};
use lockgate_observe::Level;

use super::EventLoop;
use super::eviction::LEAST_IDLE;
use crate::date::with_date;
use crate::http1::Connection;
use crate::listeners::{ACCEPTS_AT_ONCE, Acceptor, Arrival};
use crate::log::throttle::{LogThrottle, and_suppressed};
use crate::shared::Shared;
use crate::transport::{Plain, Transport};

/// Warnings about accepting that may recur many times.
#[derive(Default)]
pub(super) struct AcceptThrottles {
    full: LogThrottle,
    failed: LogThrottle,
    crowded: LogThrottle,
    pub(super) saturated: LogThrottle,
}

impl EventLoop {
    pub(super) fn accept(&mut self, shared: &Arc<Shared>, token: u64) {
        let mut room = shared.descriptors.room_for_connections(self.slots.in_use());
        let mut evictable = Vec::new();
        if room == 0 {
            evictable = self.find_evictable(shared.config.keep_alive, ACCEPTS_AT_ONCE);
            room = evictable.len();
            self.report_full(shared);
        }
        if room == 0 {
            self.arrival_clock.on_pause();
            // Checked again when a connection closes, or when one has been idle for long enough.
            return self
                .acceptor
                .rest(&self.poller, self.scratch.now + LEAST_IDLE);
        }
        let share = self
            .acceptor
            .share(&self.poller, self.slots.in_use(), self.scratch.now);
        if share == 0 {
            return self.arrival_clock.on_pause();
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        if let Err(error) = self.acceptor.accept(token, room.min(share), &mut arrivals) {
            self.report_failure(shared, &error);
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.scratch.now));
        }
        let taken = arrivals.len();
        for token in evictable.into_iter().take(taken) {
            self.evict(token);
        }
        let part = (taken >= room.min(share).min(ACCEPTS_AT_ONCE)).then_some(taken);
        let backlog = usize::try_from(shared.config.backlog).unwrap_or(usize::MAX);
        self.arrival_clock
            .record_accepted(self.scratch.now, part, backlog);
        let came_at = std::mem::replace(
            &mut self.arrival_clock.came_at,
            self.arrival_clock.arrived_at,
        );
        for arrival in arrivals.drain(..) {
            self.admit(shared, arrival);
        }
        self.arrival_clock.came_at = came_at;
        self.arrivals = arrivals;
        let held = self.slots.in_use();
        if self
            .acceptor
            .give_way(&self.poller, held, self.requests)
            .is_err()
        {
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.scratch.now));
        }
    }

    pub(super) fn admit(&mut self, shared: &Arc<Shared>, arrival: Arrival) {
        let limit = shared.config.limits.connections_per_address;
        // Not counted without a limit, nor for a proxy or a balancer, whose address has many clients.
        let network = arrival
            .network
            .filter(|_| limit > 0 && !shared.proxies.may_be_proxy(&arrival.client));
        if !self.addresses.has_room(network, limit) {
            return self.refuse_connection(shared, arrival);
        }
        let slot = self.slots.insert();
        self.addresses.enter(slot.token(), network);
        let connection = Connection::new(
            Arc::clone(shared),
            slot,
            Box::new(Plain::new(arrival.socket)),
            arrival.client,
            arrival.local,
            self.scratch.now,
        );
        self.open(connection);
    }

    /// Answers and drops a client that has its maximum of connections: what it has sent so far is read, so that the
    /// close does not become a reset that discards the answer, but no more input is awaited.
    fn refuse_connection(&mut self, shared: &Arc<Shared>, arrival: Arrival) {
        let limit = shared.config.limits.connections_per_address;
        if let Some(suppressed) = self.complaints.crowded.note(self.scratch.now) {
            let message = format!(
                "refused a connection of {}: it has {limit} already, see limit_connections_per_address{}",
                arrival.client.host,
                and_suppressed(suppressed)
            );
            shared
                .error_log
                .write_unless_blocked(Level::Warning, &message);
        }
        let mut answer = Vec::new();
        let response = LocalResponse::text(429, "this address has too many connections").closing();
        with_date(|date| {
            let server = shared.server_header.as_deref();
            let context = ResponseContext::closing(false, date, server);
            response.encode(&mut answer, &context)
        });
        let mut transport = Plain::new(arrival.socket);
        // A failure here has no remedy: the connection is dropped in any case.
        let _ = transport.read(&mut self.scratch.buffer);
        let _ = transport.write(&[IoSlice::new(&answer)]);
        let _ = transport.shutdown_write();
    }

    /// Serves a connection over any transport.
    #[cfg(test)]
    pub fn adopt(
        &mut self,
        shared: &Arc<Shared>,
        transport: Box<dyn Transport>,
        client: Arc<crate::exchange::request::Client>,
        local: Arc<crate::exchange::request::Local>,
    ) {
        let slot = self.slots.insert();
        let now = self.scratch.now;
        let connection = Connection::new(Arc::clone(shared), slot, transport, client, local, now);
        self.open(connection);
    }

    fn open(&mut self, connection: Connection) {
        let token = connection.slot.token();
        if let Err(error) = self
            .poller
            .watch_connection(connection.transport.descriptor(), token)
        {
            let shared = Arc::clone(&connection.shared);
            drop(connection);
            self.report_failure(&shared, &error);
            self.addresses.leave(token);
            return self.slots.remove(token);
        }
        // Under load the request has arrived by now; if not, the read costs less than another turn would.
        self.drive(Box::new(connection));
    }

    pub(super) fn release(&mut self, token: u64) {
        if (self.slots.get(token)).is_some_and(|slot| slot.hold().keeps_slot()) {
            return;
        }
        self.slots.remove(token);
        self.addresses.leave(token);
        if self.drain.is_none() && self.acceptor.may_resume(self.slots.in_use()) {
            // A descriptor and a place are free again.
            self.resume_accepting();
        }
    }

    /// Starts accepting; the worker has accepted nothing so far.
    pub(super) fn begin_accepting(&mut self) {
        if self.drain.is_none() {
            self.acceptor.enter();
            self.resume_accepting();
        }
    }

    /// Moves this worker behind other workers, which are to get new connections first.
    pub(super) fn let_others_go_first(&mut self) {
        if self.drain.is_none() && self.acceptor.go_behind(&self.poller).is_err() {
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.scratch.now));
        }
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.acceptor.watch(&self.poller).is_err() {
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.scratch.now));
        }
    }

    fn report_full(&mut self, shared: &Shared) {
        let Some(suppressed) = self.complaints.full.note(self.scratch.now) else {
            return;
        };
        let open = self.slots.in_use();
        let reason = if open < shared.config.worker_connections {
            "as many as the number of descriptors (`ulimit -n`) allows beside files"
        } else {
            "as many as worker_connections allows"
        };
        let message = format!(
            "{open} connections are open, {reason}; a new one takes the place of the one that was idle longest, \
             or waits until one ends{}",
            and_suppressed(suppressed)
        );
        shared
            .error_log
            .write_unless_blocked(Level::Warning, &message);
    }

    fn report_failure(&mut self, shared: &Shared, error: &io::Error) {
        if let Some(suppressed) = self.complaints.failed.note(self.scratch.now) {
            let message = format!(
                "cannot accept a connection: {error}; tried again every 0.1 s (see `ulimit -n`){}",
                and_suppressed(suppressed)
            );
            shared
                .error_log
                .write_unless_blocked(Level::Error, &message);
        }
    }
}
