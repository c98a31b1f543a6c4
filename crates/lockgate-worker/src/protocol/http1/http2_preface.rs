//! HTTP/2 on a connection that began as HTTP/1: which first bytes are those of an HTTP/2 client (RFC 9113 §3.3, §3.4).

use lockgate_http::Refusal;
use lockgate_http::http2::PREFACE;

/// `PRI * HTTP/2.0` and CRLF.
const FIRST_LINE: usize = 16;

/// The whole input of an HTTP/2 client, whose first request line was refused as HTTP/1. `rest` is the input without
/// what the parser has already taken.
pub(super) fn http2_input(refusal: Refusal, rest: &[u8]) -> Option<Vec<u8>> {
    match refusal {
        // The parser has what came before `rest`: only the preface up to some byte of its first line.
        Refusal::Http2Preface => (0..FIRST_LINE).find_map(|before| {
            let expected = &PREFACE[before..];
            rest.starts_with(&expected[..expected.len().min(rest.len())])
                .then(|| [&PREFACE[..before], rest].concat())
        }),
        // A preface that is not valid is answered with GOAWAY (RFC 9113 §3.4).
        Refusal::InvalidVersion if !resembles_http1(rest) => Some(rest.to_vec()),
        _ => None,
    }
}

/// Whether a client of HTTP/1 may have meant this first line. One with another protocol in place of the version, and
/// without a target of HTTP, is none; a PROXY header at a listener that does not expect it has an answer of its own.
fn resembles_http1(input: &[u8]) -> bool {
    let mut words = input.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let version = words.next().unwrap_or_default();
    let is_target = target.starts_with(b"/") || target.starts_with(b"*") || target.contains(&b':');
    method == b"PROXY" || is_target || version.to_ascii_uppercase().starts_with(b"HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_recognised_wherever_it_was_cut() {
        let input = [&PREFACE[..], b"frames"].concat();
        for before in 0..FIRST_LINE {
            let found = http2_input(Refusal::Http2Preface, &input[before..]);
            assert_eq!(found.as_deref(), Some(&input[..]), "{before}");
        }
    }

    #[test]
    fn only_a_line_that_is_no_request_of_http1_is_a_preface_that_is_not_valid() {
        for (line, is_http2) in [
            ("INVALID CONNECTION PREFACE\r\n\r\n", true),
            ("GET / x\r\n", false),
            ("GET /a HTTP/1\r\n", false),
            ("OPTIONS * x\r\n", false),
            ("GET http://a/ x\r\n", false),
            ("CONNECT a:1 x\r\n", false),
            ("GET a http/1.1\r\n", false),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", false),
        ] {
            let found = http2_input(Refusal::InvalidVersion, line.as_bytes());
            assert_eq!(found.is_some(), is_http2, "{line}");
            assert_eq!(http2_input(Refusal::InvalidMethod, line.as_bytes()), None);
        }
    }
}
