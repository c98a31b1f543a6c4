//! The request of a client whose response is held, and the requests that the server makes of the application for that
//! client.

use std::sync::Arc;

use lockgate_http::{ControlData, Limits, Refusal, RequestHead, RequestHeadBuilder, Version};
use lockgate_tls::TlsInfo;

use super::admitted::Admitted;
use super::body::buffer::{BodyBuffer, BodyPool};

use super::request::{Body, Request};
use crate::client::{Client, Local};

/// Fields of a client's request that say nothing about the next one: its connection, its body, its conditions.
const OWN_FIELDS: [&[u8]; 20] = [
    b"accept-encoding",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"expect",
    b"grip-last",
    b"grip-sig",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"keep-alive",
    b"last-event-id",
    b"range",
    b"te",
    b"transfer-encoding",
    b"upgrade",
];

/// The request of a client, as far as those that follow it are like it.
pub struct Origin {
    head: RequestHead,
    admitted: Admitted,
    client: Arc<Client>,
    local: Arc<Local>,
    is_https: bool,
    tls: Option<Arc<TlsInfo>>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Subrequest<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    /// Fields besides those of the client.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    /// Fields of the client that it does not have.
    pub omits: fn(&[u8]) -> bool,
    /// Without one the request has no Content-Length.
    pub body: Option<&'a [u8]>,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMade {
    /// Its target or one of its fields is not valid.
    Invalid(Refusal),
    /// The bodies of other requests use all of `body_memory_total`.
    NoMemory,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

impl std::fmt::Display for NotMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(refusal) => {
                write!(f, "its request to the application is not valid: {refusal}")
            }
            Self::NoMemory => f.write_str("request bodies use all of body_memory_total"),
        }
    }
}

impl From<Refusal> for NotMade {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(refusal)
    }
}

impl Origin {
    pub fn of(request: &Request) -> Self {
        Self {
            head: request.head.clone(),
            admitted: request.admitted.for_subrequest(),
            client: Arc::clone(&request.client),
            local: Arc::clone(&request.local),
            is_https: request.is_https,
            tls: request.tls.clone(),
        }
    }

    /// The client's request.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The target of a link in the response (RFC 3986 §4.2): a path, a query of the same path, or a URI of the same
    /// authority. `None`: another server's, or relative to a part of the path.
    pub fn resolve(&self, link: &str) -> Option<Vec<u8>> {
        if link.starts_with('?') {
            return Some([self.head.path(), link.as_bytes()].concat());
        }
        if link.starts_with('/') && !link.starts_with("//") {
            return Some(link.as_bytes().to_vec());
        }
        let after_scheme = |scheme: &str| {
            let (start, rest) = link.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let rest = ["http://", "https://", "//"]
            .into_iter()
            .find_map(after_scheme)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let is_own =
            (self.head.host()).is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()));
        let slash = if target.starts_with('/') { "" } else { "/" };
        is_own.then(|| [slash.as_bytes(), target.as_bytes()].concat())
    }

    /// A request of the same client.
    ///
    /// # Errors
    /// [`NotMade`].
    pub fn request(
        &self,
        subrequest: Subrequest<'_>,
        limits: &Limits,
        bodies: &Arc<BodyPool>,
    ) -> Result<Box<Request>, NotMade> {
        let mut request = Box::<Request>::default();
        let control_data = ControlData {
            method: subrequest.method,
            scheme: None,
            authority: None,
            target: subrequest.target,
            version: Version::Http11,
        };
        let mut builder = RequestHeadBuilder::new(&mut request.head, &control_data, limits)?;
        builder.field(b"Host", self.head.host().unwrap_or_default())?;
        for (name, value) in self.head.headers() {
            let is_own = |own: &&[u8]| own.eq_ignore_ascii_case(name);
            let is_replaced = |(own, _): &(&[u8], _)| own.eq_ignore_ascii_case(name);
            let is_omitted = OWN_FIELDS.iter().any(is_own) || (subrequest.omits)(name);
            if !is_omitted && !subrequest.fields.iter().any(is_replaced) {
                builder.field(name, value)?;
            }
        }
        for (name, value) in subrequest.fields {
            builder.field(name, value)?;
        }
        if let Some(body) = subrequest.body {
            builder.field(b"Content-Length", body.len().to_string().as_bytes())?;
        }
        builder.finish()?;
        if let Some(body) = subrequest.body {
            let mut buffer = BodyBuffer::with_room(bodies, body.len() as u64);
            if !buffer.extend(body) {
                return Err(NotMade::NoMemory);
            }
            request.body = Body::Memory(buffer);
            request.has_body = true;
        }
        request.client = Arc::clone(&self.client);
        request.local = Arc::clone(&self.local);
        request.is_https = self.is_https;
        request.tls.clone_from(&self.tls);
        request.is_subrequest = true;
        request.admitted = self.admitted.for_subrequest();
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_http::RequestParser;

    fn origin(head: &str) -> Origin {
        let mut request = Request::default();
        RequestParser::new(Limits::default())
            .step(head.as_bytes(), &mut request.head)
            .unwrap();
        Origin::of(&request)
    }

    #[test]
    fn a_link_leads_to_the_same_server_or_nowhere() {
        let origin = origin("GET /a/b?c HTTP/1.1\r\nHost: Example.com:81\r\n\r\n");
        for (link, target) in [
            ("/x?y", Some("/x?y")),
            ("?y=1", Some("/a/b?y=1")),
            ("http://example.com:81/x", Some("/x")),
            ("HTTPS://EXAMPLE.com:81?q", Some("/?q")),
            ("//example.com:81", Some("/")),
            ("http://example.com/x", None),
            ("//other/x", None),
            ("x", None),
            ("", None),
        ] {
            let found = origin.resolve(link);
            assert_eq!(found.as_deref(), target.map(str::as_bytes), "{link}");
        }
    }

    #[test]
    fn a_subrequest_has_the_clients_fields_but_those_of_its_own_message() {
        let origin = origin(
            "POST /a HTTP/1.1\r\nHost: h\r\nCookie: c\r\nX-A: 1\r\nX-B: 1\r\nContent-Length: 3\r\nConnection: close\r\n\
             Last-Event-ID: 7\r\nContent-Type: text/plain\r\nIf-None-Match: *\r\n\r\n",
        );
        let bodies = Arc::new(BodyPool::new(1 << 20));
        let make = |body| {
            let subrequest = Subrequest {
                method: b"GET",
                target: b"/next?a",
                fields: &[(b"x-a", b"2")],
                omits: |name| name == b"X-B",
                body,
            };
            origin
                .request(subrequest, &Limits::default(), &bodies)
                .unwrap()
        };
        let text = |request: &Request| {
            let fields = request.head.headers();
            let fields = fields.map(|(name, value)| [name, b"=", value].concat());
            String::from_utf8(fields.collect::<Vec<_>>().join(&b' ')).unwrap()
        };
        let request = make(None);
        assert_eq!(request.head.target(), b"/next?a");
        assert_eq!(text(&request), "Host=h Cookie=c x-a=2");
        assert_eq!((request.has_body, request.is_subrequest), (false, true));
        let request = make(Some(b"four"));
        assert_eq!(text(&request), "Host=h Cookie=c x-a=2 Content-Length=4");
        assert_eq!(request.body_length(), Some(4));
    }
}
