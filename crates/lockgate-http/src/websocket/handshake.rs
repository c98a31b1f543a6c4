//! The opening handshake (RFC 6455 §4.2): a request in, an acceptance or a refusal out.

use std::error::Error;
use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;

use crate::request::{Framing, RequestHead, Version};
use crate::rules::grammar::{is_token, trim_whitespace};

/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// A method other than GET.
    Method,
    /// A version other than HTTP/1.1.
    HttpVersion,
    /// A request with a body.
    Body,
    /// No Upgrade with `websocket`.
    Upgrade,
    /// No Connection with `Upgrade`.
    Connection,
    /// Not one Sec-WebSocket-Version of 13.
    Version,
    /// Not one Sec-WebSocket-Key of 16 bytes in Base64.
    Key,
    /// A Sec-WebSocket-Protocol that is not a list of tokens, or that repeats one.
    Protocol,
}

impl HandshakeRefusal {
    /// The status of the response. 426 goes with [`HandshakeRefusal::fields`].
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Upgrade | Self::Version => 426,
            _ => 400,
        }
    }

    /// The fields that the response needs (RFC 6455 §4.4, RFC 9110 §15.5.6, §15.5.22).
    pub fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::Upgrade | Self::Version => &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "13"),
            ],
            _ => &[],
        }
    }

    /// The reason, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method is not GET",
            Self::HttpVersion => "version is not HTTP/1.1",
            Self::Body => "request has a body",
            Self::Upgrade => "Upgrade is not websocket",
            Self::Connection => "Connection has no Upgrade",
            Self::Version => "Sec-WebSocket-Version is not 13",
            Self::Key => "invalid Sec-WebSocket-Key",
            Self::Protocol => "invalid Sec-WebSocket-Protocol",
        }
    }
}

impl fmt::Display for HandshakeRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Error for HandshakeRefusal {}

/// A request that opens a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    accept: String,
    protocols: Vec<String>,
}

impl Acceptance {
    /// Whether `head` opens a WebSocket.
    pub fn of(head: &RequestHead) -> Result<Self, HandshakeRefusal> {
        use HandshakeRefusal as Refusal;
        let checks = [
            (head.method() == b"GET", Refusal::Method),
            (head.version() == Version::Http11, Refusal::HttpVersion),
            (!has_body(head), Refusal::Body),
            (lists(head, "Upgrade", b"websocket"), Refusal::Upgrade),
            (lists(head, "Connection", b"upgrade"), Refusal::Connection),
            (
                only(head, "Sec-WebSocket-Version") == Some(b"13"),
                Refusal::Version,
            ),
        ];
        if let Some((_, refusal)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(refusal);
        }
        let key = only(head, "Sec-WebSocket-Key")
            .filter(|key| is_key(key))
            .ok_or(Refusal::Key)?;
        Ok(Self {
            accept: accept_of(key),
            protocols: read_protocols(head)?,
        })
    }

    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(String::as_str)
    }

    /// The fields of the 101 response. A `protocol` that the client did not offer is left out (RFC 6455 §4.2.2).
    pub fn fields<'a>(&'a self, protocol: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let mut fields = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", &*self.accept),
        ];
        let offered = protocol.filter(|&name| self.protocols().any(|offer| offer == name));
        fields.extend(offered.map(|name| ("Sec-WebSocket-Protocol", name)));
        fields
    }
}

fn has_body(head: &RequestHead) -> bool {
    !matches!(head.framing(), Framing::None | Framing::Length(0))
}

fn values<'h>(head: &'h RequestHead, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    head.headers()
        .filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

fn elements<'h>(head: &'h RequestHead, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    values(head, name)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(trim_whitespace)
        .filter(|element| !element.is_empty())
}

fn lists(head: &RequestHead, name: &str, token: &[u8]) -> bool {
    elements(head, name).any(|element| element.eq_ignore_ascii_case(token))
}

/// The value of the field, if there is exactly one.
fn only<'h>(head: &'h RequestHead, name: &'h str) -> Option<&'h [u8]> {
    let mut values = values(head, name);
    values.next().filter(|_| values.next().is_none())
}

fn read_protocols(head: &RequestHead) -> Result<Vec<String>, HandshakeRefusal> {
    let mut protocols = Vec::new();
    for element in elements(head, "Sec-WebSocket-Protocol") {
        let name = String::from_utf8_lossy(element).into_owned();
        if !is_token(element) || protocols.contains(&name) {
            return Err(HandshakeRefusal::Protocol);
        }
        protocols.push(name);
    }
    Ok(protocols)
}

/// Whether `key` is the Base64 form of 16 bytes. The unused bits of its last digit may be set: some clients fill them.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

fn accept_of(key: &[u8]) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    BASE64.encode(hash.as_ref())
}
