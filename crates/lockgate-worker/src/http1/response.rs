//! The HTTP/1 [`ResponseWriter`]: one response in flight, whose owner owns the whole connection.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{BodyLength, ResponseContext, ResponseHead, ShortBody, Version, encode_head};
use lockgate_observe::{Loss, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::body::minimum_rate::ReadRate;
use crate::date::with_date;
use crate::deadlines::{CallSlot, Ending, Expired, Line};
use crate::detached_work::DetachedWork;
use crate::event_loop::Returned;
use crate::exchange::response::{ClientGone, Look, Presence, ResponseWriter, Sent, SharedBytes};
use crate::hold::HeldConnection;
use crate::http1::{Connection, Next, Phase};
use crate::queue::DropReason;
use crate::shared::Shared;
use crate::transport::outbox::Flushed;

impl Connection {
    /// Prepares the connection as a response's channel, for a request that was complete at `ready_at`.
    pub fn begin_exchange(&mut self, output: Option<Vec<u8>>, ready_at: u64) {
        self.ready_at = Some(ready_at);
        if let Some(output) = output {
            self.out.give_spare(output);
        }
        self.body = None;
        self.is_committed = false;
        self.response_mark = self.out.len();
        if let Some(entry) = &mut self.entry {
            entry.response_begins_at = self.out.departed() + self.response_mark;
        }
        self.read_rate = ReadRate::default();
    }

    /// Corks a piece of a stream if a follower watches over the call. Returns whether it did.
    fn begin_corked(&mut self, shared: &Shared) -> bool {
        let is_watched = shared.pool.is_watched();
        if self.is_corked != is_watched {
            self.is_corked = is_watched;
            self.transport.set_corked(is_watched);
            if is_watched {
                shared.cork.enter(self.transport.corked_socket());
            }
        }
        is_watched
    }

    /// No further piece of the stream will carry along what the kernel holds, except what is queued here.
    fn end_corked(&mut self) {
        if std::mem::take(&mut self.is_corked) {
            self.transport.set_corked(false);
            if self.out.is_empty() {
                let socket = self.transport.corked_socket();
                self.shared.cork.settle(&socket, || false);
            }
        }
    }

    /// Sends everything queued; waits for the socket as long as the client keeps reading. The application continues
    /// only after that (PEP 3333, "Buffering and Streaming"): no other thread would send the rest while it runs.
    fn transmit(&mut self) -> Result<(), ClientGone> {
        loop {
            let before = self.out.len();
            let outcome = self.flush();
            self.shared.pool.record_progress();
            match outcome {
                Ok(Flushed::All) => return Ok(()),
                Ok(_) if self.out.len() < before => {}
                Ok(_) => self.wait_until_writable()?,
                Err(error) => return Err(self.on_write_error(&error)),
            }
        }
    }

    fn wait_until_writable(&mut self) -> Result<(), ClientGone> {
        // This thread is about to wait for a slow client: another thread should lead meanwhile.
        self.shared.pool.promote_now();
        // The flush that found the socket full has set the deadline; only bytes that the client takes extend it.
        let timeout = self.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = [PollFd::from_borrowed_fd(
            self.transport.descriptor(),
            PollFlags::OUT,
        )];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => {
                self.give_up_writing(Instant::now());
                Err(ClientGone)
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(_) => Err(ClientGone),
        }
    }

    fn on_write_error(&mut self, error: &io::Error) -> ClientGone {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.shared.report_short_file();
        }
        self.hung_up = true;
        ClientGone
    }

    /// Counts a piece against the announced length and writes its framing around `put`.
    fn frame(
        &mut self,
        length: usize,
        put: impl FnOnce(&mut Self, usize),
    ) -> Result<Sent, ClientGone> {
        let Some(body) = &mut self.body else {
            return Err(ClientGone);
        };
        if length == 0 || !body.allows_body() {
            return Ok(Sent {
                is_cut: false,
                is_complete: body.is_complete(),
            });
        }
        let frame = body.frame(length);
        let is_complete = body.is_complete();
        self.out.append(frame.prefix.as_ref());
        if frame.take > 0 {
            put(self, frame.take);
        }
        self.out.append(frame.suffix);
        if self.hung_up {
            Err(ClientGone)
        } else {
            Ok(Sent {
                is_cut: frame.is_cut,
                is_complete,
            })
        }
    }
}

