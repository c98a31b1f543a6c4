//! The number of connections that each client address holds, for `connections_per_address`.
//!
//! Invariant: an address without connections has no entry, so memory is bounded by the number of connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What counts as one client. IPv6 networks give each customer at least a /64 (RFC 6177 §2), so single addresses of it
/// are free to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    Four(u32),
    Six(u64),
}

impl Network {
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Four(address.to_bits()),
            IpAddr::V6(address) => Self::Six((address.to_bits() >> 64) as u64),
        }
    }
}

/// How many connections of a worker each client has. All its event loops count here, because an operator limits what a
/// client may have of a worker. Without a limit the lock is never taken; with one, for each connection and not for each
/// request.
#[derive(Debug, Clone, Default)]
pub struct AddressCounts(Arc<Mutex<HashMap<Network, u32>>>);

impl AddressCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Network, u32>> {
        // Only an allocation can panic under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of a client. False: it has its maximum. Always true with a limit of 0 and without an
    /// address, which are not counted.
    pub fn take(&self, network: Option<Network>, limit: u32) -> bool {
        let Some(network) = network.filter(|_| limit > 0) else {
            return true;
        };
        let mut held = self.lock();
        let count = held.get(&network).copied().unwrap_or(0);
        let has_room = count < limit;
        if has_room {
            held.insert(network, count + 1);
        }
        has_room
    }

    fn give_back(&self, network: Network) {
        if let Entry::Occupied(mut held) = self.lock().entry(network) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// The connections of one event loop that are counted.
#[derive(Debug, Default)]
pub struct Addresses {
    counts: AddressCounts,
    /// The client of the connection with this slot token.
    holders: HashMap<u64, Network>,
}

impl Addresses {
    pub fn new(counts: AddressCounts) -> Self {
        Self {
            counts,
            holders: HashMap::new(),
        }
    }

    /// As [`AddressCounts::take`]; [`Addresses::enter`] follows.
    pub fn take(&self, network: Option<Network>, limit: u32) -> bool {
        self.counts.take(network, limit)
    }

    /// A connection that was counted has been given a slot.
    pub fn enter(&mut self, token: u64, network: Option<Network>) {
        if let Some(network) = network {
            self.holders.insert(token, network);
        }
    }

    /// The slot is free again.
    pub fn leave(&mut self, token: u64) {
        if let Some(network) = self.holders.remove(&token) {
            self.counts.give_back(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Option<Network> {
        Some(Network::of(address.parse().unwrap()))
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let cases = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "0.0.0.1", false),
        ];
        for (one, other, is_same) in cases {
            assert_eq!(network(one) == network(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn a_client_at_its_limit_has_room_again_when_a_connection_ends() {
        let (one, other) = (network("192.0.2.1"), network("2001:db8::1"));
        let counts = AddressCounts::default();
        // Two event loops of a worker.
        let mut loops = [(); 2].map(|()| Addresses::new(counts.clone()));
        for token in 0..4 {
            let addresses = &mut loops[token as usize % 2];
            assert!(addresses.take(one, 4));
            addresses.enter(token, one);
        }
        for addresses in &loops {
            assert!(!addresses.take(one, 4), "in whichever event loop they are");
            assert!(addresses.take(other, 4) && addresses.take(None, 1));
        }
        loops[0].leave(2);
        loops[0].leave(2);
        assert!(loops[1].take(one, 4), "the same token frees one place");
        loops[1].enter(7, one);
        assert!(loops.iter().all(|addresses| !addresses.take(one, 4)));
        assert!(loops[0].take(one, 0), "there is no limit");
    }

    #[test]
    fn an_address_without_connections_has_no_entry() {
        let mut addresses = Addresses::default();
        for token in 0..1000 {
            let network = network(&format!("192.0.2.{}", token % 200));
            assert!(addresses.take(network, 5));
            addresses.enter(token, network);
        }
        addresses.enter(1000, None);
        for token in 0..=1000 {
            addresses.leave(token);
        }
        assert!(addresses.counts.lock().is_empty() && addresses.holders.is_empty());
    }
}
