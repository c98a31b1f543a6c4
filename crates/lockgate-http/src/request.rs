//! A request head as received, with its parsed parts.
//!
//! Invariant: every span lies inside `bytes`, which is the head's own copy of the received bytes.

use crate::rules::target::TargetParts;
use crate::span::{Field, Span};

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3, of which only web servers in front tell
    Http3,
}

impl Version {
    /// `HTTP/` and two digits, as in SERVER_PROTOCOL (RFC 3875 §4.1.16).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Http3 => "HTTP/3.0",
        }
    }
}

/// How the body of a request is delimited (RFC 9112 §6, RFC 9113 §8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The end of the stream, without a length (RFC 9113 §8.1).
    EndOfStream,
}

impl Framing {
    /// The length in bytes, if the head has it.
    pub fn length(self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(length),
            Self::None | Self::Chunked | Self::EndOfStream => None,
        }
    }
}

/// One request head. Reused between messages, so that the steady state allocates nothing.
///
/// After a [`Refusal`](crate::Refusal) it has the parts that were complete before the fault: for the access log the
/// method, the target and the version, and the allowed part of a target that is too long.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    pub(crate) summary: Summary,
}

/// Everything about a head except its bytes and its list of fields.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) parts: TargetParts,
    pub(crate) host: Option<Span>,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) dropped: u32,
    pub(crate) asks_close: bool,
    pub(crate) asks_keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) may_have_forwarding_headers: bool,
    /// The mount point that a trusted proxy forwarded, without a trailing slash; empty: none.
    pub(crate) script_name: Span,
    /// The field that caused a refusal. Its value is at 0 if it was not read to its end.
    pub(crate) faulty: Option<Field>,
}

