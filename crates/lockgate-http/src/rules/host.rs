//! Host and authority: one host with an optional port.

use std::net::Ipv6Addr;

use crate::rules::grammar::REG_NAME;

/// Whether `host` is one `uri-host [ ":" port ]`, not empty (RFC 9110 §7.2, RFC 3986 §3.2.2).
///
/// Stricter than the grammar where readers differ: no comma (a joined list), no port above 65535, no
/// IPvFuture, no zone identifier. The port may be empty (RFC 3986 §3.2.3).
pub(crate) fn is_host(host: &[u8]) -> bool {
    let end = reg_name_length(host);
    match (end, &host[end..]) {
        (0, [b'[', literal @ ..]) => is_bracketed(literal),
        (0, _) => false,
        (_, []) => true,
        (_, [b':', port @ ..]) => is_port(port),
        _ => false,
    }
}

/// How many bytes at the start of `host` are a `reg-name` (RFC 3986 §3.2.2): unreserved, sub-delims, and escapes.
#[inline]
fn reg_name_length(host: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = &host[length..];
        length += rest
            .iter()
            .position(|&byte| !REG_NAME[usize::from(byte)])
            .unwrap_or(rest.len());
        match &host[length..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                length += 3;
            }
            _ => return length,
        }
    }
}

/// What follows the opening bracket: an IPv6 address, the closing bracket, and perhaps a port.
fn is_bracketed(literal: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', literal) else {
        return false;
    };
    let is_address =
        std::str::from_utf8(&literal[..end]).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    is_address
        && match &literal[end + 1..] {
            [] => true,
            [b':', port @ ..] => is_port(port),
            _ => false,
        }
}

/// Digits up to 65535, perhaps with leading zeros; or nothing.
#[inline]
fn is_port(digits: &[u8]) -> bool {
    digits
        .iter()
        .try_fold(0_u32, |number, digit| {
            let number = number * 10 + u32::from(digit.wrapping_sub(b'0'));
            (digit.is_ascii_digit() && number <= u32::from(u16::MAX)).then_some(number)
        })
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_host_with_an_optional_port() {
        let good = [
            "h",
            "example.com",
            "a_b.c",
            "127.0.0.1:8000",
            "[::1]",
            "[2001:db8::1]:443",
            "[::ffff:1.2.3.4]",
            "xn--nxasmq6b",
            "a%C3%A9",
            "h:0",
            "h:65535",
            "a.",
            "-x",
            "a:",
            "a:000080",
            "[::1]:",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let bad = [
            "",
            ":80",
            "a/b",
            "a/b?c",
            "a b",
            "a,b",
            "a:1,b:2",
            "a@b",
            "a:b",
            ":",
            "a::",
            "a:65536",
            "a:99999999999999999999",
            "a:+80",
            "a:1:2",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[]:",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "a%",
            "a%4",
            "a%zz",
            "é",
            "a#b",
            "a\\b",
            "a<b",
            "a\"b",
            "[::1]]",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
