//! The writer of one response: how an exchange reaches the connection, or the stream, that its request came from.
//!
//! HTTP/1 owns its whole connection through the writer; a multiplexed protocol owns one stream, so that several may be
//! open on several threads at a time. A handler may wrap the writer, to compress or to keep what is written.
//!
//! Every method is called attached unless it says otherwise; one that may wait releases the GIL first.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_http::{BodyLength, ResponseHead, ShortBody};

use super::answer::Answer;
use super::prepared::Prepared;
use super::subscription::Subscription;
use crate::exchange::deadlines::call_slot::CallSlot;
use crate::transport::outbox::SharedBytes;
use lockgate_files::SharedFile;

/// A client that has closed its sending side counts as gone once its request has waited this long; see
/// docs/decisions/0010-a-client-that-closes-while-it-waits-has-gone.md.
pub const HALF_CLOSED_FOR: Duration = Duration::from_millis(100);

/// The client closed the connection, or stopped reading for longer than `write_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientGone;

impl std::fmt::Display for ClientGone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the client has gone")
    }
}

impl std::error::Error for ClientGone {}

/// Whether a client is still connected, as far as is known without sending anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its connection is open.
    Connected,
    /// The client will send no more. It may still be reading, or it has closed its socket: TCP signals both in the same
    /// way until something is sent to it.
    HalfClosed,
    /// Its connection is dead.
    Gone,
}

/// How to find out whether a client is still connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceCheck {
    /// From the events that the poller has reported.
    Events,
    /// From the socket, with a system call: no thread may have polled meanwhile.
    Socket,
}

/// Why a request is not passed on to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The client has gone: nothing can reach it.
    Gone,
    /// The client has closed its sending side and has most likely gone.
    HalfClosed,
    /// The request has waited longer than `queue_timeout` or `request_timeout`.
    TooLate,
    /// `queue_size` other requests are waiting.
    QueueFull,
}

/// The result of sending a piece of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The piece exceeded the announced Content-Length; the excess was dropped.
    pub is_cut: bool,
    /// The announced length is reached: nothing more can be sent.
    pub is_complete: bool,
}

/// Writes one response.
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
    fn send_file(
        &mut self,
        file: Arc<SharedFile>,
        offset: u64,
        length: u64,
    ) -> Result<Sent, ClientGone>;

    /// Transmits all that is queued; waits for a client that reads too slowly.
    ///
    /// # Errors
    /// As [`ResponseWriter::send_copy`].
    fn flush(&mut self) -> Result<(), ClientGone>;

    /// Whether some of the response may have been sent.
    fn is_committed(&self) -> bool;

    /// Forgets a queued, uncommitted response, so that another can be started.
    fn discard_response(&mut self);

    /// Ends the response and gives the connection back.
    ///
    /// # Errors
    /// [`ShortBody`] when less than the announced length was sent: the connection is closed then.
    fn finish(self: Box<Self>) -> Result<(), ShortBody>;

    /// Closes the connection (resets the stream) so that the client does not take the response for complete.
    fn abort(self: Box<Self>);

    /// Answers a request that was not passed to the application. Called attached or not, also by the leader: neither
    /// waits nor touches the socket.
    fn answer(self: Box<Self>, answer: &Answer, now: Instant);

    /// As [`ResponseWriter::answer`], with a body that is not copied.
    fn respond(self: Box<Self>, response: Prepared, now: Instant);

    /// Ends a request that was not passed to the application: with a 503, or without a response when the client has
    /// gone. Called as [`ResponseWriter::answer`].
    fn drop_request(self: Box<Self>, why: DropReason, now: Instant);

    /// Keeps the response open for the messages of a subscription: the application adds nothing to it. A response that
    /// has begun gets them as parts of its body; otherwise one of them is the response.
    fn subscribe(self: Box<Self>, _subscription: Box<Subscription>) {
        self.abort();
    }

    /// Takes the connection from HTTP: the socket that is returned is the application's end of it, and the application
    /// writes the head of the response itself. Does not wait.
    ///
    /// # Errors
    /// [`NotTaken`]; the connection is closed then.
    fn take_over(self: Box<Self>) -> Result<OwnedFd, NotTaken> {
        self.abort();
        Err(NotTaken::OtherProtocol)
    }

    /// Whether the client is still connected, and its socket.
    fn client(&mut self) -> &mut dyn ClientProbe;

    /// The deadline, the log record and the order of the exchange.
    fn control(&mut self) -> &mut dyn ExchangeControl;
}

/// Why an application cannot take a connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The response has begun, or the request is over.
    Responded,
    /// The request's deadline has passed.
    Expired,
    /// The request came over a protocol in which a connection has several requests.
    OtherProtocol,
    /// The process has no descriptor left; the number is the system's error.
    NoDescriptor(i32),
}

impl std::fmt::Display for NotTaken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Responded => formatter.write_str(
                "the connection cannot be taken over: its response has begun, or the request is over",
            ),
            Self::Expired => formatter
                .write_str("the connection cannot be taken over: the request's deadline has passed"),
            Self::OtherProtocol => {
                formatter.write_str("the connection cannot be taken over: it does not speak HTTP/1.1")
            }
            Self::NoDescriptor(code) => {
                let error = std::io::Error::from_raw_os_error(*code);
                write!(formatter, "the connection cannot be taken over: {error}")
            }
        }
    }
}

impl std::error::Error for NotTaken {}

/// Whether a client is still connected, without sending it anything.
pub trait ClientProbe {
    /// Whether the client still waits for the response.
    fn presence(&mut self, check: PresenceCheck) -> Presence;

    /// The connection's socket, for information about the peer that only the system has.
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// The deadline, the log record and the order of an exchange.
pub trait ExchangeControl {
    /// From now on the call has a deadline, at which another thread may answer. Called before
    /// [`ResponseWriter::start`]. A writer that ignores this is not ended at the deadline; its thread is interrupted
    /// all the same.
    fn watch_deadline(&mut self, _call_slot: &Arc<CallSlot>) {}

    /// Keeps the connection's next request back until the value is dropped, in protocols where the requests of a
    /// connection are ordered. The response is sent all the same.
    fn hold(&mut self) -> Option<HeldConnection> {
        None
    }

    /// Keeps the response in no content coding: others than the application add to its body. Called before
    /// [`ResponseWriter::start`].
    fn forbid_encoding(&mut self) {}

    /// How long the request has waited for a thread, for its span. Called before [`ResponseWriter::start`].
    fn record_queue_time(&mut self, _queued: Duration) {}

    /// Values of the application's environ for the access log.
    fn record_environ(&mut self, values: Vec<(String, String)>);

    /// The user for the access log, who was not known when the head was read.
    fn record_user(&mut self, _user: &str) {}

    /// The application logs the request itself: the access log has no line of it.
    fn skip_access_log(&mut self) {}
}

/// Ends a hold.
pub trait Held: Send + Sync {
    /// The application has finished with the request: the connection's next one may be called.
    fn release(&self);
}

/// A connection that is held as long as this value lives.
pub struct HeldConnection(Arc<dyn Held>);

impl HeldConnection {
    pub(crate) fn new(held: Arc<dyn Held>) -> Self {
        Self(held)
    }
}

impl Drop for HeldConnection {
    fn drop(&mut self) {
        self.0.release();
    }
}
