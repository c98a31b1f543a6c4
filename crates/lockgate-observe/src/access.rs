//! The access log: each record becomes exactly one line.
//!
//! Invariant: whatever the client sent, a line has one line feed, its last byte, and the columns of its format. Writing
//! allocates only when the given buffer grows.

use std::time::Duration;

use crate::credentials::UserName;
use crate::date::{WallTime, six_digits};
use crate::development::{Development, STATEMENTS};
use crate::escape::Escape;
use crate::format::{BadFormat, Part, compile};
use crate::json;
use crate::percent::PercentDecoded;

/// Apache's combined log format, which is also gunicorn's default.
const COMBINED: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;
/// The common log format: the combined one without referer and user agent.
const COMMON: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s"#;

/// A compiled access-log format, used for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFormat {
    layout: Layout,
    environ_names: Vec<String>,
}

/// The facts about one request. Values are as the client sent them: they are escaped here.
#[derive(Clone, Copy)]
pub struct AccessRecord<'a> {
    /// Address of the client without its port; empty or `-` on a unix socket.
    pub client: &'a str,
    /// The user, if it is known from something other than the `Authorization` header; `None`: the name in a Basic
    /// header is shown.
    pub user: Option<&'a [u8]>,
    /// Its id; `None`: requests have no ids.
    pub request_id: Option<&'a [u8]>,
    /// The trace that it belongs to; empty if it is not known, `None`: requests are not traced.
    pub trace_id: Option<&'a [u8]>,
    /// The server's span; as for `trace_id`.
    pub span_id: Option<&'a [u8]>,
    /// How long a proxy in front had the request before `started`, if it says so.
    pub waited_before: Option<Duration>,
    /// Method; empty when no request line could be read.
    pub method: &'a [u8],
    /// Target exactly as sent; empty when no request line could be read.
    pub target: &'a [u8],
    /// Path as sent, still percent-encoded; it is shown decoded.
    pub path: &'a [u8],
    /// Query without its `?`; empty when there is none.
    pub query: &'a [u8],
    /// `HTTP/1.1` and the like; empty when no request line could be read.
    pub protocol: &'a str,
    /// The status that was sent, or would have been.
    pub status: u16,
    /// Bytes of the response's body that were sent, without chunk framing.
    pub body_bytes: u64,
    /// When the first byte of the request was received.
    pub started: WallTime,
    /// From `started` to the last byte of the response, or to the end of the attempt.
    pub duration: Duration,
    /// The worker's process id.
    pub pid: u32,
    /// The first request header with a name, case-insensitive.
    pub request_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// The first response header with a name, case-insensitive.
    pub response_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// Values for [`AccessFormat::environ_names`]; names are compared without case.
    pub environ: &'a [(String, String)],
    /// How the request ended.
    pub outcome: Outcome,
    /// The identifier of the reason for a refusal.
    pub reason: Option<&'a str>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole response was sent.
    Complete,
    /// The client left before that.
    ClientGone,
    /// The server refused the request; the application never saw it.
    Refused,
    /// The application failed after its response had begun, so the connection was cut.
    Aborted,
    /// A deadline passed.
    TimedOut,
    /// No thread was free in time; the application never saw the request.
    Overloaded,
    /// The application exceeded the request timeout.
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    Json,
    Development(Development),
    Parts { parts: Vec<Part>, escape: Escape },
}

impl AccessFormat {
    /// Compiles `combined`, `common`, `json`, `development` with its options, or a text with gunicorn's atoms.
    ///
    /// A text that begins with `{` is taken for a hand-written JSON object, which many operators have: its values are
    /// escaped as JSON strings and `%(p)s` is a bare number.
    ///
    /// # Errors
    /// [`BadFormat`] names the first fault and its place.
    pub fn parse(text: &str) -> Result<Self, BadFormat> {
        if let Some(format) = Development::parse(text) {
            return Ok(Self {
                layout: Layout::Development(format?),
                environ_names: vec![STATEMENTS.to_owned()],
            });
        }
        let text = match text {
            "json" => {
                return Ok(Self {
                    layout: Layout::Json,
                    environ_names: Vec::new(),
                });
            }
            "combined" => COMBINED,
            "common" => COMMON,
            atoms => atoms,
        };
        let parts = compile(text)?;
        let escape = if text.trim_start().starts_with('{') {
            Escape::Json
        } else {
            Escape::Text
        };
        let mut environ_names: Vec<String> = Vec::new();
        for part in &parts {
            if let Part::Environ(name) = part
                && !environ_names.contains(name)
            {
                environ_names.push(name.clone());
            }
        }
        Ok(Self {
            layout: Layout::Parts { parts, escape },
            environ_names,
        })
    }

    /// Keys of environ that the lines show, once each: those of `%({name}e)s` as written in the format.
    pub fn environ_names(&self) -> &[String] {
        &self.environ_names
    }

    /// Appends exactly one line, including its line feed; nothing for requests that `development` leaves out.
    pub fn write(&self, out: &mut Vec<u8>, record: &AccessRecord<'_>) {
        match &self.layout {
            Layout::Json => json::write_object(out, record),
            Layout::Development(format) => {
                if !format.write(out, record) {
                    return;
                }
            }
            Layout::Parts { parts, escape } => {
                parts
                    .iter()
                    .for_each(|part| record.write_part(out, part, *escape));
            }
        }
        out.push(b'\n');
    }
}

