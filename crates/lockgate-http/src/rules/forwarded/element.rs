//! The grammar of one hop: an element of `Forwarded` (RFC 7239 §4) or of `X-Forwarded-For`.
//!
//! Lists are parsed from their right end: what a trusted proxy appended has the same meaning whatever stands to the
//! left of it, even an open quotation mark.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::rules::grammar::{is_token, parse_decimal, trim_whitespace};

/// Longer than any address with its port. Longer values are not parsed.
const MAX_NODE: usize = 64;

/// The address of a hop, and its port if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// The source port.
    pub port: Option<u16>,
}

/// One element of `Forwarded`. Values are without their quotation marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Element<'h> {
    pub(super) node: Option<&'h [u8]>,
    pub(super) proto: Option<&'h [u8]>,
    pub(super) host: Option<&'h [u8]>,
}

impl<'h> Element<'h> {
    /// Pairs separated by `;`. `None`: malformed, or a repeated parameter (RFC 7239 §4).
    ///
    /// More liberal than the grammar where that cannot change the meaning: white space around `;`, and unquoted
    /// addresses with a port or brackets.
    pub(super) fn parse(text: &'h [u8]) -> Option<Self> {
        let mut element = Self::default();
        let mut has_by = false;
        let mut rest = text;
        loop {
            rest = trim_start(rest);
            let Some(equals) = rest.iter().position(|&byte| matches!(byte, b'=' | b';')) else {
                return rest.is_empty().then_some(element);
            };
            if rest[equals] == b';' {
                if equals != 0 {
                    return None;
                }
                rest = &rest[1..];
                continue;
            }
            let (name, after) = (&rest[..equals], &rest[equals + 1..]);
            let (value, after) = value(after)?;
            if !is_token(name) {
                return None;
            }
            let place = match name.len() {
                3 if name.eq_ignore_ascii_case(b"for") => Some(&mut element.node),
                5 if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.proto),
                4 if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
                2 if name.eq_ignore_ascii_case(b"by") => {
                    if std::mem::replace(&mut has_by, true) {
                        return None;
                    }
                    None
                }
                _ => None,
            };
            if let Some(place) = place
                && place.replace(value).is_some()
            {
                return None;
            }
            match trim_start(after) {
                [] => return Some(element),
                [b';', after @ ..] => rest = after,
                _ => return None,
            }
        }
    }

    /// The hop that sent to the proxy that wrote this; `None` for `unknown`, obfuscated identifiers and malformed
    /// values.
    pub(super) fn hop(&self) -> Option<Hop> {
        let node = self.node?;
        match node {
            // RFC 7239 §6: an IPv6 address must have brackets here.
            [b'[', ..] => address_and_port(node),
            _ if node.iter().filter(|&&byte| byte == b':').count() > 1 => None,
            _ => address_and_port(node),
        }
    }

    /// Whether the client used TLS; `None` for schemes other than http and https.
    pub(super) fn is_https(&self) -> Option<bool> {
        let proto = self.proto?;
        if proto.eq_ignore_ascii_case(b"https") {
            Some(true)
        } else if proto.eq_ignore_ascii_case(b"http") {
            Some(false)
        } else {
            None
        }
    }
}

/// A value without its quotation marks, and the text after it. Escapes are refused: no address, scheme or host has any.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let [b'"', inner @ ..] = text {
        let end = inner.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        return (inner[end] == b'"').then(|| (&inner[..end], &inner[end + 1..]));
    }
    let is_end = |byte: &u8| matches!(byte, b';' | b' ' | b'\t');
    let end = text.iter().position(is_end).unwrap_or(text.len());
    let value = &text[..end];
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    (!value.is_empty() && value.iter().all(is_plain)).then(|| (value, &text[end..]))
}

/// The parts to the left and to the right of the last comma.
pub(super) fn split_last(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match memchr::memrchr(b',', list) {
        Some(comma) => (Some(&list[..comma]), &list[comma + 1..]),
        None => (None, list),
    }
}

/// The same, but commas between quotation marks do not count. Reads from the right, each byte once.
pub(super) fn split_last_quoted(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    let mut at = list.len();
    while at > 0 {
        at -= 1;
        match list[at] {
            b'"' => {
                let escapes = list[..at]
                    .iter()
                    .rev()
                    .take_while(|byte| **byte == b'\\')
                    .count();
                // Read from the right, an escaped mark occurs only inside a quoted string.
                if !is_quoted || escapes % 2 == 0 {
                    is_quoted = !is_quoted;
                }
                at -= escapes;
            }
            b',' if !is_quoted => return (Some(&list[..at]), &list[at + 1..]),
            _ => {}
        }
    }
    (None, list)
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`; an obfuscated port (`_x`) counts as none.
pub(super) fn address_and_port(text: &[u8]) -> Option<Hop> {
    if text.len() > MAX_NODE {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = if let Some(inner) = text.strip_prefix('[') {
        let (address, after) = inner.split_once(']')?;
        let address = IpAddr::V6(address.parse::<Ipv6Addr>().ok()?);
        (address, after)
    } else if let Ok(address) = text.parse::<Ipv6Addr>() {
        (IpAddr::V6(address), "")
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let address = text[..end].parse::<Ipv4Addr>().ok()?;
        (IpAddr::V4(address), &text[end..])
    };
    Some(Hop {
        address: address.to_canonical(),
        port: port_of(port.as_bytes())?,
    })
}

/// Nothing, `:5` or `:_hidden`; the outer `None` means anything else.
fn port_of(suffix: &[u8]) -> Option<Option<u16>> {
    match suffix {
        [] => Some(None),
        [b':', b'_', name @ ..] => {
            let is_hidden_name =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            name.iter().all(is_hidden_name).then_some(None)
        }
        [b':', digits @ ..] => {
            let port = parse_decimal(digits).ok()??;
            Some(Some(u16::try_from(port).ok()?))
        }
        _ => None,
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    let length = trim_whitespace(text).len();
    let lead = text
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    &text[lead..lead + length]
}
