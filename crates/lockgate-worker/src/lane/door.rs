//! The lane's door: new connections come in as long as there is room, and none any more once the worker drains.
//! Knows nothing of what is said on a connection.

use std::sync::Arc;
use std::time::Duration;

use super::{DRAIN_LINGER, Lane};
use crate::accept::{ACCEPTS_AT_ONCE, Acceptor, Arrival};
use crate::connection::Connection;
use crate::request::{Client, Local};
use crate::shared::{Shared, StopMode};
use crate::transport::{Plain, Transport};

impl Lane {
    pub(super) fn accept(&mut self, shared: &Arc<Shared>, token: u64) {
        let room = shared
            .config
            .worker_connections
            .saturating_sub(self.slots.in_use());
        if room == 0 {
            // Looked at again when a connection closes; the timer is for those that close unseen.
            return self
                .acceptor
                .rest(&self.poller, self.bench.now + Duration::from_secs(1));
        }
        let share = self
            .acceptor
            .share(&self.poller, self.slots.in_use(), self.bench.now);
        if share == 0 {
            return;
        }
        let mut arrivals = std::mem::take(&mut self.arrivals);
        if let Err(error) = self.acceptor.accept(token, room.min(share), &mut arrivals) {
            shared.report_accept_failure(&error);
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.bench.now));
        }
        if arrivals.len() >= room.min(share).min(ACCEPTS_AT_ONCE) {
            self.sight.note_left_over();
        }
        for arrival in arrivals.drain(..) {
            self.welcome(shared, arrival);
        }
        self.arrivals = arrivals;
        let held = self.slots.in_use();
        if self
            .acceptor
            .give_way(&self.poller, held, self.requests)
            .is_err()
        {
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.bench.now));
        }
    }

    fn welcome(&mut self, shared: &Arc<Shared>, arrival: Arrival) {
        let transport = Box::new(Plain::new(arrival.socket));
        self.adopt(shared, transport, arrival.client, arrival.local);
    }

    /// Serves what comes over any transport.
    pub fn adopt(
        &mut self,
        shared: &Arc<Shared>,
        transport: Box<dyn Transport>,
        client: Arc<Client>,
        local: Arc<Local>,
    ) {
        let slot = self.slots.insert();
        let connection = Connection::new(
            Arc::clone(shared),
            slot,
            transport,
            client,
            local,
            self.bench.now,
        );
        let token = connection.slot.token();
        if let Err(error) = self
            .poller
            .watch_connection(connection.transport.descriptor(), token)
        {
            shared.report_accept_failure(&error);
            return self.slots.remove(token);
        }
        // Under load the request is there by now; if not, the read costs less than another turn would.
        self.drive(Box::new(connection));
    }

    pub(super) fn release(&mut self, token: u64) {
        self.slots.remove(token);
        if !self.is_draining && self.acceptor.may_resume(self.slots.in_use()) {
            // A descriptor and a place are free again.
            self.resume_accepting();
        }
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.acceptor.watch(&self.poller).is_err() {
            self.acceptor
                .rest(&self.poller, Acceptor::rest_after_failure(self.bench.now));
        }
    }

    pub(super) fn apply_stop(&mut self, shared: &Arc<Shared>) {
        if shared.stop_mode() == StopMode::Serve || self.is_draining {
            return;
        }
        self.is_draining = true;
        let mut arrivals = Vec::new();
        self.acceptor.close(&self.poller, &mut arrivals);
        for arrival in arrivals {
            self.welcome(shared, arrival);
        }
        let by = self.bench.now + DRAIN_LINGER;
        let tokens: Vec<u64> = self.slots.iter().map(|slot| slot.token()).collect();
        for token in tokens {
            let held = self
                .slots
                .get(token)
                .and_then(|slot| slot.lock().connection.take());
            if let Some(mut connection) = held {
                connection.shorten_waiting(by);
                self.put_back(connection);
            }
        }
    }
}
