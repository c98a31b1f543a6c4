//! The application's response to a request; a [`ResponseWriter`], one kind per protocol, encodes it for the wire.
//!
//! Every method is called attached; one that may wait releases the GIL first.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use crate::deadlines::{CallSlot, Deadline};
use crate::hold::HeldConnection;
use crate::queue::{DropReason, HALF_CLOSED_FOR};

/// The client closed the connection, or stopped reading for longer than `write_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientGone;

impl std::fmt::Display for ClientGone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the client has gone")
    }
}

impl std::error::Error for ClientGone {}

/// What is known about a client that sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its connection is open.
    There,
    /// The client will send no more. It may still be reading, or it has closed its socket: TCP signals both in the same
    /// way until something is sent to it.
    HalfClosed,
    /// Its connection is dead.
    Gone,
}

/// Where to look for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At the events that the poller has reported.
    AtEvents,
    /// At the socket itself, where no thread has polled meanwhile.
    AtSocket,
}

/// The result of sending a piece of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The piece exceeded the announced Content-Length; the excess was dropped.
    pub is_cut: bool,
    /// The announced length is reached: nothing more can be sent.
    pub is_complete: bool,
}

/// Bytes with another owner (a Python `bytes`), sent without a copy and dropped on any thread.
pub trait SharedBytes: Send {
    /// The bytes; they neither move nor change while the owner lives.
    fn bytes(&self) -> &[u8];
}

/// One response in flight. HTTP/1 owns its whole connection through it; a multiplexed protocol owns one stream,
/// so that several may be open on several worker threads at once.
pub trait ResponseWriter: Send {
    /// Encodes the head and queues it; nothing needs to be sent yet.
    fn start(&mut self, head: &ResponseHead, length: BodyLength);
    /// Whether pieces reach the client at all (not for HEAD, 204, 205 and 304).
    fn allows_body(&self) -> bool;
    /// Queues a copy of `bytes`.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone>;
    /// Queues bytes without copying them.
    ///
    /// # Errors
    /// As [`ResponseWriter::send_copy`].
    fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone>;
    /// Queues a range of a file; the transport may let the kernel copy it.
    ///
    /// # Errors
    /// As [`ResponseWriter::send_copy`].
    fn send_file(&mut self, file: File, offset: u64, length: u64) -> Result<Sent, ClientGone>;
    /// Transmits all that is queued; waits for a client that reads too slowly.
    ///
    /// # Errors
    /// As [`ResponseWriter::send_copy`].
    fn flush(&mut self) -> Result<(), ClientGone>;
    /// Whether some of the response may have been sent.
    fn is_committed(&self) -> bool;
    /// Ends the response and gives the channel back.
    ///
    /// # Errors
    /// [`ShortBody`] when less than the announced length was sent: the connection is closed then.
    fn finish(self: Box<Self>) -> Result<(), ShortBody>;
    /// Closes the connection (resets the stream) so that the client does not take the response for complete.
    fn abort(self: Box<Self>);
    /// Ends a request that the application never saw: with a 503, or without a response when the client has gone.
    /// Called attached or not, also by the leader: neither waits nor touches the socket.
    fn drop_request(self: Box<Self>, why: DropReason, now: Instant);
    /// Forgets a queued, uncommitted response, so that another can be started.
    fn discard_response(&mut self);
    /// Whether the client still waits for the response, as far as can be known without sending anything.
    fn presence(&mut self, look: Look) -> Presence;
    /// From now on the call has a deadline, at which another thread may answer. Called before [`ResponseWriter::start`].
    /// A channel that ignores this is not ended at the deadline; its thread is interrupted all the same.
    fn watch_deadline(&mut self, _station: &Arc<CallSlot>) {}
    /// The connection's socket, for information about the peer that only the system has.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Keeps the connection's next request back until the value is dropped, in protocols where the requests of a
    /// connection are ordered. The response is sent all the same.
    fn hold(&mut self) -> Option<HeldConnection> {
        None
    }
    /// Values of the application's environ for the access log.
    fn record_environ(&mut self, values: Vec<(String, String)>);
}

