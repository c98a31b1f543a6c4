//! HTTP/1 as a [`ResponseWriter`]: one response in flight, whose writer owns the whole connection.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, ResponseContext, ResponseHead, ShortBody, Version, encode_head};
use lockgate_observe::{Loss, Outcome};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Http1, Phase};
use crate::connection::inbox::Returned;
use crate::date::with_date;
use crate::detached_work::DetachedWork;
use crate::exchange::answer::Answer;
use crate::exchange::body::minimum_rate::ClientRate;
use crate::exchange::deadlines::call_slot::{CallSlot, Expired};
use crate::exchange::deadlines::ending::{ClientSocket, Handle};
use crate::exchange::dropped;
use crate::exchange::prepared::Prepared;
use crate::exchange::request_id::RequestId;
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, HeldConnection, NotTaken, Presence,
    PresenceCheck, ResponseWriter, Sent,
};
use crate::protocol::tunnel::{self, Tunnel, TunnelResponse};
use crate::transport::outbox::{Flushed, SharedBytes};
use lockgate_files::SharedFile;

impl Http1 {
    /// Prepares the connection for the response to a request that was complete at `ready_at`.
    pub(super) fn begin_response(&mut self, ready_at: u64) {
        self.response.ready_at = Some(ready_at);
        self.response.body = None;
        self.response.is_committed = false;
        self.response.is_counted = false;
        self.response.begins_at = self.link.out.len();
        if let Some(entry) = &mut self.response.entry {
            entry.response_begins_at = self.link.out.departed() + self.response.begins_at;
        }
        self.link.read_rate = ClientRate::default();
    }

    /// Corks a piece of a stream if a follower watches over the call. Returns whether it did.
    fn begin_corked(&mut self) -> bool {
        let is_watched = self.context.pool.is_watched();
        if self.response.is_corked != is_watched {
            self.response.is_corked = is_watched;
            self.link.transport.set_corked(is_watched);
            if is_watched {
                self.context
                    .cork
                    .register(self.link.transport.corked_socket());
            }
        }
        is_watched
    }

    /// No further piece of the stream will carry along what the kernel holds, except what is queued here.
    pub(super) fn end_corked(&mut self) {
        if std::mem::take(&mut self.response.is_corked) {
            self.link.transport.set_corked(false);
            if self.link.out.is_empty() {
                let socket = self.link.transport.corked_socket();
                self.context.cork.uncork_unless_watched(&socket, || false);
            }
        }
    }

    /// Sends everything queued; waits for the socket as long as the client keeps reading. The application continues
    /// only after that (PEP 3333, "Buffering and Streaming"): no other thread would send the rest while it runs.
    fn transmit(&mut self) -> Result<(), ClientGone> {
        loop {
            let before = self.link.out.len();
            let outcome = self.flush_link();
            self.context.pool.record_progress();
            match outcome {
                Ok(Flushed::All) => return Ok(()),
                Ok(Flushed::Reading) => self.read_file(),
                Ok(_) if self.link.out.len() < before => {}
                Ok(_) => self.wait_until_writable()?,
                Err(_) => {
                    self.link.hung_up = true;
                    return Err(ClientGone);
                }
            }
        }
    }

    /// Waits for the disk.
    fn read_file(&mut self) {
        self.context.pool.promote_now();
        match self.link.out.take_read() {
            Some(read) => read.run(),
            None => std::thread::yield_now(),
        }
    }

    fn wait_until_writable(&mut self) -> Result<(), ClientGone> {
        // This thread is about to wait for a slow client: another thread should lead meanwhile.
        self.context.pool.promote_now();
        // The flush that found the socket full has set the deadline; only bytes that the client takes extend it.
        let timeout = self.link.deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = [PollFd::from_borrowed_fd(
            self.link.transport.descriptor(),
            PollFlags::OUT,
        )];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => {
                self.time_out_writing(Instant::now());
                Err(ClientGone)
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(_) => Err(ClientGone),
        }
    }

    fn flush_quietly(&mut self) -> io::Result<Flushed> {
        if self.link.hung_up || self.link.out.is_empty() {
            return Ok(Flushed::All);
        }
        self.flush_link()
    }

