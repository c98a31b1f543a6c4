//! Parser of the PROXY protocol header, versions 1 and 2 (HAProxy's proxy-protocol.txt).
//!
//! Invariant: a result is final. Once some bytes give a result, the same bytes followed by more give the same one.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::rules::grammar::parse_decimal;

/// Which versions are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// The text line.
    V1,
    /// The binary header.
    V2,
    /// Either; the first bytes decide.
    Auto,
}

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes; what follows belongs to the client.
    pub length: usize,
    /// The origin of the connection.
    pub source: ProxySource,
}

/// The origin of a connection behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySource {
    /// The proxy itself (LOCAL, as in health checks), or unknown (UNKNOWN, UNSPEC): only the peer is known.
    Peer,
    /// A client on the network.
    Network {
        /// The client's address.
        source: SocketAddr,
        /// The proxy's address, to which the client connected.
        destination: SocketAddr,
    },
    /// A client on a unix socket of the proxy's machine.
    Unix,
}

/// What is wrong with the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MalformedProxyHeader {
    /// There is no PROXY header.
    Absent,
    /// A header of the version that is not accepted.
    OtherVersion,
    /// A line of more than 107 bytes, the maximum of version 1.
    LineTooLong,
    /// A line that is not `PROXY TCP4|TCP6 source destination port port` or `PROXY UNKNOWN …`, ended by CRLF.
    BadLine,
    /// A version other than 2, or a command other than LOCAL and PROXY.
    BadCommand,
    /// An address family or transport that a stream cannot have.
    BadFamily,
    /// A header too short for its addresses.
    TooShort,
    /// A header longer than 4112 bytes.
    TooLong,
}

/// The longest line: `PROXY TCP6 `, two addresses, two ports and CRLF (proxy-protocol.txt §2.1).
const MAX_LINE: usize = 107;

/// Maximum number of bytes after the first 16. The addresses take up to 216; host names, certificate subjects and cloud providers'
/// identifiers follow as TLVs (§2.2), a few hundred bytes in practice. All TLVs are ignored.
const MAX_PAYLOAD: usize = 4096;

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;

/// Reads a header from the first bytes of a connection; `None`: more bytes are needed.
///
/// Examines at most the 4112 bytes that a header may have.
///
/// # Errors
///
/// The bytes do not begin with a header of an accepted version.
pub fn read_proxy_header(
    bytes: &[u8],
    accepted: ProxyProtocol,
) -> Result<Option<ProxyHeader>, MalformedProxyHeader> {
    let (reader, version): (Reader, _) = if matches_start(bytes, LINE_START) {
        (read_line, ProxyProtocol::V1)
    } else if matches_start(bytes, SIGNATURE) {
        (read_binary, ProxyProtocol::V2)
    } else {
        return Err(MalformedProxyHeader::Absent);
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    if accepted != ProxyProtocol::Auto && accepted != version {
        // One byte is not enough: an HTTP request may begin with `P`, or with an empty line.
        let start = if version == ProxyProtocol::V1 {
            LINE_START
        } else {
            SIGNATURE
        };
        return if bytes.len() < start.len() {
            Ok(None)
        } else {
            Err(MalformedProxyHeader::OtherVersion)
        };
    }
    reader(bytes)
}

type Reader = fn(&[u8]) -> Result<Option<ProxyHeader>, MalformedProxyHeader>;

/// Whether the bytes received so far match `start`.
fn matches_start(bytes: &[u8], start: &[u8]) -> bool {
    let length = bytes.len().min(start.len());
    bytes[..length] == start[..length]
}

fn read_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, MalformedProxyHeader> {
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return if window.len() == MAX_LINE {
            Err(MalformedProxyHeader::LineTooLong)
        } else {
            Ok(None)
        };
    };
    match window.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if window.len() == MAX_LINE => return Err(MalformedProxyHeader::LineTooLong),
        None if window[end] == b'\r' => return Ok(None),
        _ => return Err(MalformedProxyHeader::BadLine),
    }
    let source = source_of_line(&window[..end]).ok_or(MalformedProxyHeader::BadLine)?;
    Ok(Some(ProxyHeader {
        length: end + 2,
        source,
    }))
}

