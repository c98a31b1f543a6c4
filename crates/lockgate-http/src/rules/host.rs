//! Host and authority: one host with an optional port.

use std::net::Ipv6Addr;

use crate::rules::grammar::{REG_NAME, parse_decimal};

/// Whether `host` is one `uri-host [ ":" port ]`, not empty (RFC 9110 §7.2, RFC 3986 §3.2.2).
///
/// Stricter than the grammar where readers differ: no comma (a joined list), no port above 65535, no
/// IPvFuture, no zone identifier. The port may be empty (RFC 3986 §3.2.3).
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', inner @ ..] => {
            let Some(end) = memchr::memchr(b']', inner) else {
                return false;
            };
            if !is_ipv6(&inner[..end]) {
                return false;
            }
            (&host[..end + 2], &inner[end + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', host).unwrap_or(host.len());
            if !is_reg_name(&host[..end]) {
                return false;
            }
            host.split_at(end)
        }
    };
    !name.is_empty() && is_port_suffix(port)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_reg_name(name: &[u8]) -> bool {
    if name.iter().all(|&byte| REG_NAME[byte as usize]) {
        return true;
    }
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, after) if REG_NAME[*byte as usize] => after,
            _ => return false,
        };
    }
    true
}

fn is_port_suffix(suffix: &[u8]) -> bool {
    match suffix {
        [] => true,
        [b':'] => true,
        [b':', digits @ ..] => {
            matches!(parse_decimal(digits), Ok(Some(port)) if port <= u64::from(u16::MAX))
        }
        _ => false,
    }
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
