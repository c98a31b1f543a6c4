//! A response head from the application, checked as it is built.
//!
//! Invariant: `block` is a run of complete `Name: value` lines with CRLF, without hop-by-hop fields, so that encoding
//! is one copy.

use crate::error::BadResponse;
use crate::rules::grammar::{field_value_length, is_token, parse_decimal, trim_whitespace};
use crate::span::{Field, Span};

/// One response head: status, reason and headers. Reused between messages.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    status: u16,
    reason: Vec<u8>,
    pub(crate) block: Vec<u8>,
    fields: Vec<Field>,
    pub(crate) length: Option<Length>,
    wants_close: bool,
    /// A 426 names the protocols to upgrade to.
    pub(crate) has_upgrade: bool,
    pub(crate) has_date: bool,
    pub(crate) has_server: bool,
}

/// The application's Content-Length, and the position of its line in the block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub(crate) value: u64,
    pub(crate) line: Span,
}

impl ResponseHead {
    /// Clears the response and keeps the memory. The status is then 0: not set.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason.clear();
        self.block.clear();
        self.fields.clear();
        self.length = None;
        self.wants_close = false;
        self.has_upgrade = false;
        self.has_date = false;
        self.has_server = false;
    }

    /// Sets the final status, 200..=999, and its reason phrase, which may be empty.
    ///
    /// # Errors
    ///
    /// A status out of range, an interim one (1xx), or a control byte in the reason.
    pub fn set_status(&mut self, status: u16, reason: &[u8]) -> Result<(), BadResponse> {
        match status {
            100..=199 => return Err(BadResponse::InterimStatus(status)),
            200..=999 => {}
            _ => return Err(BadResponse::InvalidStatus(status)),
        }
        if field_value_length(reason) != reason.len() {
            return Err(BadResponse::ForbiddenByteInReason);
        }
        self.status = status;
        self.reason.clear();
        self.reason.extend_from_slice(reason);
        Ok(())
    }

    /// Appends a header. The status has to be set before.
    ///
    /// Hop-by-hop fields (RFC 9110 §7.6.1) belong to the server: they are checked and then dropped, but `Connection:
    /// close` is recorded, and a 426 keeps its Upgrade, which it must have (§15.5.22). A Content-Length may have white
    /// space around it; one that repeats an equal one is dropped.
    ///
    /// # Errors
    ///
    /// A name that is not a token, a control byte other than HTAB in the value, a Content-Length that is not a number
    /// or differs from an earlier one, headers beyond 4 GiB. The head is then unchanged.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadResponse> {
        if !is_token(name) {
            return Err(BadResponse::InvalidHeaderName);
        }
        if field_value_length(value) != value.len() {
            return Err(BadResponse::ForbiddenByteInHeaderValue);
        }
        if self.block.len() + name.len() + value.len() + 4 > u32::MAX as usize {
            return Err(BadResponse::HeadTooLarge);
        }
        match known_name(name) {
            Known::Other => self.append(name, value),
            Known::Connection => self.wants_close |= has_token(value, b"close"),
            Known::Upgrade if self.status == UPGRADE_REQUIRED => {
                self.has_upgrade = true;
                self.append(name, value);
            }
            Known::HopByHop | Known::Upgrade => {}
            Known::Date => {
                self.has_date = true;
                self.append(name, value);
            }
            Known::Server => {
                self.has_server = true;
                self.append(name, value);
            }
            Known::ContentLength => {
                let value = trim_whitespace(value);
                let Ok(Some(length)) = parse_decimal(value) else {
                    return Err(BadResponse::InvalidContentLength);
                };
                match self.length {
                    Some(earlier) if earlier.value != length => {
                        return Err(BadResponse::ConflictingContentLength);
                    }
                    Some(_) => {}
                    None => {
                        let start = self.block.len();
                        self.append(name, value);
                        self.length = Some(Length {
                            value: length,
                            line: Span::new(start, self.block.len()),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The status; 0 before [`ResponseHead::set_status`].
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The application's own Content-Length.
    pub fn content_length(&self) -> Option<u64> {
        self.length.map(|length| length.value)
    }

    /// Whether the application said `Connection: close`.
    pub fn wants_close(&self) -> bool {
        self.wants_close
    }

    /// Every header that is kept, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields
            .iter()
            .map(|field| (field.name.of(&self.block), field.value.of(&self.block)))
    }

    /// The value of the first header with that name, case-insensitive.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = self.block.len();
        self.block.reserve(name.len() + value.len() + 4);
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(b": ");
        self.block.extend_from_slice(value);
        self.block.extend_from_slice(b"\r\n");
        let value_start = start + name.len() + 2;
        self.fields.push(Field {
            name: Span::new(start, start + name.len()),
            value: Span::new(value_start, value_start + value.len()),
        });
    }
}

/// RFC 9110 §15.5.22.
const UPGRADE_REQUIRED: u16 = 426;

enum Known {
    ContentLength,
    Connection,
    Upgrade,
    HopByHop,
    Date,
    Server,
    Other,
}

fn known_name(name: &[u8]) -> Known {
    let is = |candidate: &[u8]| name.eq_ignore_ascii_case(candidate);
    match name.len() {
        2 if is(b"te") => Known::HopByHop,
        4 if is(b"date") => Known::Date,
        6 if is(b"server") => Known::Server,
        7 if is(b"upgrade") => Known::Upgrade,
        7 if is(b"trailer") => Known::HopByHop,
        8 if is(b"trailers") => Known::HopByHop,
        10 if is(b"connection") => Known::Connection,
        10 if is(b"keep-alive") => Known::HopByHop,
        14 if is(b"content-length") => Known::ContentLength,
        17 if is(b"transfer-encoding") => Known::HopByHop,
        7.. if name[..6].eq_ignore_ascii_case(b"proxy-") => Known::HopByHop,
        _ => Known::Other,
    }
}

/// Whether the comma-separated list `value` contains `token`, case-insensitive.
pub(crate) fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|item| trim_whitespace(item).eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_final_and_its_reason_cannot_split_the_response() {
        let cases: [(u16, &[u8], Result<(), BadResponse>); 8] = [
            (200, b"OK", Ok(())),
            (200, b"", Ok(())),
            (999, b"d\xe9j\xe0\tvu", Ok(())),
            (100, b"Continue", Err(BadResponse::InterimStatus(100))),
            (101, b"Switching", Err(BadResponse::InterimStatus(101))),
            (99, b"", Err(BadResponse::InvalidStatus(99))),
            (1000, b"", Err(BadResponse::InvalidStatus(1000))),
            (200, b"OK\r\nX: y", Err(BadResponse::ForbiddenByteInReason)),
        ];
        for (status, reason, answer) in cases {
            assert_eq!(ResponseHead::default().set_status(status, reason), answer);
        }
    }

    #[test]
    fn a_bad_header_is_refused_and_leaves_no_trace() {
        let cases: [(&[u8], &[u8], BadResponse); 13] = [
            (b"", b"x", BadResponse::InvalidHeaderName),
            (b"X Y", b"x", BadResponse::InvalidHeaderName),
            (b"X:", b"x", BadResponse::InvalidHeaderName),
            (b"X\r\n", b"x", BadResponse::InvalidHeaderName),
            (b"X\xe9", b"x", BadResponse::InvalidHeaderName),
            (b"X", b"a\r\nY: b", BadResponse::ForbiddenByteInHeaderValue),
            (b"X", b"a\nb", BadResponse::ForbiddenByteInHeaderValue),
            (b"X", b"a\rb", BadResponse::ForbiddenByteInHeaderValue),
            (b"X", b"a\0b", BadResponse::ForbiddenByteInHeaderValue),
            (b"X", b"a\x7fb", BadResponse::ForbiddenByteInHeaderValue),
            (
                b"Connection",
                b"a\x0bb",
                BadResponse::ForbiddenByteInHeaderValue,
            ),
            (b"Content-Length", b"+3", BadResponse::InvalidContentLength),
            (
                b"Content-Length",
                b"4",
                BadResponse::ConflictingContentLength,
            ),
        ];
        let mut head = ResponseHead::default();
        head.push(b"content-length", b"3").unwrap();
        for (name, value, answer) in cases {
            assert_eq!(head.push(name, value), Err(answer), "{name:?} {value:?}");
        }
        assert_eq!(head.headers().count(), 1);
        assert_eq!(head.block, b"content-length: 3\r\n");
    }

    #[test]
    fn hop_by_hop_fields_are_ours_to_say() {
        let mut head = ResponseHead::default();
        let names = [
            "Connection",
            "keep-alive",
            "Proxy-Authenticate",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Trailers",
            "Transfer-Encoding",
            "UPGRADE",
        ];
        for name in names {
            head.push(name.as_bytes(), b"chunked").unwrap();
        }
        assert_eq!(head.headers().count(), 0);
        assert!(!head.wants_close());
        head.push(b"connection", b"x,  Close").unwrap();
        assert!(head.wants_close());
        head.clear();
        assert!(!head.wants_close());
    }

    #[test]
    fn only_a_426_says_upgrade() {
        for (status, is_kept) in [(426, true), (200, false), (400, false), (505, false)] {
            let mut head = ResponseHead::default();
            head.set_status(status, b"").unwrap();
            head.push(b"Upgrade", b"HTTP/3.0, websocket").unwrap();
            let kept = head.header("upgrade") == Some(b"HTTP/3.0, websocket");
            assert_eq!((kept, head.has_upgrade), (is_kept, is_kept), "{status}");
        }
    }

    #[test]
    fn a_content_length_may_have_white_space_around_it_and_not_within() {
        for (value, length) in [
            (" 5 ", Some(5)),
            ("\t5", Some(5)),
            ("1 5", None),
            (" ", None),
            ("", None),
        ] {
            let mut head = ResponseHead::default();
            let pushed = head.push(b"Content-Length", value.as_bytes());
            assert_eq!(pushed.is_ok(), length.is_some(), "{value:?}");
            assert_eq!(head.content_length(), length, "{value:?}");
            if length.is_some() {
                assert_eq!(head.block, b"Content-Length: 5\r\n");
            }
        }
    }

    #[test]
    fn headers_come_back_as_they_were_said() {
        let mut head = ResponseHead::default();
        head.push(b"Set-Cookie", b"a=1").unwrap();
        head.push(b"Set-Cookie", b"b=2").unwrap();
        head.push(b"Content-Length", b"007").unwrap();
        head.push(b"content-length", b"7").unwrap();
        let headers: Vec<_> = head.headers().collect();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[1], (&b"Set-Cookie"[..], &b"b=2"[..]));
        assert_eq!(head.header("set-cookie"), Some(&b"a=1"[..]));
        assert_eq!(head.content_length(), Some(7));
        assert_eq!(head.header("x"), None);
    }

    #[test]
    fn a_cleared_head_remembers_nothing() {
        let mut head = ResponseHead::default();
        head.set_status(426, b"Upgrade Required").unwrap();
        for name in ["Content-Length", "Date", "Server", "Upgrade"] {
            head.push(name.as_bytes(), b"3").unwrap();
        }
        head.clear();
        assert_eq!((head.status(), head.reason()), (0, &b""[..]));
        assert_eq!(head.headers().count(), 0);
        assert_eq!(head.content_length(), None);
        assert!(!head.has_date && !head.has_server && !head.has_upgrade);
        assert_eq!(head.push(b"Content-Length", b"4"), Ok(()));
    }
}