fn source_of_line(line: &[u8]) -> Option<ProxySource> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ').skip(1);
    let is_ipv4 = match words.next()? {
        // The rest of the line is to be ignored.
        "UNKNOWN" => return Some(ProxySource::Peer),
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        if is_ipv4 {
            Some(IpAddr::V4(word.parse::<Ipv4Addr>().ok()?))
        } else {
            Some(IpAddr::V6(word.parse::<Ipv6Addr>().ok()?))
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || parse_port(words.next()?);
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return None;
    }
    Some(network(
        (source, source_port),
        (destination, destination_port),
    ))
}

/// Leading zeros are not permitted (§2.1).
fn parse_port(word: &str) -> Option<u16> {
    let number = parse_decimal(word.as_bytes()).ok()??;
    let is_plain = word == "0" || !word.starts_with('0');
    u16::try_from(number).ok().filter(|_| is_plain)
}

fn read_binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, MalformedProxyHeader> {
    let Some(&command) = bytes.get(SIGNATURE.len()) else {
        return Ok(None);
    };
    if command != 0x20 && command != 0x21 {
        return Err(MalformedProxyHeader::BadCommand);
    }
    let Some(&[family, high, low]) = bytes.get(SIGNATURE.len() + 1..FIXED) else {
        return Ok(None);
    };
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let is_local = command == 0x20;
    let needed = match family {
        // The family of LOCAL is to be ignored (§2.2).
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(MalformedProxyHeader::BadFamily),
    };
    if payload < needed {
        return Err(MalformedProxyHeader::TooShort);
    }
    if payload > MAX_PAYLOAD {
        return Err(MalformedProxyHeader::TooLong);
    }
    let Some(addresses) = bytes.get(FIXED..FIXED + payload) else {
        return Ok(None);
    };
    let source = match (family, addresses) {
        _ if is_local => ProxySource::Peer,
        (0x11, [a, b, c, d, e, f, g, h, ports @ ..]) => network_of(
            IpAddr::from([*a, *b, *c, *d]),
            IpAddr::from([*e, *f, *g, *h]),
            ports,
        ),
        (0x21, addresses) => match (addresses.first_chunk::<16>(), addresses.get(16..)) {
            (Some(source), Some(rest)) => match rest.split_first_chunk::<16>() {
                Some((destination, ports)) => {
                    network_of(IpAddr::from(*source), IpAddr::from(*destination), ports)
                }
                None => ProxySource::Peer,
            },
            _ => ProxySource::Peer,
        },
        (0x31, _) => ProxySource::Unix,
        _ => ProxySource::Peer,
    };
    Ok(Some(ProxyHeader {
        length: FIXED + payload,
        source,
    }))
}

fn network_of(source: IpAddr, destination: IpAddr, ports: &[u8]) -> ProxySource {
    match ports {
        [a, b, c, d, ..] => network(
            (source, u16::from_be_bytes([*a, *b])),
            (destination, u16::from_be_bytes([*c, *d])),
        ),
        _ => ProxySource::Peer,
    }
}

/// An IPv4-mapped address of a dual-stack socket becomes an IPv4 address.
fn network(source: (IpAddr, u16), destination: (IpAddr, u16)) -> ProxySource {
    ProxySource::Network {
        source: SocketAddr::new(source.0.to_canonical(), source.1),
        destination: SocketAddr::new(destination.0.to_canonical(), destination.1),
    }
}

impl fmt::Display for MalformedProxyHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Absent => "it does not begin with a PROXY header",
            Self::OtherVersion => {
                "its PROXY header has a version that proxy_protocol does not accept"
            }
            Self::LineTooLong => "its PROXY line is longer than 107 bytes",
            Self::BadLine => "its PROXY line is malformed",
            Self::BadCommand => "its PROXY header has an unknown version or command",
            Self::BadFamily => "its PROXY header is for a transport other than a stream",
            Self::TooShort => "its PROXY header is too short for its addresses",
            Self::TooLong => "its PROXY header is longer than 4112 bytes",
        })
    }
}

impl Error for MalformedProxyHeader {}

#[cfg(test)]
mod tests;