impl RequestHead {
    /// Clears the request and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.summary = Summary::default();
    }

    /// The method as sent: any token, in its own case (RFC 9110 §9.1).
    pub fn method(&self) -> &[u8] {
        self.summary.method.of(&self.bytes)
    }

    /// The target as sent: RAW_URI, REQUEST_URI.
    pub fn target(&self) -> &[u8] {
        self.summary.target.of(&self.bytes)
    }

    /// The path, raw and undecoded. For an absolute target its path, or `/` if that is empty; `*` for `OPTIONS *`.
    pub fn path(&self) -> &[u8] {
        match self.summary.parts.path {
            Some(path) => path.of(&self.bytes),
            None if self.summary.parts.is_asterisk => b"*",
            None if self.summary.parts.authority.is_some() => b"/",
            None => b"",
        }
    }

    /// Whether the request concerns the server and not one of its resources: `OPTIONS *` (RFC 9110 §9.3.7).
    pub fn is_server_wide_options(&self) -> bool {
        self.summary.parts.is_asterisk
    }

    /// Whether the target is an `https` URI, whatever the connection is.
    pub fn has_https_target(&self) -> bool {
        self.summary.parts.is_https
    }

    /// What follows the first `?` of the target; empty when there is none.
    pub fn query(&self) -> &[u8] {
        self.summary.parts.query.of(&self.bytes)
    }

    /// The version of the request line.
    pub fn version(&self) -> Version {
        self.summary.version
    }

    /// The version as written in the request line; empty if none was read. After a refusal it may be an unsupported
    /// one.
    pub fn protocol(&self) -> &[u8] {
        let start = self.summary.target.end as usize + 1;
        let end = start + "HTTP/1.1".len();
        match self.summary.target {
            Span { end: 0, .. } => b"",
            _ => self.bytes.get(start..end).unwrap_or_default(),
        }
    }

    /// Every field in order: its name as sent, its value without SP and HTAB around it.
    ///
    /// Fields with `_` in their names are left out: see [`RequestHead::dropped_fields`].
    pub fn headers(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator<Item = (&[u8], &[u8])>
    {
        self.fields
            .iter()
            .map(|field| (field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// The value of the first field with that name, case-insensitive.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Whether there may be forwarding headers, a dropped field or an `https` target: a name that begins like
    /// `X-Forwarded-For` or `Forwarded`, or has an underscore. Determined while the head is parsed, so that asking
    /// costs nothing.
    pub fn may_have_forwarding_headers(&self) -> bool {
        self.summary.may_have_forwarding_headers
    }

    /// The authority of an absolute target (RFC 9112 §3.2.2: it overrides Host), else Host, if not empty. A host that a
    /// trusted proxy forwarded overrides both, if [`ForwardingRules`](crate::ForwardingRules) allow it. The colon
    /// before an empty port is left out (RFC 3986 §3.2.3: the normal form).
    pub fn host(&self) -> Option<&[u8]> {
        self.summary
            .parts
            .authority
            .or(self.summary.host)
            .map(|host| host.of(&self.bytes))
            .map(|host| host.strip_suffix(b":").unwrap_or(host))
            .filter(|host| !host.is_empty())
    }

    /// The application's mount point, as a trusted proxy forwarded it: raw, without a trailing slash; empty if there is
    /// none.
    pub fn script_name(&self) -> &[u8] {
        self.summary.script_name.of(&self.bytes)
    }

    /// How the body is delimited.
    pub fn framing(&self) -> Framing {
        self.summary.framing
    }

    /// Whether the client's version and Connection ask for persistence: 1.1 stays open unless `close` is given, 1.0
    /// only if `keep-alive` is given and `close` is not (RFC 9112 §9.3). HTTP/2 always stays open.
    pub fn keep_alive(&self) -> bool {
        match self.summary.version {
            Version::Http2 | Version::Http3 => true,
            Version::Http11 => !self.summary.asks_close,
            Version::Http10 => self.summary.asks_keep_alive && !self.summary.asks_close,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends its body: requested, not on 1.0, with a body to send
    /// (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.summary.expects_continue
            && self.summary.version != Version::Http10
            && !matches!(self.summary.framing, Framing::None | Framing::Length(0))
    }

    /// The whole head as received, from the request line to the empty line; behind it what a web server has
    /// rewritten and what this server has added.
    pub fn head_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many fields were dropped because of `_` in their names.
    ///
    /// CGI names (RFC 3875 §4.1.18) turn `-` into `_`: `X_Forwarded_For` would become the same key as the
    /// `X-Forwarded-For` that a proxy in front has checked. Dropped fields stay in [`RequestHead::head_bytes`].
    pub fn dropped_fields(&self) -> usize {
        self.summary.dropped as usize
    }

    /// After a refusal the field that caused it, if one did: its name, and the length of its value if that was read to
    /// its end.
    pub fn faulty_field(&self) -> Option<(&[u8], Option<usize>)> {
        let Field { name, value } = self.summary.faulty?;
        let length = (value.end > 0).then(|| value.of(&self.bytes).len());
        Some((name.of(&self.bytes), length))
    }

    /// The value of Host; empty if there is none.
    pub(crate) fn host_field(&self) -> &[u8] {
        self.summary.host.map_or(b"", |host| host.of(&self.bytes))
    }

    /// Changes the version of a complete request line.
    pub(crate) fn set_version(&mut self, version: Version) {
        let start = self.summary.target.end as usize + 1;
        let text = version.as_str().as_bytes();
        if let Some(line) = self.bytes.get_mut(start..start + text.len()) {
            line.copy_from_slice(text);
        }
        self.summary.version = version;
    }

    /// Gives the request another path, and another query if there is one, both as they are written in a target. Its
    /// [`RequestHead::target`] stays as it was sent.
    pub fn rewrite(&mut self, path: &[u8], query: Option<&[u8]>) {
        let Self { bytes, summary, .. } = self;
        let mut push = |part: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            Span::new(start, start + part.len())
        };
        summary.parts.path = Some(push(path));
        if let Some(query) = query {
            summary.parts.query = push(query);
        }
    }

    /// Whether the path is another one than that of the target.
    pub fn is_rewritten(&self) -> bool {
        let path = self.summary.parts.path;
        path.is_some_and(|path| path.start > self.summary.target.end)
    }

    /// The path and query of the target, whatever the request was rewritten to.
    pub fn target_path(&self) -> &[u8] {
        let target = self.target();
        if target.starts_with(b"/") {
            return target;
        }
        // The absolute form (RFC 9112 §3.2.2): what follows the authority.
        let authority = target.windows(3).position(|part| part == b"://");
        let rest = authority
            .and_then(|at| target.get(at + 3..))
            .unwrap_or_default();
        let start = rest.iter().position(|byte| *byte == b'/');
        start.and_then(|at| rest.get(at..)).unwrap_or(b"/")
    }

    /// Sets a field that the server adds: removes those of that name, which a client has sent. `name` is a token, and
    /// `value` has no control bytes.
    pub fn set_field(&mut self, name: &[u8], value: &[u8]) {
        let Self { bytes, fields, .. } = self;
        fields.retain(|field| !field.name.of(bytes).eq_ignore_ascii_case(name));
        let [name, value] = [(name, b": "), (value, b"\r\n")].map(|(part, end)| {
            let start = bytes.len();
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(end);
            Span::new(start, start + part.len())
        });
        fields.push(Field { name, value });
    }

    /// Removes the fields with such names.
    pub fn remove_fields(&mut self, is_removed: impl Fn(&[u8]) -> bool) {
        let Self { bytes, fields, .. } = self;
        fields.retain(|field| !is_removed(field.name.of(bytes)));
    }

    /// Records the field whose line contains `part` as the cause of the refusal.
    #[cold]
    pub(crate) fn set_faulty_field(&mut self, part: Span) {
        let has_part =
            |field: &&Field| field.name.start <= part.start && part.end <= field.value.end;
        self.summary.faulty = self.fields.iter().find(has_part).copied();
    }

    /// Copies `other` into its own memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.bytes.extend_from_slice(&other.bytes);
        self.fields.extend_from_slice(&other.fields);
        self.summary = other.summary;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, RequestParser};

    fn read(text: &str) -> RequestHead {
        let mut head = RequestHead::default();
        RequestParser::new(Limits::default())
            .step(text.as_bytes(), &mut head)
            .unwrap();
        head
    }

    #[test]
    fn version_and_connection_decide_about_persistence() {
        let cases = [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "connection: foo ,\tCLOSE\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            (
                "1.1",
                "Connection: keep-alive\r\nConnection: close\r\n",
                false,
            ),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ];
        for (version, fields, keep_alive) in cases {
            let head = read(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
            assert_eq!(head.keep_alive(), keep_alive, "{version} {fields}");
            assert_eq!(head.protocol(), head.version().as_str().as_bytes());
        }
    }

    #[test]
    fn a_rewritten_request_keeps_its_target() {
        let mut head = read("GET http://a/b?c HTTP/1.1\r\nHost: b\r\n\r\n");
        head.rewrite(b"/d", None);
        assert_eq!((head.path(), head.query()), (&b"/d"[..], &b"c"[..]));
        head.rewrite(b"/e", Some(b"f=g"));
        assert_eq!((head.path(), head.query()), (&b"/e"[..], &b"f=g"[..]));
        assert_eq!(head.target(), b"http://a/b?c");
        assert_eq!(head.target_path(), b"/b?c");
        assert!(head.is_rewritten());
        assert_eq!(head.headers().len(), 1);
        let plain = read("GET /a?b HTTP/1.1\r\nHost: b\r\n\r\n");
        assert!(!plain.is_rewritten());
        assert_eq!(plain.target_path(), b"/a?b");
    }

    #[test]
    fn an_absolute_target_overrides_host() {
        let head = read("GET http://a:1?q HTTP/1.1\r\nHost: b\r\nX-Y: 1\r\nx-y: 2\r\n\r\n");
        assert_eq!(head.host(), Some(&b"a:1"[..]));
        assert_eq!(head.header("HOST"), Some(&b"b"[..]));
        assert_eq!(head.header("x-y"), Some(&b"1"[..]));
        assert_eq!((head.path(), head.query()), (&b"/"[..], &b"q"[..]));
        assert_eq!(head.target(), b"http://a:1?q");
        assert_eq!(head.headers().len(), 3);
        assert_eq!(read("GET / HTTP/1.0\r\nHost:\r\n\r\n").host(), None);
    }

    #[test]
    fn only_options_without_a_path_is_server_wide() {
        for (line, is_server_wide_options, path) in [
            ("OPTIONS *", true, "*"),
            ("OPTIONS http://h", true, "*"),
            ("OPTIONS http://h:", true, "*"),
            ("OPTIONS http://h/", false, "/"),
            ("OPTIONS http://h?q", false, "/"),
            ("OPTIONS /", false, "/"),
            ("OPTIONS /*", false, "/*"),
            ("GET http://h", false, "/"),
        ] {
            let head = read(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert_eq!(
                head.is_server_wide_options(),
                is_server_wide_options,
                "{line}"
            );
            assert_eq!(head.path(), path.as_bytes(), "{line}");
        }
    }

    #[test]
    fn a_host_has_no_colon_before_an_empty_port() {
        for (line, host) in [
            ("/ HTTP/1.1\r\nHost: a:", "a"),
            ("/ HTTP/1.1\r\nHost: [::1]:", "[::1]"),
            ("http://b:/ HTTP/1.1\r\nHost: a:1", "b"),
            ("/ HTTP/1.1\r\nHost: a:0080", "a:0080"),
        ] {
            let head = read(&format!("GET {line}\r\n\r\n"));
            assert_eq!(head.host(), Some(host.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_name_with_an_underscore_is_dropped_and_counted() {
        let head = read("GET / HTTP/1.1\r\nHost: h\r\nX_A: 1\r\nX-A: 2\r\n_: 3\r\n\r\n");
        assert_eq!(head.headers().len(), 2);
        assert_eq!(head.dropped_fields(), 2);
        assert_eq!(head.header("X_A"), None);
    }

    #[test]
    fn a_refused_head_has_the_complete_parts_of_its_request_line() {
        let cases: [(&str, &str, &str, &str); 8] = [
            ("GET /a\r\n", "GET", "/a", ""),
            ("GET /a\n", "GET", "/a", ""),
            ("GET /a HTTP/9.9\r\n", "GET", "/a", "HTTP/9.9"),
            ("PRI * HTTP/2.0\r\n", "PRI", "*", "HTTP/2.0"),
            ("GET /a FTP", "GET", "/a", ""),
            ("GET /a\u{1}", "GET", "/a", ""),
            ("G@T", "", "", ""),
            ("GET /23456789012345", "GET", "/234567890123", ""),
        ];
        let limits = Limits {
            request_line: 15,
            ..Limits::default()
        };
        for (text, method, target, protocol) in cases {
            let mut head = RequestHead::default();
            let bytes = text.as_bytes();
            for cut in 0..bytes.len() {
                let mut parser = RequestParser::new(limits);
                let refusal = parser
                    .step(&bytes[..cut], &mut head)
                    .and_then(|_| parser.step(&bytes[cut..], &mut head));
                assert!(refusal.is_err(), "{text:?}");
                let found = [head.method(), head.target(), head.protocol()];
                let expected = [method, target, protocol].map(str::as_bytes);
                assert_eq!(found, expected, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_cleared_head_is_empty() {
        let mut head = read("GET /a?b HTTP/1.0\r\nHost: h\r\n\r\n");
        head.clear();
        assert!(head.method().is_empty() && head.target().is_empty() && head.path().is_empty());
        assert_eq!(head.host(), None);
        assert_eq!(head.headers().len(), 0);
    }
}
