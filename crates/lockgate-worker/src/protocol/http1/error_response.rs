//! Error responses to requests that do not reach the application.

use std::io;
use std::time::Instant;

use lockgate_http::{
    BodyLength, LocalResponse, Refusal, RequestHead, ResponseContext, ResponseHead,
};
use lockgate_observe::{Level, Outcome};

use super::{Http1, Next, Phase};
use crate::date::with_date;
use crate::exchange::answer::Answer;
use crate::exchange::body::minimum_rate::ClientRate;
use crate::exchange::body::spool::{NotStored, Spool};
use crate::exchange::writer::ResponseWriter;
use crate::log::access_log::Entry;

/// Why a request does not reach the application.
pub enum Rejection {
    /// The peer violated a rule or a limit.
    OfPeer(Refusal),
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

    /// The identifier in the access log.
    fn name(&self) -> &'static str {
        match self {
            Self::OfPeer(refusal) => refusal.name(),
            Self::NoDescriptors => "no_descriptors",
            Self::DiskFull => "disk_full",
            Self::NotStored => "body_not_stored",
        }
    }
}

impl Http1 {
    /// Queues the response to a request that does not go to the application.
    pub(super) fn refuse(&mut self, rejection: Rejection, outcome: Outcome, now: Instant) -> Next {
        let mut request = self.reader.request.take().unwrap_or_default();
        let is_head = request.head.method() == b"HEAD";
        if let Rejection::OfPeer(refusal) = rejection {
            self.warn_of_refusal(refusal, &request.head, now);
        }
        self.log_refused_head(&mut request.head, now);
        self.reader.spool = Spool::Empty;
        let (status, detail) = match &rejection {
            Rejection::OfPeer(refusal) => (refusal.status(), refusal.to_string()),
            Rejection::NoDescriptors => (
                503,
                "too many large request bodies are being received".to_owned(),
            ),
            Rejection::DiskFull => (507, "the request body could not be stored".to_owned()),
            Rejection::NotStored => (500, "the request body could not be stored".to_owned()),
        };
        self.context.report_refusal(&self.link.client, &detail);
        if let Some(entry) = &mut self.response.entry {
            entry.status = status;
            entry.reason = Some(rejection.name());
        }
        self.response.status = status;
        let length_before = self.link.out.len();
        let server = self.context.server_header.as_deref();
        let tail = self.link.out.tail();
        let from = tail.len();
        let response = LocalResponse::text(status, &detail).closing();
        let body_bytes = with_date(|date| {
            response.encode(tail, &ResponseContext::closing(is_head, date, server))
        });
        let added = tail.len() - from;
        self.link.out.record_appended(added);
        debug_assert!(self.link.out.len() > length_before);
        self.record_body(body_bytes as u64, outcome, now);
        self.link.read_rate = ClientRate::default();
        self.response.closes = true;
        self.response.body = None;
        self.phase = Phase::Writing;
        self.link.deadline = now + self.context.config.write_timeout;
        // The client may have sent more than was read: close by lingering.
        self.link.readable = !self.link.read_closed;
        Next::Flush
    }

    /// Queues an answer of the server itself to a request that was read in full: the connection may continue.
    pub(super) fn queue_answer(&mut self, answer: &Answer, now: Instant) {
        let body = &*answer.response.body;
        let mut head = ResponseHead::default();
        answer.response.write_head(&mut head);
        self.start(&head, BodyLength::Known(body.len() as u64));
        let is_body_sent = self.allows_body();
        if is_body_sent {
            // A client that has gone is found by the flush.
            let _ = self.send_copy(body);
        }
        self.response.closes |= !self.response.finish_body();
        self.end_body_stream();
        self.phase = Phase::Writing;
        self.link.deadline = now + self.context.config.write_timeout;
        if let Some(account) = answer.account {
            if let Some(entry) = &mut self.response.entry {
                entry.reason = account.reason;
                entry.status = account.logged_status.unwrap_or(entry.status);
            }
            let is_seen = is_body_sent && account.outcome != Outcome::ClientGone;
            let body_bytes = if is_seen { body.len() } else { 0 };
            self.record_body(body_bytes as u64, account.outcome, now);
            self.count_loss(account.loss);
        }
    }

    fn warn_of_refusal(&mut self, refusal: Refusal, head: &RequestHead, now: Instant) {
        let proxies = &self.context.proxies;
        let client = &self.link.client;
        let is_trusted = self.reader.identity.is_trusted(client, proxies);
        if let Some(text) = (proxies.warnings).warning(refusal, head, client, is_trusted, now) {
            self.context
                .error_log
                .write_unless_blocked(Level::Warning, &text);
        }
    }

    /// Makes sure that a head which never became a request is logged, too.
    fn log_refused_head(&mut self, head: &mut RequestHead, now: Instant) {
        if self.response.entry.is_none() && self.context.access_log.is_some() {
            let mut entry = Entry::take();
            std::mem::swap(&mut entry.head, head);
            entry.started = Some(now);
            self.response.entry = Some(entry);
        }
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
            let status = match Rejection::of_body(&NotStored::from(io::Error::from(errno))) {
                Rejection::NoDescriptors => 503,
                Rejection::DiskFull => 507,
                Rejection::NotStored => 500,
                Rejection::OfPeer(refusal) => refusal.status(),
            };
            assert_eq!(status, expected, "{errno:?}");
        }
    }
}