/// While no output is produced for a client, its socket is checked this often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What these checks have shown.
#[derive(Debug, Clone, Copy, Default)]
struct QueueExpiry {
    looked_at: Option<Instant>,
    half_closed_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Building,
    Started,
    Over,
}

/// The response to one request. Kept by a worker thread and reused from request to request.
pub struct Reply {
    head: ResponseHead,
    channel: Option<Box<dyn ResponseWriter>>,
    state: State,
    deadline: Option<Deadline>,
    waiting: QueueExpiry,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            head: ResponseHead::default(),
            channel: None,
            state: State::Over,
            deadline: None,
            waiting: QueueExpiry::default(),
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
    pub(crate) fn open(&mut self, channel: Box<dyn ResponseWriter>, deadline: Option<Deadline>) {
        self.deadline = deadline;
        self.waiting = QueueExpiry::default();
        self.head.clear();
        self.channel = Some(channel);
        self.state = State::Building;
    }

    /// Status and headers, to be filled before [`Reply::start`].
    pub fn head(&mut self) -> &mut ResponseHead {
        &mut self.head
    }

    /// Encodes the head as it stands and queues it. Nothing is sent yet.
    pub fn start(&mut self, length: BodyLength) {
        if let (State::Building, Some(channel)) = (self.state, &mut self.channel) {
            channel.start(&self.head, length);
            self.state = State::Started;
        }
    }

    /// Whether the head is queued or sent.
    pub fn is_started(&self) -> bool {
        self.state == State::Started
    }

