//! Request targets (RFC 9112 §3.2): the four forms and their parts.
//!
//! Invariant: every byte of the target has been checked against `grammar::TARGET`.

use crate::error::Refusal;
use crate::rules::grammar::{TARGET, hexadecimal_digit};
use crate::rules::host::is_host;
use crate::span::Span;

/// The positions of a target's parts in the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TargetParts {
    /// Absolute-form only.
    pub(crate) authority: Option<Span>,
    /// `None` when an absolute-form has no path.
    pub(crate) path: Option<Span>,
    pub(crate) query: Span,
    /// Asterisk-form, or its equivalent: an absolute-form of OPTIONS without path and query (RFC 9112 §3.2.4).
    pub(crate) is_asterisk: bool,
    /// An absolute-form whose scheme is https.
    pub(crate) is_https: bool,
}

/// Appends `raw` to `out` with each `%XX` decoded. Malformed escapes stay as they are, and `%2F` becomes a slash like
/// any other: the caller interprets the bytes.
pub fn decode_path(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let byte = match rest {
            [_, high, low, ..] => hexadecimal_digit(*high).zip(hexadecimal_digit(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[3..];
            }
            None => {
                out.push(b'%');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

/// The bytes of `target` before the first that may not be in one, and why that may not.
pub(crate) fn check_target(target: &[u8]) -> (&[u8], Result<(), Refusal>) {
    match target.iter().position(|&byte| !TARGET[usize::from(byte)]) {
        Some(at) => (&target[..at], Err(forbidden_byte(target[at]))),
        None => (target, Ok(())),
    }
}

/// Why a byte may not be in a target.
#[cold]
pub(crate) fn forbidden_byte(byte: u8) -> Refusal {
    match byte {
        b'#' => Refusal::FragmentInTarget,
        0x80.. => Refusal::NonAsciiInTarget,
        _ => Refusal::ForbiddenByteInTarget,
    }
}

/// Splits `target`, which starts `offset` bytes into its head (RFC 9112 §3.2).
pub(crate) fn split_target(
    target: &[u8],
    offset: usize,
    method: &[u8],
) -> Result<TargetParts, Refusal> {
    if target.first() == Some(&b'/') {
        return Ok(split_path(target, offset, 0, None));
    }
    if target == b"*" {
        if method != b"OPTIONS" {
            return Err(Refusal::AsteriskWithoutOptions);
        }
        return Ok(TargetParts {
            is_asterisk: true,
            ..split_path(target, offset, 0, None)
        });
    }
    let Some(scheme) = scheme_length(target) else {
        return Err(Refusal::RelativeTarget);
    };
    let authority = &target[scheme..];
    let end = authority
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(authority.len());
    if !is_host(&authority[..end]) {
        return Err(Refusal::InvalidAuthority);
    }
    let span = Span::new(offset + scheme, offset + scheme + end);
    Ok(TargetParts {
        is_asterisk: end == authority.len() && method == b"OPTIONS",
        is_https: scheme == b"https://".len(),
        ..split_path(target, offset, scheme + end, Some(span))
    })
}

/// Below this length a loop finds a byte in fewer instructions than memchr.
const SHORT: usize = 24;

fn split_path(target: &[u8], offset: usize, start: usize, authority: Option<Span>) -> TargetParts {
    let rest = &target[start..];
    let question = if rest.len() < SHORT {
        rest.iter().position(|&byte| byte == b'?')
    } else {
        memchr::memchr(b'?', rest)
    };
    let end = question.unwrap_or(rest.len());
    TargetParts {
        authority,
        path: (end > 0).then(|| Span::new(offset + start, offset + start + end)),
        query: question.map_or_else(Span::default, |at| {
            Span::new(offset + start + at + 1, offset + target.len())
        }),
        is_asterisk: false,
        is_https: false,
    }
}

/// The length of `http://` or `https://` at the start of `target`, in any case.
fn scheme_length(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart_by_its_form() {
        // target, authority, path, query
        let cases = [
            ("/", None, Some("/"), ""),
            ("/a?b=c?d", None, Some("/a"), "b=c?d"),
            ("/a?", None, Some("/a"), ""),
            ("//evil/x", None, Some("//evil/x"), ""),
            ("/http://h/", None, Some("/http://h/"), ""),
            (
                "/a/path/of/more/than/24/bytes?q=?",
                None,
                Some("/a/path/of/more/than/24/bytes"),
                "q=?",
            ),
            ("http://h", Some("h"), None, ""),
            ("http://h?q", Some("h"), None, "q"),
            ("HTTPS://h:8443/a/b?q", Some("h:8443"), Some("/a/b"), "q"),
            ("http://[::1]:80/", Some("[::1]:80"), Some("/"), ""),
        ];
        for (target, authority, path, query) in cases {
            let head = format!("GET {target}");
            let parts = split_target(target.as_bytes(), 4, b"GET").unwrap();
            let text = |span: Span| std::str::from_utf8(span.of(head.as_bytes())).unwrap();
            assert_eq!(parts.authority.map(text), authority, "{target}");
            assert_eq!(parts.path.map(text), path, "{target}");
            assert_eq!(text(parts.query), query, "{target}");
        }
    }

    #[test]
    fn a_target_of_no_form_is_refused() {
        let cases = [
            ("GET", "*", Refusal::AsteriskWithoutOptions),
            ("options", "*", Refusal::AsteriskWithoutOptions),
            ("GET", "foo", Refusal::RelativeTarget),
            ("OPTIONS", "*x", Refusal::RelativeTarget),
            ("GET", "ftp://h/", Refusal::RelativeTarget),
            ("GET", "http:/h", Refusal::RelativeTarget),
            ("GET", "http://", Refusal::InvalidAuthority),
            ("GET", "http:///x", Refusal::InvalidAuthority),
            ("GET", "http://user@h/", Refusal::InvalidAuthority),
            ("GET", "http://h:x/", Refusal::InvalidAuthority),
        ];
        for (method, target, refusal) in cases {
            let answer = split_target(target.as_bytes(), 0, method.as_bytes());
            assert_eq!(answer, Err(refusal), "{method} {target}");
        }
    }

    #[test]
    fn escapes_become_bytes_and_malformed_ones_stay() {
        let cases: [(&str, &[u8]); 8] = [
            ("/a", b"/a"),
            ("/%41%62", b"/Ab"),
            ("/%2f%2F", b"///"),
            ("/%00", b"/\0"),
            ("/%c3%a9", b"/\xc3\xa9"),
            ("/%", b"/%"),
            ("/%4", b"/%4"),
            ("/%zz%%41%4", b"/%zz%A%4"),
        ];
        for (raw, decoded) in cases {
            let mut out = b">".to_vec();
            decode_path(raw.as_bytes(), &mut out);
            assert_eq!(&out[1..], decoded, "{raw}");
        }
    }
}
