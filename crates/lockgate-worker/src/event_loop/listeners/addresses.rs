//! The number of connections that each client address holds, for `connections_per_address`.
//!
//! Invariant: an address without connections has no entry, so memory is bounded by the number of connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

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

/// The connections of one worker, by client. Empty and unused without a limit.
#[derive(Debug, Default)]
pub struct Addresses {
    held: HashMap<Network, u32>,
    /// The client of the connection with this slot token.
    holders: HashMap<u64, Network>,
}

impl Addresses {
    /// Whether a client may have one more connection; always true with a limit of 0 and without an address.
    pub fn has_room(&self, network: Option<Network>, limit: u32) -> bool {
        match network {
            Some(network) if limit > 0 => self.held.get(&network).is_none_or(|held| *held < limit),
            _ => true,
        }
    }

    /// A connection of this client has been given a slot.
    pub fn enter(&mut self, token: u64, network: Option<Network>) {
        if let Some(network) = network {
            *self.held.entry(network).or_default() += 1;
            self.holders.insert(token, network);
        }
    }

    /// The slot is free again.
    pub fn leave(&mut self, token: u64) {
        let Some(network) = self.holders.remove(&token) else {
            return;
        };
        if let Entry::Occupied(mut held) = self.held.entry(network) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
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
        let mut addresses = Addresses::default();
        for token in 0..3 {
            assert!(addresses.has_room(one, 3));
            addresses.enter(token, one);
        }
        assert!(!addresses.has_room(one, 3));
        assert!(addresses.has_room(one, 4) && addresses.has_room(one, 0));
        assert!(addresses.has_room(other, 3) && addresses.has_room(None, 1));
        addresses.leave(1);
        addresses.leave(1);
        assert!(addresses.has_room(one, 3), "the same token frees one place");
        addresses.enter(7, one);
        assert!(!addresses.has_room(one, 3));
    }

    #[test]
    fn an_address_without_connections_has_no_entry() {
        let mut addresses = Addresses::default();
        for token in 0..1000 {
            addresses.enter(token, network(&format!("192.0.2.{}", token % 200)));
        }
        addresses.enter(1000, None);
        for token in 0..=1000 {
            addresses.leave(token);
        }
        assert!(addresses.held.is_empty() && addresses.holders.is_empty());
    }
}
