//! The writer of one stream's response.
//!
//! Head and body are collected here until the response is complete or is flushed, so that most responses take the lock
//! of their connection once.

mod answer;
mod probe;
mod subscribe;

use std::cell::{OnceCell, RefCell};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use lockgate_http::http2::{ErrorCode, StreamId};
use lockgate_http::{BodyLength, ResponseBody, ResponseHead, ShortBody};
use lockgate_observe::{Loss, Outcome};

use super::body_source::BodyReceiver;
use super::outgoing::{Piece, QUEUED_AT_MOST};
use super::record::{Ended, count_loss, log};
use super::shared::Shared;
use super::state::{State, encode_head};
use super::unsent::UnsentResponse;
use crate::detached_work::DetachedWork;
use crate::exchange::admitted::Admitted;
use crate::exchange::answer::Answer;
use crate::exchange::body::stream::SharedBody;
use crate::exchange::deadlines::call_slot::{CallSlot, Expired};
use crate::exchange::dropped;
use crate::exchange::prepared::Prepared;
use crate::exchange::request_id::RequestId;
use crate::exchange::response_rules::ResponseRules;
use crate::exchange::subscription::Subscription;
use crate::exchange::writer::{
    ClientGone, ClientProbe, DropReason, ExchangeControl, ResponseWriter, Sent,
};
use crate::log::access_log::Entry;
use crate::transport::SharedTransport;
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// Smaller pieces are copied: two more slices in a `sendmsg` cost as much.
const SMALLEST_SHARED: usize = 16 << 10;

/// A buffer of this size is kept for the next response of the thread.
const BUFFER_TO_KEEP: usize = 64 << 10;

