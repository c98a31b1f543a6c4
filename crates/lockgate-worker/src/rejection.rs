//! The answer to a request that does not reach the application. Decides no rule: `lockgate-http` and the disk do.

use std::io;
use std::time::Instant;

use lockgate_http::{BodyLength, Refusal, RequestHead, ResponseHead, encode_refusal};
use lockgate_observe::Outcome;

use crate::access_log::Entry;
use crate::connection::{Connection, Next, Phase};
use crate::date::with_date;
use crate::minimum_rate::Uptake;
use crate::reply::ReplyChannel;
use crate::spool::Spool;

/// Why a request does not reach the application.
pub enum Rejection {
    /// The peer broke a rule or a limit.
    OfPeer(Refusal),
    /// There was no room on the disk for its body: the disk, a quota or a limit on files (`ulimit -f`) is full.
    DiskFull,
    /// The body's file failed otherwise.
    NotStored,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::OfPeer(refusal)
    }
}

impl Rejection {
    /// A body could not be kept.
    pub fn of_disk(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull,
            _ => Self::NotStored,
        }
    }

    /// Its identifier in the access log.
    fn name(&self) -> &'static str {
        match self {
            Self::OfPeer(refusal) => refusal.name(),
            Self::DiskFull => "disk_full",
            Self::NotStored => "body_not_stored",
        }
    }
}

impl Connection {
    /// Queues the answer to a request that is not going to the application.
    pub fn refuse(&mut self, rejection: Rejection, outcome: Outcome, now: Instant) -> Next {
        let mut request = self.request.take().unwrap_or_default();
        let is_head = request.head.method() == b"HEAD";
        if let Rejection::OfPeer(refusal) = rejection {
            self.warn_of_refusal(refusal, &request.head, now);
        }
        self.note_refused_head(&mut request.head, now);
        self.spool = Spool::Empty;
        let (status, reason, detail) = match &rejection {
            Rejection::OfPeer(refusal) => (refusal.status(), refusal.reason(), refusal.to_string()),
            Rejection::DiskFull => (
                507,
                "Insufficient Storage",
                "the request body could not be stored".to_owned(),
            ),
            Rejection::NotStored => (
                500,
                "Internal Server Error",
                "the request body could not be stored".to_owned(),
            ),
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
        let mut body_bytes =
            with_date(|date| encode_refusal(tail, status, reason, &detail, date, server));
        if is_head {
            // RFC 9110 §9.3.2: no content, whatever the status; the client would read it as another response.
            tail.truncate(tail.len() - std::mem::take(&mut body_bytes));
        }
        let added = tail.len() - from;
        self.out.note_appended(added);
        debug_assert!(self.out.len() > length_before);
        self.record_body(body_bytes as u64, outcome, now);
        self.uptake = Uptake::default();
        self.close_after_response = true;
        self.body = None;
        self.phase = Phase::Writing;
        self.deadline = now + self.shared.config.write_timeout;
        // The client may have more under way than was read: close with patience.
        self.readable = !self.read_closed;
        Next::Flush
    }

    /// Queues a whole response of the server's own to a request that was read in full: the connection may go on.
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

    /// Makes sure that a head which never became a request has its line, too.
    fn note_refused_head(&mut self, head: &mut RequestHead, now: Instant) {
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
    fn want_of_room_is_told_from_other_failures_of_the_disk() {
        for (errno, is_want_of_room) in [
            (Errno::NOSPC, true),
            (Errno::DQUOT, true),
            (Errno::FBIG, true),
            (Errno::IO, false),
            (Errno::ROFS, false),
            (Errno::ACCESS, false),
            (Errno::NOENT, false),
            (Errno::MFILE, false),
        ] {
            let rejection = Rejection::of_disk(&io::Error::from(errno));
            let found = matches!(rejection, Rejection::DiskFull);
            assert_eq!(found, is_want_of_room, "{errno:?}");
        }
    }
}
