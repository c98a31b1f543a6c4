//! Encoder of interim response heads: 100, 101, 103 (RFC 9110 §15.2).

use crate::error::BadResponse;
use crate::http1::encode::push_line;
use crate::response::{KnownField, check_header, known_field};
use crate::status::reason_phrase;

/// The interim response to `Expect: 100-continue` (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const SWITCHING_PROTOCOLS: u16 = 101;

/// Appends an interim head with `headers` to `out`. Only an HTTP/1.1 client may get one (RFC 9110 §15.2).
///
/// Hop-by-hop fields and Content-Length are checked and left out (RFC 9110 §8.6), but a 101 keeps its Upgrade, and lists
/// it in Connection (§7.8).
///
/// # Errors
///
/// A status outside 100..=199, a name or a value that is not valid, a 101 without Upgrade. `out` is then unchanged.
pub fn encode_interim_head<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
) -> Result<(), BadResponse> {
    if !(100..=199).contains(&status) {
        return Err(BadResponse::InvalidInterimStatus(status));
    }
    let start = out.len();
    let reason = reason_phrase(status);
    out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    let mut has_upgrade = false;
    for (name, value) in headers {
        if let Err(fault) = check_header(name, value) {
            out.truncate(start);
            return Err(fault);
        }
        match known_field(name) {
            KnownField::Upgrade if status == SWITCHING_PROTOCOLS => has_upgrade = true,
            KnownField::Other | KnownField::Date | KnownField::Server => {}
            _ => continue,
        }
        out.extend_from_slice(name);
        push_line(out, b": ", value);
    }
    if status == SWITCHING_PROTOCOLS {
        if !has_upgrade {
            out.truncate(start);
            return Err(BadResponse::MissingUpgrade);
        }
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and headers; what follows the version.
    type Case<'a> = (u16, &'a [(&'a str, &'a str)], Result<&'a str, BadResponse>);

    #[test]
    fn an_interim_head_has_its_fields_and_no_framing() {
        let link = ("Link", "</a.css>; rel=preload");
        let cases: [Case<'_>; 9] = [
            (100, &[], Ok("100 Continue\r\n\r\n")),
            (
                103,
                &[link, ("Content-Length", "3"), ("Connection", "close")],
                Ok("103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"),
            ),
            (
                103,
                &[("Upgrade", "websocket"), ("Transfer-Encoding", "chunked")],
                Ok("103 Early Hints\r\n\r\n"),
            ),
            (
                101,
                &[("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "x")],
                Ok(
                    "101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\
                    Connection: upgrade\r\n\r\n",
                ),
            ),
            (101, &[link], Err(BadResponse::MissingUpgrade)),
            (200, &[], Err(BadResponse::InvalidInterimStatus(200))),
            (99, &[], Err(BadResponse::InvalidInterimStatus(99))),
            (
                103,
                &[link, ("X Y", "z")],
                Err(BadResponse::InvalidHeaderName),
            ),
            (
                101,
                &[("Upgrade", "a\r\nB: c")],
                Err(BadResponse::ForbiddenByteInHeaderValue),
            ),
        ];
        for (status, headers, expected) in cases {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let mut out = b">".to_vec();
            let answer = encode_interim_head(&mut out, status, headers).map(|()| &out[1..]);
            let expected = expected.map(|text| format!("HTTP/1.1 {text}").into_bytes());
            assert_eq!(answer.map(<[u8]>::to_vec), expected, "{status}");
            assert!(expected.is_ok() || out == b">", "{status}");
        }
        let mut out = Vec::new();
        encode_interim_head(&mut out, 100, []).unwrap();
        assert_eq!(out, CONTINUE);
    }
}