thread_local! {
    /// A thread makes one response at a time.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// See the module documentation.
pub(super) struct StreamWriter {
    shared: Arc<Shared>,
    stream: StreamId,
    unsent: UnsentResponse,
    /// The body in progress.
    body: Option<ResponseBody>,
    /// Some of the response may have been sent.
    is_committed: bool,
    is_gone: bool,
    is_head_request: bool,
    /// The request counts as running until `close()` has returned.
    is_held: bool,
    /// Its line of the access log.
    entry: Option<Box<Entry>>,
    status: u16,
    /// When the request was complete, by the clock of the scoreboard.
    ready_at: Option<u64>,
    /// Watches the request's deadline, while there is one.
    call_slot: Option<Arc<CallSlot>>,
    /// The application reads the body of the request while the client sends it.
    request_body: Option<Arc<SharedBody<BodyReceiver>>>,
    /// What changes its head, and the texts of the server.
    rules: Option<Arc<ResponseRules>>,
    /// The id of its request, if requests have one.
    request_id: Option<RequestId>,
    socket: OnceCell<Arc<dyn SharedTransport>>,
}

impl StreamWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: StreamId,
        is_head_request: bool,
        entry: Option<Box<Entry>>,
        ready_at: u64,
    ) -> Self {
        Self {
            shared,
            stream,
            unsent: UnsentResponse::default(),
            body: None,
            is_committed: false,
            is_gone: false,
            is_head_request,
            is_held: false,
            entry,
            status: 0,
            ready_at: Some(ready_at),
            call_slot: None,
            request_body: None,
            rules: None,
            request_id: None,
            socket: OnceCell::new(),
        }
    }

    /// The application reads the request's body through this.
    pub(super) fn set_request_body(&mut self, body: Arc<SharedBody<BodyReceiver>>) {
        self.request_body = Some(body);
    }

    /// What was decided about the response from the head of the request.
    pub(super) fn set_admitted(&mut self, admitted: &mut Admitted) {
        self.rules = admitted.response_rules.take();
        self.request_id.clone_from(&admitted.request_id);
    }

    /// Counts a piece against the announced length.
    #[inline]
    fn take(
        &mut self,
        length: usize,
        put: impl FnOnce(&mut UnsentResponse, usize),
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
        if self.is_gone {
            return Err(ClientGone);
        }
        if frame.take > 0 {
            put(&mut self.unsent, frame.take);
        }
        Ok(Sent {
            is_cut: frame.is_cut,
            is_complete,
        })
    }

    /// The log record of a response that is complete, if it is logged or counted.
    #[inline]
    fn ended(&mut self) -> Option<Ended> {
        let is_recorded = self.entry.is_some() || self.shared.context.metrics.counted().is_some();
        is_recorded.then(|| Ended {
            entry: self.entry.take(),
            status: self.status,
            ready_at: self.ready_at.take(),
            body_bytes: self.body.as_ref().map_or(0, ResponseBody::sent),
            is_counted: false,
        })
    }

    /// The request is about to leave the application. Whether the client was answered or cut off at its deadline.
    #[inline]
    fn release_call_slot(&mut self) -> bool {
        let Some(call_slot) = self.call_slot.take() else {
            return false;
        };
        let (entry, ending) = call_slot.release(self.is_held);
        if entry.is_some() {
            self.entry = entry;
        }
        ending.is_some()
    }

    /// The application reads no more of the request's body.
    #[inline]
    fn end_request_body(&mut self, state: &mut State) {
        if let Some(body) = self.request_body.take() {
            state.remove_incoming(self.stream);
            // A thread that reads has the body's lock, and may wait for the state's.
            drop(body);
        }
        state.end_request_body(self.stream);
    }

    /// The writer is done with its stream.
    fn leave<'s>(
        &self,
        shared: &'s Shared,
        mut state: MutexGuard<'s, State>,
    ) -> Option<MutexGuard<'s, State>> {
        if !state.abandoned.is_empty()
            && let Some(index) = state.abandoned.iter().position(|one| *one == self.stream)
        {
            state.abandoned.swap_remove(index);
            state.connection.abandoned_request_ended();
        }
        match self.is_held {
            true => (!state.is_closed).then_some(state),
            false => shared.end_running(state),
        }
    }

    /// Records that the client does not get the response.
    #[cold]
    fn record_lost(&mut self, outcome: Outcome, loss: Loss) {
        let context = &self.shared.context;
        count_loss(self.ready_at.take(), loss, context);
        if outcome == Outcome::ClientGone
            && !self.is_committed
            && let Some(entry) = &mut self.entry
        {
            entry.status = 499;
        }
        let unsent = self.unsent.body_bytes() + self.shared.lock().take_unsent(self.stream);
        let body_bytes = self.body.as_ref().map_or(0, ResponseBody::sent);
        log(
            self.entry.take(),
            body_bytes.saturating_sub(unsent),
            outcome,
            &self.shared.peer,
            context,
            Instant::now(),
        );
    }

    /// Keeps the buffer for the next response of this thread.
    fn keep_buffer(&mut self) {
        let buffer = std::mem::take(&mut self.unsent.buffer);
        if buffer.capacity() > 0 && buffer.capacity() <= BUFFER_TO_KEEP {
            BUFFER.set(buffer);
        }
    }

    /// Ends a stream that was ended by its client or at its deadline.
    #[cold]
    fn end_without_response(mut self, outcome: Outcome, loss: Option<Loss>) {
        let shared = Arc::clone(&self.shared);
        match loss {
            Some(loss) => self.record_lost(outcome, loss),
            // Counted at the deadline.
            None => {
                self.ready_at = None;
                log(
                    self.entry.take(),
                    0,
                    outcome,
                    &self.shared.peer,
                    &shared.context,
                    Instant::now(),
                );
            }
        }
        let mut state = shared.lock();
        state.take_unsent(self.stream);
        self.end_request_body(&mut state);
        if let Some(state) = self.leave(&shared, state)
            && (!state.output.is_empty() || state.has_become_idle())
        {
            shared.send_from_outside(state);
        }
        self.keep_buffer();
    }

    /// Waits until little is queued.
    fn wait_for_room(&mut self) -> Result<(), ClientGone> {
        let shared = Arc::clone(&self.shared);
        let stream = self.stream;
        let mut outcome = Ok(());
        shared.context.app.detached(DetachedWork::new(&mut || {
            // The deadline of the client is kept by the event loop: it resets the stream.
            let is_there = shared.wait(Duration::MAX / 4, |state| {
                if !state.is_open(stream) {
                    return Some(false);
                }
                (state.queued(stream) <= QUEUED_AT_MOST).then_some(true)
            });
            if is_there != Some(true) {
                outcome = Err(ClientGone);
            }
        }));
        self.is_gone |= outcome.is_err();
        outcome
    }
}

