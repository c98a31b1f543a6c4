//! The application's response to a request; a [`ResponseWriter`], one kind per protocol, encodes it for the wire.
//!
//! Every method is called attached; one that may wait releases the GIL first.

mod file;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, LocalResponse, ResponseHead, ShortBody};

use super::place::Place;
use super::writer::{
    ClientGone, DropReason, HALF_CLOSED_FOR, HeldConnection, NotTaken, Presence, PresenceCheck,
    ResponseWriter, Sent,
};
use crate::exchange::deadlines::Deadline;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::metrics::CallRecord;
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

pub use self::file::FileSent;

/// While no output is produced for a client, its socket is checked this often.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The checks of one client.
#[derive(Debug, Clone, Copy, Default)]
struct PresenceChecks {
    last_at: Option<Instant>,
    half_closed_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Building,
    Started,
    Over,
    /// The application has the connection.
    TakenOver,
}

/// The response to one request. Kept by a worker thread and reused from request to request.
#[derive(Default)]
pub struct Reply {
    /// Apart, because a reply is lent to the application and taken back by two swaps.
    call: Box<Call>,
}

/// What is in a [`Reply`].
struct Call {
    head: ResponseHead,
    writer: Option<Box<dyn ResponseWriter>>,
    state: State,
    deadline: Option<Deadline>,
    /// Of the call that runs, if calls are watched.
    call_slot: Option<Arc<CallSlot>>,
    record: CallRecord,
    /// In bulkheads.
    place: Option<Place>,
    checks: PresenceChecks,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            head: ResponseHead::default(),
            writer: None,
            state: State::Over,
            deadline: None,
            call_slot: None,
            record: CallRecord::default(),
            place: None,
            checks: PresenceChecks::default(),
        }
    }
}

/// A reply that is dropped half-way (a panic in the bridge) ends its connection and frees the connection's slot.
impl Drop for Reply {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Reply {
    pub(crate) fn open(
        &mut self,
        writer: Box<dyn ResponseWriter>,
        deadline: Option<Deadline>,
        call_slot: Option<Arc<CallSlot>>,
        record: CallRecord,
    ) {
        self.call.deadline = deadline;
        self.call.call_slot = call_slot;
        self.call.record = record;
        self.call.checks = PresenceChecks::default();
        self.call.head.clear();
        self.call.writer = Some(writer);
        self.call.state = State::Building;
    }

    /// The places in bulkheads that the call holds until it ends, or takes its connection over.
    pub(crate) fn set_place(&mut self, place: Option<Place>) {
        self.call.place = place;
    }

    /// Status and headers, to be filled before [`Reply::start`].
    pub fn head(&mut self) -> &mut ResponseHead {
        &mut self.call.head
    }

    /// Encodes the head as it stands and queues it. Nothing is sent yet.
    pub fn start(&mut self, length: BodyLength) {
        if let (State::Building, Some(writer)) = (self.call.state, &mut self.call.writer) {
            writer.start(&self.call.head, length);
            self.call.state = State::Started;
        }
    }

    /// Whether the head is queued or sent.
    pub fn is_started(&self) -> bool {
        self.call.state == State::Started
    }

    /// The request's deadline, if it has one.
    pub fn deadline(&self) -> Option<&Deadline> {
        self.call.deadline.as_ref()
    }

    /// Whether the request's deadline has passed, so that no more of the application's output reaches the client.
    pub fn is_expired(&self) -> bool {
        self.call
            .deadline
            .as_ref()
            .is_some_and(Deadline::is_expired)
    }

    /// Whether the response is finished or aborted.
    pub fn is_over(&self) -> bool {
        matches!(self.call.state, State::Over | State::TakenOver)
    }

    /// Whether some of the response may have been sent, so that it cannot be replaced any more.
    pub fn is_committed(&self) -> bool {
        self.call
            .writer
            .as_ref()
            .is_none_or(|writer| writer.is_committed())
    }

    /// The connection's socket, for information that only the system has; `None` when the response is over.
    pub fn socket(&mut self) -> Option<BorrowedFd<'_>> {
        self.call
            .writer
            .as_mut()
            .and_then(|writer| writer.client().socket())
    }

    /// Whether a body reaches the client; pieces are dropped otherwise (HEAD, 204, 205, 304).
    pub fn allows_body(&self) -> bool {
        self.call
            .writer
            .as_ref()
            .is_some_and(|writer| writer.allows_body())
    }

