//! How the pieces of a response reach the client and the collected response.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lockgate_cache::may_serve_stale_on_error;
use lockgate_http::{BodyLength, ResponseHead, ShortBody};
use lockgate_shm::responses::FlightOutcome;

use super::{CacheWriter, State};
use crate::date::unix_seconds;
use crate::exchange::answer::Answer;
use crate::exchange::prepared::Prepared;
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, NotTaken, ResponseWriter, Sent,
};
use crate::transport::outbox::SharedBytes;

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
            (self.entries).mark_uncacheable(&self.fill, None, 200, now);
            self.end_flight(FlightOutcome::NotStored);
        }
    }

    /// Sends a piece that was collected, if it was. A client that goes does not end a response that others wait for.
    fn forward(
        &mut self,
        send: impl FnOnce(&mut dyn ResponseWriter) -> Result<Sent, ClientGone>,
    ) -> Result<Sent, ClientGone> {
        let collecting = match &mut self.state {
            State::Waiting | State::Passing => return send(&mut *self.inner),
            State::Replaced => return Ok(Sent::default()),
            State::Collecting(collecting) => collecting,
        };
        if collecting.is_forwarded && !collecting.is_client_gone {
            match send(&mut *self.inner) {
                Ok(sent) => return Ok(sent),
                Err(ClientGone) => collecting.is_client_gone = true,
            }
        }
        Ok(Sent {
            is_cut: false,
            is_complete: collecting.is_full(),
        })
    }

    pub(super) fn store(&mut self) {
        match std::mem::replace(&mut self.state, State::Passing) {
            State::Collecting(collecting) if collecting.is_complete() => {
                let outcome = (self.entries).insert(&self.fill, *collecting, unix_seconds());
                self.end_flight(outcome);
            }
            // The client gets a broken response, too.
            State::Collecting(_) => self.end_flight(FlightOutcome::Failed),
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

    fn send_file(&mut self, file: Arc<File>, offset: u64, length: u64) -> Result<Sent, ClientGone> {
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
                if collecting.is_forwarded && !collecting.is_client_gone {
                    collecting.is_client_gone = self.inner.flush().is_err();
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
            self.end_flight(FlightOutcome::Failed);
            self.begin_stored(&stored, None, now);
            // The stored body is whole.
            let _whole = self.inner.finish();
            return;
        }
        self.inner.abort();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.inner.answer(answer, now);
    }

    fn respond(mut self: Box<Self>, response: Prepared, now: Instant) {
        let response = self.take_prepared(response, unix_seconds());
        self.inner.respond(response, now);
    }

    fn drop_request(self: Box<Self>, why: DropReason, now: Instant) {
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