    /// Counts a piece against the announced length and writes its framing around `put`.
    pub(super) fn frame(
        &mut self,
        length: usize,
        put: impl FnOnce(&mut Self, usize),
    ) -> Result<Sent, ClientGone> {
        let Some(body) = &mut self.response.body else {
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
        self.link.out.append(frame.prefix.as_ref());
        if frame.take > 0 {
            put(self, frame.take);
        }
        self.link.out.append(frame.suffix);
        if self.link.hung_up {
            Err(ClientGone)
        } else {
            Ok(Sent {
                is_cut: frame.is_cut,
                is_complete,
            })
        }
    }
}

impl ResponseWriter for Http1 {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        if let Some(call_slot) = &self.response.call_slot {
            match call_slot.commit() {
                // Started again after a response was forgotten: this thread has the right to answer already.
                Ok(None) => {}
                Ok(entry) => self.response.entry = entry,
                Err(Expired) => {
                    self.link.hung_up = true;
                    return;
                }
            }
        }
        self.response.closes |= !self.reader.begin_response();
        let context = Arc::clone(&self.context);
        let keep_alive = self.response.client_keeps_alive
            && !self.response.closes
            && context.keeps_connections()
            && !self.is_last_request();
        let version = if self.response.is_http10 {
            Version::Http10
        } else {
            Version::Http11
        };
        let hsts = if self.link.local.is_tls {
            context.hsts.as_deref()
        } else {
            None
        };
        let edited = self.response.edited(head);
        let head = edited.as_ref().unwrap_or(head);
        let request_id = self.response.request_id.as_ref().map(RequestId::as_bytes);
        let tail = self.link.out.tail();
        let from = tail.len();
        let body = with_date(|date| {
            let server = context.server_header.as_deref();
            let context = ResponseContext {
                version,
                is_head: self.response.is_head_request,
                keep_alive,
                omits_connection: self.response.omits_connection,
                date,
                server,
                hsts,
                request_id,
            };
            encode_head(tail, head, length, &context)
        });
        let added = tail.len() - from;
        self.link.out.record_appended(added);
        self.response.body = Some(body);
        self.response.status = head.status();
        if let Some(entry) = &mut self.response.entry {
            entry.status = head.status();
            entry.response.clone_from(head);
        }
    }

    fn allows_body(&self) -> bool {
        self.response
            .body
            .as_ref()
            .is_some_and(lockgate_http::ResponseBody::allows_body)
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.frame(bytes.len(), |connection, take| {
            connection.link.out.append(&bytes[..take])
        })
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.frame(bytes.bytes().len(), |connection, take| {
            connection.link.out.push_shared(bytes, take)
        })
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        let length = usize::try_from(length).map_err(|_| ClientGone)?;
        self.frame(length, |connection, take| {
            connection.link.out.push_file(file, offset, take as u64)
        })
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        if self.link.out.is_empty() {
            return if self.link.hung_up {
                Err(ClientGone)
            } else {
                Ok(())
            };
        }
        let is_watched = self.begin_corked();
        let context = Arc::clone(&self.context);
        let mut outcome = Ok(());
        (context.app).detached(DetachedWork::new(&mut || outcome = self.transmit()));
        if is_watched {
            let socket = self.link.transport.corked_socket();
            (context.cork).uncork_unless_watched(&socket, || context.pool.is_watched());
        }
        outcome
    }