    /// Queues a copy of `bytes`, for pieces whose copy costs less than a second buffer in `writev`.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.call
            .writer
            .as_mut()
            .ok_or(ClientGone)?
            .send_copy(bytes)
    }

    /// Queues bytes without copying them.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.call
            .writer
            .as_mut()
            .ok_or(ClientGone)?
            .send_shared(bytes)
    }

    /// Queues `length` bytes of `file` from `offset` on.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone> {
        self.call
            .writer
            .as_mut()
            .ok_or(ClientGone)?
            .send_file(file, offset, length)
    }

    /// Transmits what is queued; waits, without the GIL, only for a client that reads too slowly.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn flush(&mut self) -> Result<(), ClientGone> {
        self.call.writer.as_mut().ok_or(ClientGone)?.flush()
    }

    /// Ends the response. The connection goes back to the event loop, which flushes it with the rest of its turn.
    ///
    /// # Errors
    /// [`ShortBody`] when less than the announced length was sent: the connection is closed, and the caller logs it.
    pub fn finish(&mut self) -> Result<(), ShortBody> {
        if self.call.state != State::Started {
            return Ok(());
        }
        self.call.state = State::Over;
        self.call
            .writer
            .take()
            .map_or(Ok(()), |writer| writer.finish())
    }

    /// Takes the connection over from HTTP: returns the application's end of it. From now on the call
    /// has no deadline, and what it returns is not sent.
    ///
    /// # Errors
    /// [`NotTaken`]; unless a response has begun, the connection is closed then.
    pub fn take_over(&mut self) -> Result<OwnedFd, NotTaken> {
        if self.call.state != State::Building {
            return Err(NotTaken::Responded);
        }
        self.call.state = State::Over;
        let writer = self.call.writer.take().ok_or(NotTaken::Responded)?;
        let socket = writer.take_over()?;
        self.call.state = State::TakenOver;
        // Its thread is counted apart from now on, and so is the call.
        self.call.place = None;
        if let Some(call_slot) = &self.call.call_slot {
            call_slot.unwatch();
        }
        self.call.record.upgrade();
        Ok(socket)
    }

    /// Where the call has recorded that it has taken the connection over.
    pub(crate) fn record(&self) -> CallRecord {
        self.call.record
    }

    /// Whether the application has taken the connection over.
    pub fn is_taken_over(&self) -> bool {
        self.call.state == State::TakenOver
    }

    /// Closes the connection with the response unfinished.
    pub fn abort(&mut self) {
        if self.call.state != State::TakenOver {
            self.call.state = State::Over;
        }
        if let Some(writer) = self.call.writer.take() {
            writer.abort();
        }
    }

    /// Responds with a plain error page, or aborts when some of another response has been sent already. The connection
    /// stays open: the request was read in full before the application was called, so its framing is not in doubt.
    pub fn fail(&mut self, status: u16) {
        self.answer_instead(&LocalResponse::text(status, ""));
    }

    /// As [`Reply::fail`], and closes the connection: for a fault of the server itself, or of the client.
    pub fn fail_and_close(&mut self, status: u16) {
        self.answer_instead(&LocalResponse::text(status, "").closing());
    }

    fn answer_instead(&mut self, response: &LocalResponse) {
        if self.is_committed() {
            return self.abort();
        }
        if let Some(writer) = &mut self.call.writer {
            writer.discard_response();
        }
        self.call.state = State::Building;
        response.write_head(&mut self.call.head);
        self.start(BodyLength::Known(response.body.len() as u64));
        if self.allows_body() && self.send_copy(&response.body).is_err() {
            return self.abort();
        }
        if self.finish().is_err() {
            self.abort();
        }
    }

    /// Discards a head that was started but of which nothing has been sent (`start_response` with `exc_info`). Returns
    /// whether that was possible.
    pub fn restart(&mut self) -> bool {
        if self.is_committed() || self.is_over() {
            return false;
        }
        if let Some(writer) = &mut self.call.writer {
            writer.discard_response();
        }
        self.call.head.clear();
        self.call.state = State::Building;
        true
    }

    /// For an application that runs and produces no output: checks the socket from time to time, and ends the reply
    /// when the client has gone. A client that has only closed its sending side counts as gone, as in the queue
    /// (docs/decisions/0010), but only as long as nothing has been sent to it.
    ///
    /// # Errors
    /// [`ClientGone`] when the application need not continue.
    pub fn check_client(&mut self, now: Instant) -> Result<(), ClientGone> {
        let writer = self.call.writer.as_mut().ok_or(ClientGone)?;
        let since = |at: Instant| now.saturating_duration_since(at);
        let check = match self.call.checks.last_at {
            Some(at) if since(at) >= CHECK_EVERY => PresenceCheck::Socket,
            _ => PresenceCheck::Events,
        };
        if check == PresenceCheck::Socket || self.call.checks.last_at.is_none() {
            self.call.checks.last_at = Some(now);
        }
        match writer.client().presence(check) {
            Presence::Connected => {
                self.call.checks.half_closed_since = None;
                Ok(())
            }
            Presence::HalfClosed if writer.is_committed() => Ok(()),
            Presence::HalfClosed => {
                if since(*self.call.checks.half_closed_since.get_or_insert(now)) < HALF_CLOSED_FOR {
                    return Ok(());
                }
                self.drop_request(DropReason::HalfClosed, now);
                Err(ClientGone)
            }
            Presence::Gone => Err(ClientGone),
        }
    }

    fn drop_request(&mut self, why: DropReason, now: Instant) {
        self.call.state = State::Over;
        if let Some(writer) = self.call.writer.take() {
            writer.drop_request(why, now);
        }
    }

    /// Checks whether the client is still connected in both directions; does not wait, and costs a system call.
    pub fn has_client_left(&mut self) -> bool {
        self.call.writer.as_mut().is_none_or(|writer| {
            writer.client().presence(PresenceCheck::Socket) != Presence::Connected
        })
    }

    /// For an application that continues after its response, in `close()`: the connection's next request is called only
    /// after the value is dropped. Must be called before [`Reply::finish`].
    #[must_use]
    pub fn hold(&mut self) -> Option<HeldConnection> {
        self.call
            .writer
            .as_mut()
            .and_then(|writer| writer.control().hold())
    }

    /// Values for `%({name}e)s` in the access log.
    pub fn record_environ(&mut self, values: Vec<(String, String)>) {
        if let Some(writer) = &mut self.call.writer {
            writer.control().record_environ(values);
        }
    }

    /// The application logs the request itself: the access log gets no line of it.
    pub fn skip_access_log(&mut self) {
        if let Some(writer) = &mut self.call.writer {
            writer.control().skip_access_log();
        }
    }
}