impl ResponseWriter for Connection {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        if let Some(call_slot) = &self.call_slot {
            match call_slot.commit() {
                // Started again after a response was forgotten: this thread has the right to answer already.
                Ok(None) => {}
                Ok(entry) => self.entry = entry,
                Err(Expired) => {
                    self.hung_up = true;
                    return;
                }
            }
        }
        let shared = Arc::clone(&self.shared);
        let keep_alive = self.client_keeps_alive
            && !self.close_after_response
            && shared.keeps_connections()
            && !self.is_last_request();
        let version = if self.is_http10 {
            Version::Http10
        } else {
            Version::Http11
        };
        let tail = self.out.tail();
        let from = tail.len();
        let body = with_date(|date| {
            let server = shared.server_header.as_deref();
            let context = ResponseContext {
                version,
                is_head: self.is_head_request,
                keep_alive,
                date,
                server,
            };
            encode_head(tail, head, length, &context)
        });
        let added = tail.len() - from;
        self.out.record_appended(added);
        self.body = Some(body);
        self.status = head.status();
        if let Some(entry) = &mut self.entry {
            entry.status = head.status();
            entry.response.clone_from(head);
        }
    }

    fn allows_body(&self) -> bool {
        self.body
            .as_ref()
            .is_some_and(lockgate_http::ResponseBody::allows_body)
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.frame(bytes.len(), |connection, take| {
            connection.out.append(&bytes[..take])
        })
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.frame(bytes.bytes().len(), |connection, take| {
            connection.out.push_shared(bytes, take)
        })
    }

    fn send_file(&mut self, file: File, offset: u64, length: u64) -> Result<Sent, ClientGone> {
        let length = usize::try_from(length).map_err(|_| ClientGone)?;
        self.frame(length, |connection, take| {
            connection.out.push_file(file, offset, take as u64)
        })
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        if self.out.is_empty() {
            return if self.hung_up {
                Err(ClientGone)
            } else {
                Ok(())
            };
        }
        let shared = Arc::clone(&self.shared);
        let is_watched = self.begin_corked(&shared);
        let mut outcome = Ok(());
        (shared.app).detached(DetachedWork::new(&mut || outcome = self.transmit()));
        if is_watched {
            shared
                .cork
                .settle(&self.transport.corked_socket(), || shared.pool.is_watched());
        }
        outcome
    }

    fn is_committed(&self) -> bool {
        self.is_committed
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        if let Some(ending) = self.leave_station() {
            self.follow(ending);
            return Ok(());
        }
        let Some(body) = &mut self.body else {
            self.abort();
            return Ok(());
        };
        match body.finish() {
            Ok(last) => {
                self.close_after_response |= !body.keep_alive();
                self.out.append(last);
                self.end_corked();
                self.phase = Phase::Writing;
                let shared = Arc::clone(&self.shared);
                shared.return_finished(self);
                Ok(())
            }
            Err(short) => {
                // The client must not wait for the rest, nor take the next response for it.
                self.abort();
                Err(short)
            }
        }
    }

    fn abort(mut self: Box<Self>) {
        if let Some(ending) = self.leave_station() {
            return self.follow(ending);
        }
        // What was produced so far may still be useful, if only to show where it broke off: send what the socket takes,
        // then close without the end of message that the framing requires.
        let app = Arc::clone(&self.shared.app);
        app.detached(DetachedWork::new(&mut || {
            let _ = self.flush_quietly();
            self.end_corked();
            let now = Instant::now();
            let (outcome, loss) = if self.hung_up {
                (Outcome::ClientGone, Loss::ClientGone)
            } else {
                (Outcome::Aborted, Loss::Aborted)
            };
            self.record(outcome, now);
            self.count_loss(loss);
        }));
        if self.is_committed && self.body.is_some_and(|body| body.ends_with_connection()) {
            self.transport.reset_on_close();
        }
        let shared = Arc::clone(&self.shared);
        shared.discard(self);
    }

    fn discard_response(&mut self) {
        self.out.truncate(self.response_mark);
        self.body = None;
    }

    fn drop_request(mut self: Box<Self>, why: DropReason, now: Instant) {
        if let Some(ending) = self.leave_station() {
            return self.follow(ending);
        }
        self.leave_unanswered(why, now);
    }

    fn presence(&mut self, look: Look) -> Presence {
        if self
            .call_slot
            .as_ref()
            .is_some_and(|call_slot| call_slot.is_expired())
        {
            return Presence::Gone;
        }
        self.find_presence(look)
    }

    fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        let line = Line {
            abort: self.transport.abort_handle(),
            is_head_request: self.is_head_request,
            is_clear: !self.has_output(),
        };
        call_slot.set_client_socket(line, self.entry.take());
        self.call_slot = Some(Arc::clone(call_slot));
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.transport.descriptor())
    }

    fn hold(&mut self) -> Option<HeldConnection> {
        Some(HeldConnection::new(&self.slot, &self.shared))
    }

    fn record_environ(&mut self, values: Vec<(String, String)>) {
        if let Some(entry) = &mut self.entry {
            entry.environ = values;
        } else if let Some(call_slot) = &self.call_slot {
            call_slot.record_environ(values);
        }
    }
}

impl Connection {
    /// The connection is about to change its owner. Returns what its client got, if the deadline came first.
    fn leave_station(&mut self) -> Option<Ending> {
        let (entry, ending) = self.call_slot.take()?.release(self.slot.hold().is_held());
        if entry.is_some() {
            self.entry = entry;
        }
        ending
    }

    /// The client was answered or cut off at the request's deadline: all that is left is to close the connection.
    #[cold]
    fn follow(mut self: Box<Self>, ending: Ending) {
        let now = Instant::now();
        let shared = Arc::clone(&self.shared);
        // Unless this was done at the deadline.
        self.record(Outcome::Expired, now);
        self.count_rest();
        self.close_after_response = true;
        if ending.has_answer() && matches!(self.begin_lingering(now), Next::Again) {
            return shared.push_return(Returned::Connection(self), true);
        }
        shared.discard(self);
    }

    fn flush_quietly(&mut self) -> io::Result<Flushed> {
        if self.hung_up || self.out.is_empty() {
            return Ok(Flushed::All);
        }
        self.flush()
    }
}