    fn is_committed(&self) -> bool {
        self.response.is_committed
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        if let Some(ending) = self.release_call_slot() {
            self.close_after_deadline(ending);
            return Ok(());
        }
        let Some(body) = &mut self.response.body else {
            self.abort();
            return Ok(());
        };
        match body.finish() {
            Ok(last) => {
                self.response.closes |= !body.keep_alive();
                self.link.out.append(last);
                self.end_body_stream();
                self.end_corked();
                self.phase = Phase::Writing;
                self.return_finished();
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
        if let Some(ending) = self.release_call_slot() {
            return self.close_after_deadline(ending);
        }
        let is_truncated = self.reader.is_truncated();
        if self.reader.is_streaming() {
            self.end_body_stream();
            // A thread that still waits in a read would keep the socket open.
            if let Some(transport) = self.link.transport.share().upgrade() {
                transport.end_reads();
            }
        }
        // What was produced so far may still be useful, if only to show where it broke off: send what the socket takes,
        // then close without the end of message that the framing requires.
        let app = Arc::clone(&self.context.app);
        app.detached(DetachedWork::new(&mut || {
            let _ = self.flush_quietly();
            self.end_corked();
            let now = Instant::now();
            let (outcome, loss) = if self.link.hung_up || is_truncated {
                (Outcome::ClientGone, Loss::ClientGone)
            } else {
                (Outcome::Aborted, Loss::Aborted)
            };
            self.record(outcome, now);
            self.count_loss(loss);
        }));
        if self.response.is_committed
            && self
                .response
                .body
                .is_some_and(|body| body.ends_with_connection())
        {
            self.link.transport.reset_on_close();
        }
        self.close();
    }

    fn discard_response(&mut self) {
        self.link.out.truncate(self.response.begins_at);
        self.response.body = None;
    }

    fn answer(mut self: Box<Self>, answer: &Answer, now: Instant) {
        self.queue_answer(answer, now);
        self.return_to_event_loop();
    }

    fn respond(mut self: Box<Self>, response: Prepared, now: Instant) {
        if let Some(ending) = self.release_call_slot() {
            return self.close_after_deadline(ending);
        }
        self.queue_prepared(response, now);
        self.return_to_event_loop();
    }

    fn drop_request(mut self: Box<Self>, why: DropReason, now: Instant) {
        if let Some(ending) = self.release_call_slot() {
            return self.close_after_deadline(ending);
        }
        let Some(detail) = dropped::detail_of(why) else {
            self.lose(now);
            return self.close();
        };
        self.context.report_overload(why, now);
        self.context.report_refusal(&self.link.client, detail);
        self.answer(&dropped::answer_to(why, detail), now);
    }

    fn subscribe(self: Box<Self>, subscription: Box<Subscription>) {
        self.begin_subscription(subscription);
    }

    fn take_over(mut self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        if let Some(ending) = self.release_call_slot() {
            self.close_after_deadline(ending);
            return Err(NotTaken::Expired);
        }
        self.end_body_stream();
        if self.response.body.is_some() || self.reader.discards_input() {
            self.abort();
            return Err(NotTaken::Responded);
        }
        let (own, given) = match tunnel::socket_pair() {
            Ok(pair) => pair,
            Err(error) => {
                self.abort();
                return Err(NotTaken::NoDescriptor(error.raw_os_error().unwrap_or(0)));
            }
        };
        let Self {
            link,
            context,
            mut reader,
            mut response,
            ..
        } = *self;
        let entry = response.entry.take();
        let ready_at = response.ready_at.take();
        let response = TunnelResponse::new(entry, ready_at);
        let own = Arc::new(own);
        let tunnel = Tunnel::new(
            link,
            Arc::clone(&context),
            Arc::clone(&own),
            reader.take_unread(),
            response,
        );
        context.pool.begin_upgraded();
        context.adapt_switch_interval();
        let upgraded = Returned::Upgraded(Box::new(tunnel), own);
        context.inbox.push(upgraded, true);
        Ok(given)
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}

impl ClientProbe for Http1 {
    fn presence(&mut self, check: PresenceCheck) -> Presence {
        let call_slot = self.response.call_slot.as_ref();
        if call_slot.is_some_and(|call_slot| call_slot.is_expired()) {
            return Presence::Gone;
        }
        self.link.presence(check)
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.link.transport.descriptor())
    }
}

impl ExchangeControl for Http1 {
    fn watch_deadline(&mut self, call_slot: &Arc<CallSlot>) {
        let client_socket = ClientSocket {
            handle: Handle::Connection(self.link.transport.abort_handle()),
            is_head_request: self.response.is_head_request,
            is_output_empty: !self.link.has_output(),
            request_id: self.response.request_id.clone(),
        };
        call_slot.set_client_socket(client_socket, self.response.entry.take());
        self.reader.watch_deadline(call_slot);
        self.response.call_slot = Some(Arc::clone(call_slot));
    }

    fn hold(&mut self) -> Option<HeldConnection> {
        Some(self.link.slot.begin_hold())
    }

    fn record_queue_time(&mut self, queued: Duration) {
        if let Some(entry) = &mut self.response.entry {
            entry.queued = queued;
        } else if let Some(call_slot) = &self.response.call_slot {
            call_slot.record_queue_time(queued);
        }
    }

    fn record_environ(&mut self, values: Vec<(String, String)>) {
        if let Some(entry) = &mut self.response.entry {
            entry.environ = values;
        } else if let Some(call_slot) = &self.response.call_slot {
            call_slot.record_environ(values);
        }
    }

    fn record_user(&mut self, user: &str) {
        if let Some(entry) = &mut self.response.entry {
            entry.user = Some(user.into());
        }
    }

    fn skip_access_log(&mut self) {
        if let Some(entry) = &mut self.response.entry {
            entry.is_skipped = true;
        } else if let Some(call_slot) = &self.response.call_slot {
            call_slot.skip_access_log();
        }
    }
}