impl ResponseWriter for StreamWriter {
    fn start(&mut self, head: &ResponseHead, length: BodyLength) {
        if let Some(call_slot) = &self.call_slot {
            match call_slot.commit() {
                // Started again after a response was forgotten: this thread has the right to answer already.
                Ok(None) => {}
                Ok(entry) => self.entry = entry,
                Err(Expired) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
        if let Some(body) = &self.request_body {
            body.with(BodyReceiver::on_response);
        }
        let edited = self.rules.as_deref().and_then(|rules| rules.edited(head));
        let head = edited.as_ref().unwrap_or(head);
        let request_id = self.request_id.as_ref().map(RequestId::as_bytes);
        let UnsentResponse {
            buffer,
            head_length,
            has_head,
            ..
        } = &mut self.unsent;
        if buffer.capacity() == 0 {
            *buffer = BUFFER.take();
        }
        buffer.clear();
        let context = &self.shared.context;
        self.body = Some(encode_head(
            buffer,
            head,
            length,
            self.is_head_request,
            self.shared.is_https,
            request_id,
            context,
        ));
        *head_length = buffer.len();
        *has_head = true;
        self.status = head.status();
        if let Some(entry) = &mut self.entry {
            entry.status = head.status();
            entry.response.clone_from(head);
        }
    }

    fn allows_body(&self) -> bool {
        self.body.as_ref().is_some_and(ResponseBody::allows_body)
    }

    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.take(bytes.len(), |unsent, count| {
            unsent.push_copy(&bytes[..count])
        })
    }

    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        let length = bytes.bytes().len();
        self.take(length, |unsent, count| {
            // A body longer than its Content-Length, cut: rare enough for a copy.
            if count < SMALLEST_SHARED || count < length {
                unsent.push_copy(&bytes.bytes()[..count]);
            } else {
                unsent.pieces.push(Piece::Shared(Arc::from(bytes)));
            }
        })
    }

    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        let length = usize::try_from(length).map_err(|_| ClientGone)?;
        self.take(length, |unsent, count| {
            unsent.pieces.push(Piece::File {
                file,
                offset,
                length: count as u64,
            });
        })
    }

    fn flush(&mut self) -> Result<(), ClientGone> {
        if self.is_gone {
            return Err(ClientGone);
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if !self.unsent.pass_on(self.stream, false, None, &mut state) {
            self.is_gone = true;
            return Err(ClientGone);
        }
        self.is_committed = true;
        let must_wait = state.queued(self.stream) > QUEUED_AT_MOST;
        shared.send_soon(state);
        shared.context.pool.record_progress();
        if must_wait {
            return self.wait_for_room();
        }
        Ok(())
    }

    fn is_committed(&self) -> bool {
        self.is_committed
    }

    fn discard_response(&mut self) {
        self.unsent.buffer.clear();
        self.unsent.head_length = 0;
        self.unsent.has_head = false;
        self.unsent.pieces.clear();
        self.body = None;
    }

    fn finish(mut self: Box<Self>) -> Result<(), ShortBody> {
        if self.release_call_slot() {
            self.end_without_response(Outcome::Expired, None);
            return Ok(());
        }
        let Some(body) = &mut self.body else {
            self.abort();
            return Ok(());
        };
        if let Err(short) = body.finish() {
            // The client must not take what it has for the whole response.
            self.abort();
            return Err(short);
        }
        let ended = self.ended();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if self.is_gone || !state.is_open(self.stream) {
            drop(state);
            if let Some(ended) = ended {
                (self.entry, self.ready_at) = (ended.entry, ended.ready_at);
            }
            self.end_without_response(Outcome::ClientGone, Some(Loss::ClientGone));
            return Ok(());
        }
        self.unsent.pass_on(self.stream, true, ended, &mut state);
        self.end_request_body(&mut state);
        if let Some(state) = self.leave(&shared, state) {
            shared.send_soon(state);
        }
        self.keep_buffer();
        Ok(())
    }

    fn abort(mut self: Box<Self>) {
        if self.release_call_slot() {
            return self.end_without_response(Outcome::Expired, None);
        }
        let is_truncated = (self.request_body.as_ref())
            .is_some_and(|body| body.with(|receiver| receiver.is_truncated()) == Some(true));
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let is_open = state.is_open(self.stream);
        if is_open {
            // What was produced so far may still be useful, if only to show where it broke off.
            self.unsent.pass_on(self.stream, false, None, &mut state);
            state.reset(self.stream, ErrorCode::INTERNAL_ERROR);
        }
        self.end_request_body(&mut state);
        if let Some(state) = self.leave(&shared, state) {
            shared.send_soon(state);
        }
        if !is_open || self.is_gone || is_truncated {
            self.record_lost(Outcome::ClientGone, Loss::ClientGone);
        } else {
            self.record_lost(Outcome::Aborted, Loss::Aborted);
        }
        self.keep_buffer();
    }

    fn answer(self: Box<Self>, answer: &Answer, now: Instant) {
        self.answer_locally(answer, now);
    }

    fn respond(self: Box<Self>, response: Prepared, _now: Instant) {
        self.respond_locally(response);
    }

    fn drop_request(mut self: Box<Self>, why: DropReason, now: Instant) {
        if self.release_call_slot() {
            return self.end_without_response(Outcome::Expired, None);
        }
        let Some(detail) = dropped::detail_of(why) else {
            return self.end_without_response(Outcome::ClientGone, Some(Loss::ClientGone));
        };
        self.shared.context.report_overload(why, now);
        self.shared
            .context
            .report_refusal(&self.shared.peer, detail);
        self.answer_locally(&dropped::answer_to(why, detail), now);
    }

    fn subscribe(self: Box<Self>, subscription: Box<Subscription>) {
        self.begin_subscription(subscription);
    }

    fn client(&mut self) -> &mut dyn ClientProbe {
        self
    }

    fn control(&mut self) -> &mut dyn ExchangeControl {
        self
    }
}
