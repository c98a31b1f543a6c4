//! Encoder of response heads.
//!
//! Invariant: [`ResponseBody`] delimits the body, and keeps the connection open, as the head announces.

use crate::http1::response_body::{Delimiter, ResponseBody};
use crate::request::Version;
use crate::response::ResponseHead;
use crate::rules::content::{BodyLength, Content, content_of, may_not_have_length};

/// What the encoding of a response head depends on besides the head itself.
#[derive(Debug, Clone, Copy)]
pub struct ResponseContext<'a> {
    /// The version of the request.
    pub version: Version,
    /// Whether the request was HEAD.
    pub is_head: bool,
    /// Whether the client asks for persistence and the server allows it.
    pub keep_alive: bool,
    /// Whether Connection is left out: in a response of the uwsgi protocol it would concern the web server's client.
    pub omits_connection: bool,
    /// The current time, as IMF-fixdate (RFC 9110 §5.6.7). Used unless the application set Date.
    pub date: &'a [u8],
    /// The Server field to add unless the application set one.
    pub server: Option<&'a [u8]>,
    /// The Strict-Transport-Security field (RFC 6797) to add unless the application set one. Only for responses over
    /// TLS (§7.2).
    pub hsts: Option<&'a [u8]>,
    /// The X-Request-Id field to add; the head does not have one.
    pub request_id: Option<&'a [u8]>,
}

impl<'a> ResponseContext<'a> {
    /// The context of the last response of a connection, which does not depend on the version.
    pub fn closing(is_head: bool, date: &'a [u8], server: Option<&'a [u8]>) -> Self {
        Self {
            version: Version::Http11,
            is_head,
            keep_alive: false,
            omits_connection: false,
            date,
            server,
            hsts: None,
            request_id: None,
        }
    }

    /// The value of a Strict-Transport-Security field that has to be added to this head.
    #[inline]
    pub(crate) fn missing_hsts(&self, head: &ResponseHead) -> Option<&'a [u8]> {
        self.hsts
            .filter(|_| head.header("Strict-Transport-Security").is_none())
    }
}

/// Appends the whole head to `out` and decides the framing of the body (RFC 9112 §6).
///
/// An unknown length is chunked on 1.1 and delimited by closing on 1.0.
pub fn encode_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    length: BodyLength,
    context: &ResponseContext<'_>,
) -> ResponseBody {
    let status = head.status();
    let (content, generated_length) = content_of(head, length, context.is_head);
    let delimiter = match content {
        Content::None => Delimiter::NoBody,
        Content::Length(length) => Delimiter::Length(length),
        Content::Unknown if context.version == Version::Http10 => Delimiter::Close,
        Content::Unknown => Delimiter::Chunked,
    };
    let keep_alive = context.keep_alive && !head.wants_close() && delimiter != Delimiter::Close;

    out.reserve(
        head.block().len() + head.reason().len() + context.server.map_or(0, <[u8]>::len) + 160,
    );
    // RFC 9110 §6.2: the version is the server's own, also in a response to 1.0.
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&status_digits(head.status_to_send()));
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    if content == Content::None && may_not_have_length(status) {
        let (before, after) = head.block_without_length();
        out.extend_from_slice(before);
        out.extend_from_slice(after);
    } else {
        out.extend_from_slice(head.block());
    }
    if !head.has_date() {
        push_line(out, b"Date: ", context.date);
    }
    if let Some(server) = context.server
        && !head.has_server()
    {
        push_line(out, b"Server: ", server);
    }
    if let Some(id) = context.request_id {
        push_line(out, b"X-Request-Id: ", id);
    }
    if context.hsts.is_some() {
        push_hsts(out, head, context);
    }
    if let Some(length) = generated_length {
        push_line(
            out,
            b"Content-Length: ",
            itoa::Buffer::new().format(length).as_bytes(),
        );
    }
    if delimiter == Delimiter::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    // RFC 9110 §7.8: a sender of Upgrade also lists it in Connection.
    let is_http10 = context.version == Version::Http10;
    out.extend_from_slice(match (keep_alive, is_http10, head.has_upgrade()) {
        (true, false, false) => b"\r\n",
        (true, false, true) => b"Connection: upgrade\r\n\r\n",
        (true, true, false) => b"Connection: keep-alive\r\n\r\n",
        (true, true, true) => b"Connection: keep-alive, upgrade\r\n\r\n",
        (false, ..) if context.omits_connection => b"\r\n",
        (false, _, false) => b"Connection: close\r\n\r\n",
        (false, _, true) => b"Connection: close, upgrade\r\n\r\n",
    });
    ResponseBody::new(delimiter, keep_alive)
}