impl Outcome {
    /// The name in JSON: `complete`, `client_gone`, `refused`, `aborted`, `timed_out`, `overloaded` or `expired`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::Refused => "refused",
            Self::Aborted => "aborted",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
        }
    }
}

impl<'a> AccessRecord<'a> {
    /// The client's address, none on a unix socket.
    pub(crate) fn known_client(&self) -> Option<&'a str> {
        (!matches!(self.client, "" | "-")).then_some(self.client)
    }

    pub(crate) fn user_name(&self) -> Option<UserName<'a>> {
        match self.user {
            Some(b"") => None,
            Some(user) => Some(UserName::Plain(user)),
            None => UserName::of_basic((self.request_header)("authorization")?),
        }
    }

    /// `s.µµµµµµ`
    pub(crate) fn write_decimal_seconds(&self, out: &mut Vec<u8>) {
        decimal_seconds(out, self.duration);
    }

    fn write_part(&self, out: &mut Vec<u8>, part: &Part, escape: Escape) {
        match part {
            Part::Literal(text) => out.extend_from_slice(text),
            Part::Client => text(out, escape, self.known_client().map(str::as_bytes)),
            Part::Identity => out.push(b'-'),
            Part::User => match self.user_name() {
                Some(user) => column(out, escape, user),
                None => out.push(b'-'),
            },
            // As in gunicorn and nginx: the time when the line is written, so that the log is in order.
            Part::Time => out.extend_from_slice(&self.started.after(self.duration).common_log()),
            Part::RequestLine => self.write_request_line(out, escape),
            Part::Method => text(out, escape, Some(self.method)),
            Part::Path if self.path.is_empty() => out.push(b'-'),
            Part::Path => column(out, escape, PercentDecoded::new(self.path)),
            Part::Query => escape.slice(out, self.query),
            Part::Protocol => text(out, escape, Some(self.protocol.as_bytes())),
            Part::Status => number(out, self.status),
            Part::BodyBytesOrDash if self.body_bytes == 0 => out.push(b'-'),
            Part::BodyBytes | Part::BodyBytesOrDash => number(out, self.body_bytes),
            Part::Referer => text(out, escape, (self.request_header)("referer")),
            Part::UserAgent => text(out, escape, (self.request_header)("user-agent")),
            Part::RequestId => text(out, escape, self.request_id),
            Part::TraceId => text(out, escape, self.trace_id),
            Part::SpanId => text(out, escape, self.span_id),
            Part::QueuedBefore => match self.waited_before {
                Some(waited) => decimal_seconds(out, waited),
                None => out.push(b'-'),
            },
            Part::Reason => text(out, escape, self.reason.map(str::as_bytes)),
            Part::Seconds => number(out, self.duration.as_secs()),
            Part::Milliseconds => number(out, self.duration.as_millis()),
            Part::Microseconds => number(out, self.duration.as_micros()),
            Part::DecimalSeconds => self.write_decimal_seconds(out),
            Part::ProcessId if escape == Escape::Json => number(out, self.pid),
            Part::ProcessId => {
                out.push(b'<');
                number(out, self.pid);
                out.push(b'>');
            }
            Part::RequestHeader(name) => text(out, escape, (self.request_header)(name)),
            Part::ResponseHeader(name) => text(out, escape, (self.response_header)(name)),
            Part::Environ(name) => {
                let known = self
                    .environ
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                text(out, escape, known.map(|(_, value)| value.as_bytes()));
            }
        }
    }

    fn write_request_line(&self, out: &mut Vec<u8>, escape: Escape) {
        if self.method.is_empty() && self.target.is_empty() {
            return out.push(b'-');
        }
        // A refused request may have ended before its target or its version.
        escape.slice(out, self.method);
        for part in [self.target, self.protocol.as_bytes()] {
            if !part.is_empty() {
                out.push(b' ');
                escape.slice(out, part);
            }
        }
    }
}

/// A missing or empty value becomes `-`, so that no column is empty.
fn text(out: &mut Vec<u8>, escape: Escape, value: Option<&[u8]>) {
    match value {
        None | Some(b"") => out.push(b'-'),
        Some(value) => escape.slice(out, value),
    }
}

/// A decoded value may contain spaces, which would shift the columns after it if it is not quoted.
fn column(out: &mut Vec<u8>, escape: Escape, value: impl Iterator<Item = u8> + Clone) {
    match escape {
        Escape::Json => escape.bytes(out, value),
        Escape::Text => value.for_each(|byte| match byte {
            b' ' => out.extend_from_slice(b"\\x20"),
            byte => escape.slice(out, &[byte]),
        }),
    }
}

/// `s.µµµµµµ`
pub(crate) fn decimal_seconds(out: &mut Vec<u8>, duration: Duration) {
    number(out, duration.as_secs());
    out.push(b'.');
    out.extend_from_slice(&six_digits(duration.subsec_micros()));
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests;
