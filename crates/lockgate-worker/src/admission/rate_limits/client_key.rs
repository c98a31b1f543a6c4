//! Who is counted as one client: its address, the value of a field or of a cookie, or all together.
//!
//! A value that could be written in several ways for the same client is not used: then its address counts. Otherwise
//! each way would be a client of its own.

use std::net::IpAddr;

use lockgate_config::RateKey;
use lockgate_http::RequestHead;
use lockgate_shm::rates::ShownKey;

use crate::exchange::request::Request;

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientKey<'a> {
    V4([u8; 4]),
    /// The first half of an IPv6 address: one customer of a provider has all of the other half.
    V6([u8; 8]),
    /// Sockets that have no addresses.
    Unix,
    Everyone,
    Value(&'a [u8]),
}

impl<'a> ClientKey<'a> {
    #[inline]
    pub(super) fn of(key: &RateKey, request: &'a Request) -> Self {
        let head = &request.head;
        let value = match key {
            RateKey::Everyone => return Self::Everyone,
            RateKey::Address => None,
            RateKey::Header(name) => field(head, name),
            RateKey::Cookie(name) => cookie(head, name.as_bytes()),
        };
        value.map_or_else(|| Self::of_address(request.client.address()), Self::Value)
    }

    fn of_address(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Unix,
            Some(IpAddr::V4(address)) => Self::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// What is hashed, with a number that differs for each kind.
    pub(super) fn parts(&self) -> (u64, &[u8]) {
        match self {
            Self::V4(address) => (1, address),
            Self::V6(prefix) => (2, prefix),
            Self::Unix => (3, b""),
            Self::Everyone => (4, b""),
            Self::Value(value) => (5, value),
        }
    }

    /// What operators see of it.
    pub(super) fn shown(&self) -> ShownKey {
        match *self {
            Self::V4(address) => ShownKey::V4(address),
            Self::V6(prefix) => ShownKey::V6(prefix),
            Self::Unix => ShownKey::Unix,
            Self::Everyone => ShownKey::Everyone,
            Self::Value(_) => ShownKey::Hash,
        }
    }
}

/// The value of a field that is there once.
fn field<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let mut values = (head.headers())
        .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value);
    let value = values.next()?;
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

/// The value of a cookie that is there once, and not in quotes: applications take the first or the last one, and decode
/// what is in quotes.
fn cookie<'a>(head: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    let fields = (head.headers()).filter(|(other, _)| other.eq_ignore_ascii_case(b"cookie"));
    let pairs = fields.flat_map(|(_, value)| value.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (found, value) = pair.split_at(at);
        (found.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    let value = values.next()?;
    let is_plain = !value.is_empty() && !value.starts_with(b"\"");
    (values.next().is_none() && is_plain).then_some(value)
}
