//! What every protocol does with a request that it receives: whose it is, who reads its body, and how it is refused.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_http::{Framing, LocalResponse, Refusal, RequestHead, request_start};
use lockgate_observe::{Level, Outcome};

use crate::client::Client;
use crate::date::since_1970;
use crate::event_loop::context::Context;
use crate::exchange::answer::Answer;
use crate::exchange::body::spool::NotStored;
use crate::exchange::client_identity::ClientIdentity;
use crate::exchange::request::Request;
use crate::log::access_log::Entry;

/// Why a request does not reach the application.
pub enum Rejection {
    /// The peer violated a rule or a limit.
    OfPeer(Refusal),
    /// A rule of the operator refuses it.
    ByRule(Box<Answer>),
    /// There was no descriptor for the file of its body.
    NoDescriptors,
    /// There was no room on the disk for its body: the disk, a quota or a limit on files (`ulimit -f`) is full.
    DiskFull,
    /// The body's file failed for another reason.
    NotStored,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::OfPeer(refusal)
    }
}

impl Rejection {
    /// A body could not be stored.
    pub fn of_body(reason: &NotStored) -> Self {
        let NotStored::Disk(error) = reason else {
            return Self::NoDescriptors;
        };
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull,
            _ => Self::NotStored,
        }
    }

    /// How the access log counts it.
    pub fn outcome(&self) -> Outcome {
        match self {
            // A redirect is a response like any other.
            Self::ByRule(answer) => {
                (answer.account).map_or(Outcome::Complete, |account| account.outcome)
            }
            _ => Outcome::Refused,
        }
    }

    /// The identifier in the access log; `None` for a response like any other.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::ByRule(answer) => answer.account.and_then(|account| account.reason),
            rejection => Some(rejection.name()),
        }
    }

    /// Whether the peer has violated a rule or a limit, which gunicorn logs as an invalid request.
    pub fn is_of_peer(&self) -> bool {
        !matches!(self, Self::ByRule(_))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::OfPeer(refusal) => refusal.name(),
            Self::ByRule(answer) => answer.reason(),
            Self::NoDescriptors => "no_descriptors",
            Self::DiskFull => "disk_full",
            Self::NotStored => "body_not_stored",
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::OfPeer(refusal) => refusal.status(),
            Self::ByRule(answer) => answer.response.status,
            Self::NoDescriptors => 503,
            Self::DiskFull => 507,
            Self::NotStored => 500,
        }
    }

    /// The text of the answer.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::OfPeer(refusal) => refusal.to_string().into(),
            Self::ByRule(answer) => answer.reason().into(),
            Self::NoDescriptors => "too many large request bodies are being received".into(),
            Self::DiskFull | Self::NotStored => "the request body could not be stored".into(),
        }
    }

    /// The answer.
    pub fn response(&self) -> LocalResponse {
        match self {
            Self::ByRule(answer) => answer.response.clone(),
            _ => LocalResponse::text(self.status(), &self.detail()),
        }
    }

    /// A request that has a body and is refused by admission: its body is not received.
    #[inline]
    pub fn take(request: &mut Request) -> Option<Self> {
        if request.admitted.refusal.is_none() || !request.has_body {
            return None;
        }
        let mut answer = request.admitted.refusal.take()?;
        if let Some(rules) = request.admitted.response_rules.take() {
            answer.response = rules.applied(&answer);
        }
        Some(Self::ByRule(answer))
    }
}

/// Whether the application reads the body of this request while the client sends it.
pub fn streams_body_of(head: &RequestHead, config: &Config) -> bool {
    let prefixes = &config.stream_request_body;
    if prefixes.is_empty() || matches!(head.framing(), Framing::None | Framing::Length(0)) {
        return false;
    }
    let path = head.path();
    (prefixes.iter()).any(|prefix| path.starts_with(prefix.as_bytes()))
}

/// Identifies the client of a request from headers that may name it.
///
/// # Errors
/// The headers contradict each other, or are not allowed.
#[cold]
pub fn identify(
    identity: &mut ClientIdentity,
    request: &mut Request,
    peer: &Arc<Client>,
    context: &Context,
) -> Result<(), Refusal> {
    let proxies = &context.proxies;
    let has_stripped = identity.identify(request, peer, proxies)?;
    if has_stripped {
        context.report_stripping(peer);
    }
    Ok(())
}

/// Has admission decide about a request whose client is identified.
#[inline]
pub fn admit(
    identity: &mut ClientIdentity,
    request: &mut Request,
    peer: &Client,
    context: &Context,
    now: Instant,
) {
    if let Some(admission) = &context.admission {
        request.admitted.is_peer_trusted =
            identity.is_trusted_with_requests(peer, &context.proxies);
        admission.admit(request, now);
    }
}

/// What is recorded of a request, if anything is.
#[inline(always)]
pub fn entry_of(request: &Request, context: &Context, now: Instant) -> Option<Box<Entry>> {
    (context.records_requests()).then(|| new_entry(request, context, now))
}

#[inline(never)]
fn new_entry(request: &Request, context: &Context, now: Instant) -> Box<Entry> {
    let mut entry = Entry::take();
    entry.head.clone_from(&request.head);
    entry.client = Some(Arc::clone(&request.client));
    entry.user = context.user_of(request);
    entry.request_id.clone_from(&request.admitted.request_id);
    entry.trace = request.admitted.trace;
    entry.waited_before = request.admitted.waited_before;
    entry.is_https = request.is_https;
    entry.started = Some(now);
    entry
}

/// Takes over when a trusted proxy has received the request.
#[cold]
pub fn read_request_start(
    identity: &mut ClientIdentity,
    request: &mut Request,
    peer: &Client,
    context: &Context,
) {
    if !context.config.identity.request_start {
        return;
    }
    let is_start = |name: &[u8]| name.eq_ignore_ascii_case(b"x-request-start");
    let has_start = request.head.headers().any(|(name, _)| is_start(name));
    if !has_start || !identity.is_trusted_with_requests(peer, &context.proxies) {
        return;
    }
    let now = since_1970();
    let starts = request.head.headers().filter(|(name, _)| is_start(name));
    // Of several proxies the first one counts.
    let waited = starts
        .filter_map(|(_, value)| request_start::elapsed(value, now))
        .max();
    request.admitted.waited_before = waited;
}

/// Logs a refusal that the operator can act on.
pub fn warn_of_refusal(
    refusal: Refusal,
    head: &RequestHead,
    identity: &mut ClientIdentity,
    peer: &Client,
    context: &Context,
    now: Instant,
) {
    let proxies = &context.proxies;
    let is_trusted = identity.is_trusted(peer, proxies);
    if let Some(text) = (proxies.warnings).warning(refusal, head, peer, is_trusted, now) {
        context
            .error_log
            .write_unless_blocked(Level::Warning, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_status_of_a_body_that_is_not_stored_follows_from_the_error() {
        for (errno, expected) in [
            (Errno::NOSPC, 507),
            (Errno::DQUOT, 507),
            (Errno::FBIG, 507),
            (Errno::IO, 500),
            (Errno::ROFS, 500),
            (Errno::ACCESS, 500),
            (Errno::NOENT, 500),
            (Errno::MFILE, 503),
            (Errno::NFILE, 503),
        ] {
            let status = Rejection::of_body(&NotStored::from(io::Error::from(errno))).status();
            assert_eq!(status, expected, "{errno:?}");
        }
    }
}