    /// The request's deadline, if it has one.
    pub fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }

    /// Whether the request's deadline has passed, so that no more of the application's output reaches the client.
    pub fn is_expired(&self) -> bool {
        self.deadline.as_ref().is_some_and(Deadline::is_expired)
    }

    /// Whether the response is finished or aborted.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether some of the response may have been sent, so that it cannot be replaced any more.
    pub fn is_committed(&self) -> bool {
        self.channel
            .as_ref()
            .is_none_or(|channel| channel.is_committed())
    }

    /// The connection's socket, for information that only the system has; `None` when the response is over.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().and_then(|channel| channel.socket())
    }

    /// Whether a body reaches the client; pieces are dropped otherwise (HEAD, 204, 205, 304).
    pub fn allows_body(&self) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.allows_body())
    }

    /// Queues a copy of `bytes`, for pieces whose copy costs less than a second buffer in `writev`.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_copy(&mut self, bytes: &[u8]) -> Result<Sent, ClientGone> {
        self.channel.as_mut().ok_or(ClientGone)?.send_copy(bytes)
    }

    /// Queues bytes without copying them.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_shared(&mut self, bytes: Box<dyn SharedBytes>) -> Result<Sent, ClientGone> {
        self.channel.as_mut().ok_or(ClientGone)?.send_shared(bytes)
    }

    /// Queues `length` bytes of `file` from `offset` on.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn send_file(&mut self, file: File, offset: u64, length: u64) -> Result<Sent, ClientGone> {
        self.channel
            .as_mut()
            .ok_or(ClientGone)?
            .send_file(file, offset, length)
    }

    /// Transmits what is queued; waits, without the GIL, only for a client that reads too slowly.
    ///
    /// # Errors
    /// [`ClientGone`] when the client cannot receive it any more.
    pub fn flush(&mut self) -> Result<(), ClientGone> {
        self.channel.as_mut().ok_or(ClientGone)?.flush()
    }

    /// Ends the response. The connection goes back to the event loop, which flushes it with the rest of its turn.
    ///
    /// # Errors
    /// [`ShortBody`] when less than the announced length was sent: the connection is closed, and the caller logs it.
    pub fn finish(&mut self) -> Result<(), ShortBody> {
        if self.state != State::Started {
            return Ok(());
        }
        self.state = State::Over;
        self.channel
            .take()
            .map_or(Ok(()), |channel| channel.finish())
    }

    /// Closes the connection with the response unfinished.
    pub fn abort(&mut self) {
        self.state = State::Over;
        if let Some(channel) = self.channel.take() {
            channel.abort();
        }
    }

    /// Responds with a plain error page, or aborts when some of another response has been sent already. The connection
    /// stays open: the request was read in full before the application was called, so its framing is not in doubt.
    pub fn fail(&mut self, status: u16, reason: &str) {
        self.answer_instead(status, reason, None);
    }

    /// As [`Reply::fail`], and closes the connection: for a fault of the server itself.
    pub fn fail_and_close(&mut self, status: u16, reason: &str) {
        self.answer_instead(status, reason, Some("close"));
    }

    fn answer_instead(&mut self, status: u16, reason: &str, connection: Option<&str>) {
        if self.is_committed() {
            return self.abort();
        }
        if let Some(channel) = &mut self.channel {
            channel.discard_response();
        }
        self.state = State::Building;
        self.head.clear();
        let text = format!("{status} {reason}\n");
        let is_valid = self.head.set_status(status, reason.as_bytes()).is_ok()
            && self
                .head
                .push(b"Content-Type", b"text/plain; charset=utf-8")
                .is_ok()
            && connection.is_none_or(|option| {
                let pushed = self.head.push(b"Connection", option.as_bytes());
                pushed.is_ok()
            });
        if !is_valid {
            return self.abort();
        }
        self.start(BodyLength::Known(text.len() as u64));
        if self.allows_body() && self.send_copy(text.as_bytes()).is_err() {
            return self.abort();
        }
        if self.finish().is_err() {
            self.abort();
        }
    }

    /// Forgets a head that was started but of which nothing has been sent (`start_response` with `exc_info`). Returns
    /// whether that was possible.
    pub fn restart(&mut self) -> bool {
        if self.is_committed() || self.state == State::Over {
            return false;
        }
        if let Some(channel) = &mut self.channel {
            channel.discard_response();
        }
        self.head.clear();
        self.state = State::Building;
        true
    }

    /// For an application that runs and produces no output: checks the socket from time to time, and ends the reply
    /// when the client has gone. A client that has only closed its sending side counts as gone, as in the queue
    /// (docs/decisions/0010), but only as long as nothing has been sent to it.
    ///
    /// # Errors
    /// [`ClientGone`] when the application need not continue.
    pub fn check_client(&mut self, now: Instant) -> Result<(), ClientGone> {
        let channel = self.channel.as_mut().ok_or(ClientGone)?;
        let since = |at: Instant| now.saturating_duration_since(at);
        let look = match self.waiting.looked_at {
            Some(at) if since(at) >= LOOK_EVERY => Look::AtSocket,
            _ => Look::AtEvents,
        };
        if look == Look::AtSocket || self.waiting.looked_at.is_none() {
            self.waiting.looked_at = Some(now);
        }
        match channel.presence(look) {
            Presence::There => {
                self.waiting.half_closed_since = None;
                Ok(())
            }
            Presence::HalfClosed if channel.is_committed() => Ok(()),
            Presence::HalfClosed => {
                if since(*self.waiting.half_closed_since.get_or_insert(now)) < HALF_CLOSED_FOR {
                    return Ok(());
                }
                self.drop_request(DropReason::HalfClosed, now);
                Err(ClientGone)
            }
            Presence::Gone => Err(ClientGone),
        }
    }

    fn drop_request(&mut self, why: DropReason, now: Instant) {
        self.state = State::Over;
        if let Some(channel) = self.channel.take() {
            channel.drop_request(why, now);
        }
    }

    /// Checks whether the client is still connected in both directions; does not wait, and costs a system call.
    pub fn has_client_left(&mut self) -> bool {
        self.channel
            .as_mut()
            .is_none_or(|channel| channel.presence(Look::AtSocket) != Presence::There)
    }

    /// For an application that continues after its response, in `close()`: the connection's next request is called only
    /// after the value is dropped. Must be called before [`Reply::finish`].
    #[must_use]
    pub fn hold(&mut self) -> Option<HeldConnection> {
        self.channel.as_mut().and_then(|channel| channel.hold())
    }

    /// Values for `%({name}e)s` in the access log.
    pub fn record_environ(&mut self, values: Vec<(String, String)>) {
        if let Some(channel) = &mut self.channel {
            channel.record_environ(values);
        }
    }
}
