//! A complete response that the server makes itself, without the application.

use std::borrow::Cow;

use crate::error::Refusal;
use crate::http1::encode::{ResponseContext, encode_head};
use crate::response::ResponseHead;
use crate::rules::content::BodyLength;
use crate::rules::grammar::is_field_value;
use crate::status::reason_phrase;

/// Status, headers and body of a response of the server's own.
///
/// ```
/// use lockgate_http::{LocalResponse, Refusal, ResponseContext, Version};
///
/// let context = ResponseContext {
///     version: Version::Http11,
///     is_head: false,
///     keep_alive: true,
///     omits_connection: false,
///     date: b"Sun, 22 Nov 2026 14:32:23 GMT",
///     server: None,
///     hsts: None,
///     request_id: None,
/// };
/// let mut out = Vec::new();
/// let body_length = LocalResponse::from(Refusal::MissingHost).encode(&mut out, &context);
/// assert_eq!(body_length, b"400 Bad Request: Host is missing\n".len());
/// assert!(out.starts_with(b"HTTP/1.1 400 Bad Request\r\nDate: Sun, "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    /// The final status, 200..=999.
    pub status: u16,
    /// The reason phrase; left out if it contains control bytes.
    pub reason: Cow<'static, str>,
    /// Headers besides Content-Type and those that [`encode_head`] adds. Invalid ones are left out.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The value of Content-Type; empty: none.
    pub content_type: Cow<'static, str>,
    /// The whole body.
    pub body: Cow<'static, [u8]>,
    /// Whether the connection closes after this response, whatever the client asks for.
    pub close: bool,
}

impl LocalResponse {
    /// A response without a body and with the standard reason phrase, after which the connection may stay open.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: Cow::Borrowed(reason_phrase(status)),
            headers: Vec::new(),
            content_type: Cow::Borrowed(""),
            body: Cow::Borrowed(b""),
            close: false,
        }
    }

    /// A response whose body is one line of text: the status, its reason phrase, and `detail`.
    pub fn text(status: u16, detail: &str) -> Self {
        let reason = reason_phrase(status);
        let body = match detail {
            "" => format!("{status} {reason}\n"),
            _ => format!("{status} {reason}: {detail}\n"),
        };
        Self {
            content_type: Cow::Borrowed("text/plain; charset=utf-8"),
            body: Cow::Owned(body.into_bytes()),
            ..Self::new(status)
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Closes the connection after this response.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Sets `head` to the head of this response, without Date, Server and Content-Length.
    pub fn write_head(&self, head: &mut ResponseHead) {
        head.clear();
        self.write_status(head);
        self.write_headers(head);
    }

    /// Appends the whole response to `out`; returns the length of its body there.
    ///
    /// Date and Server come first, as the answers to refused requests always had them.
    pub fn encode(&self, out: &mut Vec<u8>, context: &ResponseContext<'_>) -> usize {
        let mut head = ResponseHead::default();
        self.write_status(&mut head);
        let _ = head.push(b"Date", context.date);
        if let Some(server) = context.server {
            let _ = head.push(b"Server", server);
        }
        self.write_headers(&mut head);
        let length = BodyLength::Known(self.body.len() as u64);
        let context = ResponseContext {
            server: None,
            ..*context
        };
        if !encode_head(out, &head, length, &context).allows_body() {
            return 0;
        }
        out.extend_from_slice(&self.body);
        self.body.len()
    }

    fn write_status(&self, head: &mut ResponseHead) {
        let reason = self.reason.as_bytes();
        let reason = if is_field_value(reason) { reason } else { b"" };
        // A status out of range stays unset, and is encoded as 500.
        let _ = head.set_status(self.status, reason);
    }

    fn write_headers(&self, head: &mut ResponseHead) {
        for (name, value) in &self.headers {
            let _ = head.push(name.as_bytes(), value.as_bytes());
        }
        if !self.content_type.is_empty() {
            let _ = head.push(b"Content-Type", self.content_type.as_bytes());
        }
        if self.close {
            let _ = head.push(b"Connection", b"close");
        }
    }
}

impl From<Refusal> for LocalResponse {
    /// The framing of what follows is in doubt, so the connection closes (RFC 9112 §9.6).
    fn from(refusal: Refusal) -> Self {
        Self::text(refusal.status(), &refusal.to_string()).closing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Version;

    const CONTEXT: ResponseContext<'_> = ResponseContext {
        version: Version::Http11,
        is_head: false,
        keep_alive: true,
        omits_connection: false,
        date: b"Sun, 22 Nov 2026 14:32:23 GMT",
        server: Some(b"lockgate"),
        hsts: None,
        request_id: None,
    };

    #[test]
    fn a_response_is_encoded_whole() {
        let redirect = LocalResponse::new(308).with_header("Location", "/a/");
        let bad_text = LocalResponse {
            status: 99,
            reason: "a\nb".into(),
            ..LocalResponse::new(200)
        };
        let context = |is_head, version, keep_alive| ResponseContext {
            is_head,
            version,
            keep_alive,
            ..CONTEXT
        };
        let cases = [
            (
                LocalResponse::from(Refusal::BareLineFeed),
                context(false, Version::Http11, true),
                "HTTP/1.1 400 Bad Request\r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\n\
                 Server: lockgate\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: 31\r\nConnection: close\r\n\r\n400 Bad Request: LF without CR\n",
                31,
            ),
            (
                LocalResponse::text(503, "busy").with_header("Retry-After", "1"),
                context(true, Version::Http10, true),
                "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\n\
                 Server: lockgate\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: 30\r\nConnection: keep-alive\r\n\r\n",
                0,
            ),
            (
                LocalResponse::text(404, ""),
                context(false, Version::Http11, false),
                "HTTP/1.1 404 Not Found\r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\n\
                 Server: lockgate\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: 14\r\nConnection: close\r\n\r\n404 Not Found\n",
                14,
            ),
            (
                redirect,
                CONTEXT,
                "HTTP/1.1 308 Permanent Redirect\r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\n\
                 Server: lockgate\r\nLocation: /a/\r\nContent-Length: 0\r\n\r\n",
                0,
            ),
            (
                bad_text.with_header("X Y", "z").with_header("X", "\r\n"),
                ResponseContext {
                    server: Some(b"a\nb"),
                    ..CONTEXT
                },
                "HTTP/1.1 500 \r\nDate: Sun, 22 Nov 2026 14:32:23 GMT\r\nContent-Length: 0\r\n\r\n",
                0,
            ),
        ];
        for (response, context, bytes, body_length) in cases {
            let mut out = b">".to_vec();
            assert_eq!(response.encode(&mut out, &context), body_length);
            assert_eq!(String::from_utf8(out).unwrap()[1..], *bytes);
        }
    }

    #[test]
    fn a_head_is_written_for_a_connection_that_encodes_it() {
        let response = LocalResponse::text(503, "busy").with_header("Retry-After", "1");
        let mut head = ResponseHead::default();
        head.push(b"X", b"y").unwrap();
        for (response, closes) in [(response.clone(), false), (response.closing(), true)] {
            response.write_head(&mut head);
            assert_eq!((head.status(), head.wants_close()), (503, closes));
            let headers: Vec<_> = head.headers().map(|(name, _)| name).collect();
            assert_eq!(headers, [&b"Retry-After"[..], b"Content-Type"]);
        }
    }
}
