//! What a connection reports to its caller.

use crate::error::Refusal;
use crate::http2::error_code::ErrorCode;
use crate::http2::frame::StreamId;
use crate::http2::priority::Priority;

/// The result of [`Connection::receive`](crate::http2::Connection::receive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'i> {
    /// There is no further frame in the input: more bytes are needed.
    NeedInput,
    /// A request; its head is in `head`.
    Request {
        /// Its stream.
        stream: StreamId,
        /// No body follows.
        is_last: bool,
        /// In which order its response is to be sent.
        priority: Priority,
    },
    /// The rules refuse a request. `head` has what was read before the fault, unless the request was reported before:
    /// then its body or its trailers are refused.
    ///
    /// Answer it on its stream, and reset that with NO_ERROR if the client has not ended it (RFC 9113 §8.1). The rest of
    /// the body is dropped.
    Refused {
        /// Its stream.
        stream: StreamId,
        /// Why.
        refusal: Refusal,
        /// The client has ended the stream.
        is_last: bool,
    },
    /// A malformed request (RFC 9113 §8.1.1), whose stream has been reset. It may have been reported before; then it is
    /// over, as after [`Event::Reset`].
    Malformed {
        /// Its stream.
        stream: StreamId,
        /// Why.
        refusal: Refusal,
    },
    /// A part of a body; empty at most where it is the last one.
    Data {
        /// Its stream.
        stream: StreamId,
        /// The part, without padding.
        bytes: &'i [u8],
        /// What counts against flow control: give it to
        /// [`release_capacity`](crate::http2::Connection::release_capacity) when the bytes have left memory.
        flow: u32,
        /// The body is complete.
        is_last: bool,
    },
    /// The end of a body by trailers, which are checked and dropped.
    Trailers {
        /// Its stream.
        stream: StreamId,
    },
    /// The client has reset a stream, or has made the server do so: its request is over.
    Reset {
        /// Its stream.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// More may be sent.
    WindowGrew {
        /// On which stream; `None`: on any.
        stream: Option<StreamId>,
    },
    /// The client has changed a priority.
    Priority {
        /// Its stream.
        stream: StreamId,
        /// The new one.
        priority: Priority,
    },
    /// The client has answered a PING of the server's.
    PingAck {
        /// The payload of the PING.
        payload: u64,
    },
    /// The client has sent GOAWAY: it is about to close the connection.
    PeerGoesAway {
        /// Why.
        code: ErrorCode,
    },
}
