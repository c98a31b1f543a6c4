//! How the pieces of a response reach the client and the collected response.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_cache::may_serve_stale_on_error;
use lockgate_http::{BodyLength, ResponseHead, ShortBody};
use lockgate_shm::responses::FlightOutcome;

use super::{AFTER_ERROR, AFTER_UNCACHEABLE, CacheWriter, Flight, State};
use crate::date::unix_seconds;
use crate::exchange::answer::Answer;
use crate::exchange::prepared::Prepared;
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, NotTaken, ResponseWriter, Sent,
};
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

impl CacheWriter {
    /// Collects a piece if the response is collected.
    fn collect(&mut self, bytes: &[u8]) {
        let limit = self.entries.limit();
        if let State::Collecting(collecting) = &mut self.state {
            collecting.push(bytes);
            if collecting.body.len() > limit {
                self.give_up();
            }
        }
    }

    /// The response is too large to be stored, or cannot be read.
    fn give_up(&mut self) {
        let now = unix_seconds();
        if let State::Collecting(collecting) = std::mem::replace(&mut self.state, State::Passing) {
            if !collecting.is_forwarded {
                self.state = State::Replaced;
            }
            self.end_flight_without_response(AFTER_UNCACHEABLE, now);
        }
    }

    /// Sends a piece that was collected, if it was. A client that goes does not end a response for which others wait, if
    /// its length is known: an endless one would keep the thread.
    fn forward(
        &mut self,
        send: impl FnOnce(&mut dyn ResponseWriter) -> Result<Sent, ClientGone>,
    ) -> Result<Sent, ClientGone> {
        let collecting = match &mut self.state {
            State::Waiting | State::Passing => return send(&mut *self.inner),
            State::Replaced => return Ok(Sent::default()),
            State::Collecting(collecting) => collecting,
        };
        let is_full = collecting.is_full();
        if collecting.is_forwarded && !collecting.is_client_gone {
            match send(&mut *self.inner) {
                Ok(sent) => return Ok(sent),
                Err(ClientGone) => self.go_on_without_client()?,
            }
        }
        Ok(Sent {
            is_cut: false,
            is_complete: is_full,
        })
    }

    /// The client has gone.
    ///
    /// # Errors
    /// [`ClientGone`] if no other request needs the response.
    fn go_on_without_client(&mut self) -> Result<(), ClientGone> {
        let has_waiters = (self.fill.flight.as_ref()).is_some_and(Flight::has_waiters);
        match &mut self.state {
            State::Collecting(collecting) if has_waiters && collecting.has_known_length() => {
                collecting.is_client_gone = true;
                Ok(())
            }
            _ => {
                self.state = State::Passing;
                Err(ClientGone)
            }
        }
    }

    pub(super) fn store(&mut self) {
        match std::mem::replace(&mut self.state, State::Passing) {
            State::Collecting(collecting) if collecting.is_complete() => {
                let now = unix_seconds();
                match (self.entries).insert(&self.fill, *collecting, now) {
                    FlightOutcome::Stored => self.end_flight(FlightOutcome::Stored),
                    // Too large with its head, or purged meanwhile.
                    _ => self.end_flight_without_response(AFTER_ERROR, now),
                }
            }
            // The client gets a broken response, too.
            State::Collecting(_) => {
                self.end_flight_without_response(AFTER_ERROR, unix_seconds());
            }
            state => self.state = state,
        }
    }
}

impl ResponseWriter for CacheWriter {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        self.begin(head, length, unix_seconds());
    }

    fn allows_body(&self) -> bool {
        match &self.state {
            State::Waiting | State::Passing => self.inner.allows_body(),
            State::Collecting(_) => true,
            State::Replaced => false,
        }
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.collect(bytes);
        self.forward(|inner| inner.send_copy(bytes))
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.collect(bytes.bytes());
        self.forward(|inner| inner.send_shared(bytes))
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        if let State::Collecting(collecting) = &self.state {
            let room = self.entries.limit().saturating_sub(collecting.body.len());
            let mut bytes = Vec::new();
            let is_read = length <= room as u64 && {
                bytes.resize(length as usize, 0);
                file.read_exact_at(&mut bytes, offset).is_ok()
            };
            match is_read {
                true => self.collect(&bytes),
                // The client's connection finds a file that is too short.
                false => self.give_up(),
            }
        }
        self.forward(|inner| inner.send_file(file, offset, length))
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        match &mut self.state {
            State::Waiting | State::Passing => self.inner.flush(),
            State::Replaced => Ok(()),
            State::Collecting(collecting) => {
                if collecting.is_forwarded
                    && !collecting.is_client_gone
                    && self.inner.flush().is_err()
                {
                    return self.go_on_without_client();
                }
                Ok(())
            }
        }
    }

    fn is_committed(&self) -> bool {
        self.inner.is_committed()
    }

    fn discard_response(&mut self) {
        self.state = State::Waiting;
        self.inner.discard_response();
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        self.store();
        self.inner.finish()
    }

    fn abort(mut self: Box<Self>) {
        let now = unix_seconds();
        if matches!(self.state, State::Waiting)
            && let Some(stored) = self.fill.stored.take()
            && may_serve_stale_on_error(&stored.meta, now)
        {
            self.end_flight_without_response(AFTER_ERROR, now);
            self.begin_stored(&stored, None, now);
            // The stored body is whole.
            let _whole = self.inner.finish();
            return;
        }
        self.end_flight_without_response(AFTER_ERROR, now);
        self.inner.abort();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }

    fn respond(mut self: Box<Self>, response: Prepared, now: Instant) {
        let response = self.take_prepared(response, unix_seconds());
        self.inner.respond(response, now);
    }

    fn drop_request(mut self: Box<Self>, why: DropReason, now: Instant) {
        let unix = unix_seconds();
        if matches!(why, DropReason::TooLate | DropReason::QueueFull)
            && let Some(stored) = self.fill.stored.take()
            && may_serve_stale_on_error(&stored.meta, unix)
        {
            let response = self.prepare_stored(&stored, None, unix);
            return self.inner.respond(response, now);
        }
        self.inner.drop_request(why, now);
    }

    fn subscribe(mut self: Box<Self>, subscription: Box<Subscription>) {
        self.leave_flight();
        self.inner.subscribe(subscription);
    }

    fn take_over(mut self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        self.leave_flight();
        self.inner.take_over()
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self.inner.client()
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self.inner.control()
    }
}