/// Out of the way of the many responses without it.
#[cold]
fn push_hsts(out: &mut Vec<u8>, head: &ResponseHead, context: &ResponseContext<'_>) {
    if let Some(hsts) = context.missing_hsts(head) {
        push_line(out, b"Strict-Transport-Security: ", hsts);
    }
}

#[inline]
pub(super) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Three digits and a space.
fn status_digits(status: u16) -> [u8; 4] {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    [digit(status / 100), digit(status / 10), digit(status), b' ']
}

#[cfg(test)]
mod tests {
    use super::*;
    use BodyLength::{Known, Unknown};
    use Version::{Http10, Http11};

    const DATE: &[u8] = b"Sun, 22 Nov 2026 14:32:23 GMT";

    fn response(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(status, b"Reason").unwrap();
        for (name, value) in headers {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    fn encode(
        head: &ResponseHead,
        length: BodyLength,
        version: Version,
        is_head: bool,
    ) -> (String, ResponseBody) {
        let context = ResponseContext {
            version,
            is_head,
            keep_alive: true,
            omits_connection: false,
            date: DATE,
            server: Some(b"lockgate"),
            hsts: None,
            request_id: None,
        };
        let mut out = Vec::new();
        let body = encode_head(&mut out, head, length, &context);
        (String::from_utf8(out).unwrap(), body)
    }

    #[test]
    fn a_head_is_written_in_order_with_what_the_server_adds() {
        let head = response(200, &[("X-A", "1"), ("Content-Length", "3"), ("X-B", "2")]);
        let (text, body) = encode(&head, Unknown, Http11, false);
        assert_eq!(
            text,
            "HTTP/1.1 200 Reason\r\nX-A: 1\r\nContent-Length: 3\r\nX-B: 2\r\n\
             Date: Sun, 22 Nov 2026 14:32:23 GMT\r\nServer: lockgate\r\n\r\n"
        );
        assert!(body.keep_alive() && body.allows_body() && !body.is_chunked());
    }

    #[test]
    fn date_and_server_of_the_application_are_kept() {
        let head = response(200, &[("date", "then"), ("SERVER", "mine")]);
        let (text, _) = encode(&head, Known(0), Http11, false);
        assert_eq!(
            text,
            "HTTP/1.1 200 Reason\r\ndate: then\r\nSERVER: mine\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn strict_transport_security_is_added_unless_the_application_sets_it() {
        let own = &[("strict-transport-security", "max-age=0")][..];
        for (headers, hsts, expected) in [
            (&[][..], None, ""),
            (
                &[],
                Some(&b"max-age=60"[..]),
                "Strict-Transport-Security: max-age=60",
            ),
            (
                own,
                Some(b"max-age=60"),
                "strict-transport-security: max-age=0",
            ),
        ] {
            let context = ResponseContext {
                hsts,
                ..ResponseContext::closing(false, DATE, None)
            };
            let mut out = Vec::new();
            encode_head(&mut out, &response(200, headers), Known(0), &context);
            let text = String::from_utf8(out).unwrap();
            let found: Vec<&str> = (text.lines())
                .filter(|line| line.to_ascii_lowercase().starts_with("strict"))
                .collect();
            assert_eq!(found.join(" "), expected);
        }
    }

    #[test]
    fn the_id_of_the_request_is_added() {
        let context = ResponseContext {
            request_id: Some(b"abc"),
            ..ResponseContext::closing(false, DATE, None)
        };
        let mut out = Vec::new();
        encode_head(
            &mut out,
            &response(204, &[("X-A", "1")]),
            Known(0),
            &context,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 204 Reason\r\nX-A: 1\r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\n\
             X-Request-Id: abc\r\nConnection: close\r\n\r\n"
        );
    }

    /// Status, headers, length, version, HEAD; the expected framing, and whether the connection stays open.
    type Case<'a> = (
        u16,
        &'a [(&'a str, &'a str)],
        BodyLength,
        Version,
        bool,
        &'a str,
        bool,
    );

    #[test]
    fn the_body_is_delimited_by_what_is_known() {
        let own = &[("Content-Length", "7")][..];
        let cases: [Case<'_>; 20] = [
            (200, &[], Known(5), Http11, false, "Content-Length: 5", true),
            (200, &[], Known(0), Http11, false, "Content-Length: 0", true),
            (
                200,
                &[],
                Unknown,
                Http11,
                false,
                "Transfer-Encoding: chunked",
                true,
            ),
            (200, own, Known(5), Http11, false, "Content-Length: 7", true),
            (200, own, Unknown, Http11, false, "Content-Length: 7", true),
            (200, &[], Known(5), Http10, false, "Content-Length: 5", true),
            (200, own, Unknown, Http10, false, "Content-Length: 7", true),
            (200, &[], Unknown, Http10, false, "", false),
            (200, &[], Known(5), Http11, true, "Content-Length: 5", true),
            (200, &[], Known(0), Http11, true, "", true),
            (200, &[], Unknown, Http11, true, "", true),
            (200, own, Known(0), Http11, true, "Content-Length: 7", true),
            (204, &[], Known(0), Http11, false, "", true),
            (204, own, Known(5), Http11, true, "", true),
            (204, own, Unknown, Http10, false, "", true),
            (205, &[], Known(5), Http11, false, "Content-Length: 0", true),
            (205, own, Unknown, Http11, false, "Content-Length: 0", true),
            (205, own, Unknown, Http10, true, "Content-Length: 0", true),
            (304, &[], Known(5), Http11, true, "", true),
            (304, own, Known(0), Http11, false, "Content-Length: 7", true),
        ];
        for (index, (status, headers, length, version, is_head, framing, keep)) in
            cases.into_iter().enumerate()
        {
            let (text, body) = encode(&response(status, headers), length, version, is_head);
            let announced: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("Content-Length") || line.starts_with("Transfer"))
                .collect();
            assert_eq!(announced.join(" "), framing, "case {index}");
            let connection = match (keep, version) {
                (true, Http11 | Version::Http2 | Version::Http3) => None,
                (true, Http10) => Some("Connection: keep-alive"),
                (false, _) => Some("Connection: close"),
            };
            let line = text.lines().find(|line| line.starts_with("Connection"));
            assert_eq!(line, connection, "case {index}");
            assert_eq!(body.keep_alive(), keep, "case {index}");
            let has_no_body = is_head || matches!(status, 204 | 205 | 304);
            assert_eq!(body.allows_body(), !has_no_body, "case {index}");
        }
    }

    #[test]
    fn connection_close_of_the_application_is_sent() {
        let head = response(200, &[("Connection", "close")]);
        let (text, body) = encode(&head, Known(0), Http11, false);
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"));
        assert!(!body.keep_alive());
    }

    #[test]
    fn an_upgrade_is_named_in_connection() {
        for (version, wants_close, connection) in [
            (Http11, false, "upgrade"),
            (Http11, true, "close, upgrade"),
            (Http10, false, "keep-alive, upgrade"),
            (Http10, true, "close, upgrade"),
        ] {
            let mut head = response(426, &[("Upgrade", "websocket")]);
            if wants_close {
                head.push(b"Connection", b"close").unwrap();
            }
            let (text, body) = encode(&head, Known(0), version, false);
            assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
            assert!(
                text.ends_with(&format!("\r\nConnection: {connection}\r\n\r\n")),
                "{text}"
            );
            assert_eq!(body.keep_alive(), !wants_close);
        }
    }
}
