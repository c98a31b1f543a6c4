//! The request to the service: a GET with what the client has sent, and who sent what to where.
//!
//! Invariant: no field of the client can take the place of one that this server writes, and none concerns the connection
//! to the service. The client's `Connection` removes nothing: the service sees what the application would see.

use lockgate_http::RequestHead;

/// What the service is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The path and query of the service.
    pub target: &'a str,
    /// The service's own host, for Host.
    pub host: &'a str,
    /// The request.
    pub head: &'a RequestHead,
    /// The client's address; empty: it has none.
    pub client: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// Fields of the client that are not passed on: those of its connection (RFC 9110 §7.6.1), those that ask for a part or
/// a version of the resource, and those that services read as written by a proxy.
const NOT_PASSED_ON: [&[u8]; 18] = [
    b"accept-encoding",
    b"connection",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"max-forwards",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-client-ip",
    b"x-real-ip",
];

/// Beginnings of such names.
const NOT_PASSED_ON_BELOW: [&[u8]; 5] = [
    b"content-",
    b"if-",
    b"x-forwarded-",
    b"x-original-",
    b"x-rewrite-",
];

impl Question<'_> {
    /// The bytes of the request.
    pub fn encode(&self) -> Vec<u8> {
        let head = self.head;
        let mut out = Vec::with_capacity(head.head_bytes().len() + 512);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let mut add = |name: &[u8], value: &[u8]| {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        };
        add(b"Host", self.host.as_bytes());
        add(b"X-Forwarded-Method", head.method());
        if let Some(host) = head.host() {
            add(b"X-Forwarded-Host", host);
        }
        add(b"X-Forwarded-Uri", uri(head));
        add(b"X-Forwarded-Proto", self.scheme.as_bytes());
        if !self.client.is_empty() {
            add(b"X-Forwarded-For", self.client.as_bytes());
        }
        let mut cookies = Vec::new();
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"cookie") {
                cookies.push(value);
            } else if is_passed_on(name) {
                add(name, value);
            }
        }
        if !cookies.is_empty() {
            // RFC 9113 §8.2.3: HTTP/2 may have divided it.
            add(b"Cookie", &cookies.join(&b"; "[..]));
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The path and query that the client has asked for, before any rewrite.
fn uri(head: &RequestHead) -> &[u8] {
    let target = head.target();
    if target.starts_with(b"/") || target == b"*" {
        return target;
    }
    // An absolute target (RFC 9112 §3.2.2).
    let behind_scheme = target.windows(3).position(|part| part == b"://");
    let authority = behind_scheme
        .and_then(|at| target.get(at + 3..))
        .unwrap_or_default();
    let start = authority.iter().position(|byte| b"/?".contains(byte));
    match start.and_then(|start| authority.get(start..)) {
        Some(uri) if uri.starts_with(b"/") => uri,
        // A query without a path, or neither.
        _ => b"/",
    }
}

fn is_passed_on(name: &[u8]) -> bool {
    let begins = |start: &&[u8]| {
        name.get(..start.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(start))
    };
    let is_same = |other: &&[u8]| name.eq_ignore_ascii_case(other);
    !(NOT_PASSED_ON.iter().any(is_same) || NOT_PASSED_ON_BELOW.iter().any(begins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::{Limits, RequestParser};

    fn ask(head: &str) -> String {
        let mut request = RequestHead::default();
        RequestParser::new(Limits::default())
            .step(head.as_bytes(), &mut request)
            .unwrap();
        let question = Question {
            target: "/verify?x=1",
            host: "127.0.0.1:9091",
            head: &request,
            client: "192.0.2.1",
            scheme: "https",
        };
        String::from_utf8(question.encode()).unwrap()
    }

    const BEGIN: &str = "GET /verify?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9091\r\n";

    #[test]
    fn the_service_gets_the_request_without_its_body_and_its_connection() {
        let asked = ask(
            "POST /a%2Fb?c=d HTTP/1.1\r\nHost: shop.example\r\nCookie: a=1\r\nAuthorization: Bearer x\r\n\
             Content-Length: 3\r\nContent-Type: text/plain\r\nConnection: close, Cookie, X-Forwarded-Uri\r\n\
             Accept: */*\r\nCookie: b=2\r\nTE: trailers\r\nUpgrade: x\r\nExpect: 100-continue\r\n\
             Accept-Encoding: gzip\r\nIf-None-Match: *\r\nRange: bytes=0-1\r\nOrigin: https://a\r\n\r\n",
        );
        assert_eq!(
            asked,
            format!(
                "{BEGIN}X-Forwarded-Method: POST\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Uri: /a%2Fb?c=d\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer x\r\nAccept: */*\r\n\
                 Origin: https://a\r\nCookie: a=1; b=2\r\n\r\n"
            )
        );
    }

    #[test]
    fn a_client_cannot_write_what_a_proxy_writes() {
        for name in [
            "X-Forwarded-Uri",
            "x-forwarded-method",
            "X-FORWARDED-FOR",
            "X-Forwarded-Prefix",
            "X-Original-URL",
            "X-Original-Method",
            "X-Rewrite-URL",
            "X-Real-IP",
            "Forwarded",
            "Proxy-Authorization",
            // Dropped when the head is read.
            "X_Forwarded_Uri",
        ] {
            let asked = ask(&format!(
                "GET /a HTTP/1.1\r\nHost: h\r\n{name}: evil\r\n\r\n"
            ));
            assert!(!asked.contains("evil"), "{name}: {asked}");
            assert_eq!(asked.matches("/a\r\n").count(), 1);
        }
    }

    #[test]
    fn the_uri_is_that_of_the_client() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/../b?c", "/a/../b?c"),
            ("//evil.example/a", "//evil.example/a"),
            ("http://h/a?b", "/a?b"),
            ("http://h", "/"),
            ("http://h?q=/x", "/"),
            ("HTTPS://h:443/?/", "/?/"),
        ] {
            let asked = ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
            let line = format!("\r\nX-Forwarded-Uri: {expected}\r\n");
            assert!(asked.contains(&line), "{target}: {asked}");
        }
    }
}
