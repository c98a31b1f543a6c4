//! Error responses to requests that do not reach the application.

use std::io;
use std::time::Instant;

use lockgate_http::{
    BodyLength, LocalResponse, Refusal, RequestHead, ResponseContext, ResponseHead,
};
use lockgate_observe::Outcome;

use crate::body::minimum_rate::ReadRate;
use crate::body::spool::{NotStored, Spool};
use crate::date::with_date;
use crate::exchange::response::ResponseWriter;
use crate::http1::{Connection, Next, Phase};
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

impl Connection {
    /// Queues the response to a request that does not go to the application.
    pub fn refuse(&mut self, rejection: Rejection, outcome: Outcome, now: Instant) -> Next {
        let mut request = self.request.take().unwrap_or_default();
        let is_head = request.head.method() == b"HEAD";
        if let Rejection::OfPeer(refusal) = rejection {
            self.warn_of_refusal(refusal, &request.head, now);
        }
        self.log_refused_head(&mut request.head, now);
        self.spool = Spool::Empty;
        let (status, detail) = match &rejection {
            Rejection::OfPeer(refusal) => (refusal.status(), refusal.to_string()),
            Rejection::NoDescriptors => (
                503,
                "too many large request bodies are being received".to_owned(),
            ),
            Rejection::DiskFull => (507, "the request body could not be stored".to_owned()),
            Rejection::NotStored => (500, "the request body could not be stored".to_owned()),
        };
        self.shared.report_refusal(&self.client, &detail);
        if let Some(entry) = &mut self.entry {
            entry.status = status;
            entry.reason = Some(rejection.name());
        }
        self.status = status;
        let length_before = self.out.len();
        let server = self.shared.server_header.as_deref();
        let tail = self.out.tail();
        let from = tail.len();
        let response = LocalResponse::text(status, &detail).closing();
        let body_bytes = with_date(|date| {
            response.encode(tail, &ResponseContext::closing(is_head, date, server))
        });
        let added = tail.len() - from;
        self.out.record_appended(added);
        debug_assert!(self.out.len() > length_before);
        self.record_body(body_bytes as u64, outcome, now);
        self.read_rate = ReadRate::default();
        self.close_after_response = true;
        self.body = None;
        self.phase = Phase::Writing;
        self.deadline = now + self.shared.config.write_timeout;
        // The client may have sent more than was read: close by lingering.
        self.readable = !self.read_closed;
        Next::Flush
    }

    /// Queues a complete response of the server's own to a request that was read in full: the connection may continue.
    pub fn queue_own_response(&mut self, head: &ResponseHead, body: &[u8], now: Instant) {
        self.start(head, BodyLength::Known(body.len() as u64));
        if self.allows_body() {
            // A client that has gone is found by the flush.
            let _ = self.send_copy(body);
        }
        let may_go_on = self
            .body
            .as_mut()
            .is_some_and(|body| body.finish().is_ok() && body.keep_alive());
        self.close_after_response |= !may_go_on;
        self.phase = Phase::Writing;
        self.deadline = now + self.shared.config.write_timeout;
    }

    /// Makes sure that a head which never became a request is logged, too.
    fn log_refused_head(&mut self, head: &mut RequestHead, now: Instant) {
        if self.entry.is_none() && self.shared.access_log.is_some() {
            let mut entry = Box::<Entry>::default();
            std::mem::swap(&mut entry.head, head);
            entry.started = Some(now);
            self.entry = Some(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_body_that_is_not_kept_gets_the_status_of_the_reason() {
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
