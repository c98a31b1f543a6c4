//! The faults of a peer that end a connection (RFC 9113 §5.4.1), each with its error code.

use std::error::Error;
use std::fmt;

use crate::http2::error_code::ErrorCode;

/// What the peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The connection does not begin with the client's preface (RFC 9113 §3.4).
    Preface,
    /// The first frame is not SETTINGS (RFC 9113 §3.4).
    FirstFrame,
    /// A frame that is longer than SETTINGS_MAX_FRAME_SIZE, or whose length is not that of its kind (RFC 9113 §4.2).
    FrameSize,
    /// As much padding as the frame is long (RFC 9113 §6.1).
    Padding,
    /// A frame of a stream on stream 0 or the reverse, or a stream with an even number (RFC 9113 §5.1.1, §6).
    StreamId,
    /// A frame other than HEADERS and PRIORITY on a stream that was never opened (RFC 9113 §5.1).
    IdleStream,
    /// HEADERS on a stream whose number is below an earlier one (RFC 9113 §5.1.1).
    StreamOrder,
    /// HEADERS or DATA on a stream after its end (RFC 9113 §5.1).
    StreamClosed,
    /// Another frame between HEADERS and the end of its block (RFC 9113 §6.10).
    InterruptedHeaders,
    /// CONTINUATION without HEADERS before it (RFC 9113 §6.10).
    UnexpectedContinuation,
    /// PUSH_PROMISE: a client cannot push (RFC 9113 §8.4).
    PushPromise,
    /// A setting with a value that it may not have (RFC 9113 §6.5.2, RFC 9218 §2.1).
    Setting,
    /// A window beyond 2^31-1 (RFC 9113 §6.9.1, §6.9.2).
    WindowTooLarge,
    /// WINDOW_UPDATE of zero for the connection (RFC 9113 §6.9).
    ZeroWindowUpdate,
    /// More DATA than the window of the connection allows (RFC 9113 §6.9.1).
    WindowExceeded,
    /// A header block that cannot be decoded (RFC 9113 §4.3, RFC 7541).
    Compression,
    /// A stream that depends on itself (RFC 7540 §5.3.1).
    SelfDependency,
    /// PRIORITY_UPDATE for stream 0, or for more streams than may be open (RFC 9218 §7.1).
    PriorityUpdate,
    /// Too many requests that the client cancels (CVE-2023-44487), makes the server reset (CVE-2025-8671) or sends
    /// beyond SETTINGS_MAX_CONCURRENT_STREAMS.
    RapidReset,
    /// Too many frames that carry nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA and unknown ones
    /// (CVE-2019-9511 to 9518).
    ControlFlood,
    /// A header block of too many bytes or CONTINUATION frames (CVE-2024-27316 and others).
    HeaderBlock,
    /// The peer asks for answers (PING, SETTINGS) that it does not read (CVE-2019-9512, 9515).
    UnreadAnswers,
}

impl ConnectionError {
    /// The error code of the GOAWAY.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::FrameSize => ErrorCode::FRAME_SIZE_ERROR,
            Self::StreamClosed => ErrorCode::STREAM_CLOSED,
            Self::WindowTooLarge | Self::WindowExceeded => ErrorCode::FLOW_CONTROL_ERROR,
            Self::Compression => ErrorCode::COMPRESSION_ERROR,
            Self::RapidReset | Self::ControlFlood | Self::HeaderBlock | Self::UnreadAnswers => {
                ErrorCode::ENHANCE_YOUR_CALM
            }
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// Whether the peer caused too much work, which a well-behaved client never does.
    pub fn is_abuse(self) -> bool {
        self.code() == ErrorCode::ENHANCE_YOUR_CALM
    }

    /// A stable identifier.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preface => "preface",
            Self::FirstFrame => "first_frame",
            Self::FrameSize => "frame_size",
            Self::Padding => "padding",
            Self::StreamId => "stream_id",
            Self::IdleStream => "idle_stream",
            Self::StreamOrder => "stream_order",
            Self::StreamClosed => "stream_closed",
            Self::InterruptedHeaders => "interrupted_headers",
            Self::UnexpectedContinuation => "unexpected_continuation",
            Self::PushPromise => "push_promise",
            Self::Setting => "setting",
            Self::WindowTooLarge => "window_too_large",
            Self::ZeroWindowUpdate => "zero_window_update",
            Self::WindowExceeded => "window_exceeded",
            Self::Compression => "compression",
            Self::SelfDependency => "self_dependency",
            Self::PriorityUpdate => "priority_update",
            Self::RapidReset => "rapid_reset",
            Self::ControlFlood => "control_flood",
            Self::HeaderBlock => "header_block",
            Self::UnreadAnswers => "unread_answers",
        }
    }

    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Preface => "the client's preface is not valid",
            Self::FirstFrame => "the first frame is not SETTINGS",
            Self::FrameSize => "a frame has an invalid length",
            Self::Padding => "the padding is as long as its frame",
            Self::StreamId => "a frame is on a stream where its type is not allowed",
            Self::IdleStream => "a frame is on a stream that is not open",
            Self::StreamOrder => "a stream number is below an earlier one",
            Self::StreamClosed => "a frame on a stream that has ended",
            Self::InterruptedHeaders => "a header block is interrupted by another frame",
            Self::UnexpectedContinuation => "CONTINUATION without HEADERS",
            Self::PushPromise => "PUSH_PROMISE from a client",
            Self::Setting => "a setting has an invalid value",
            Self::WindowTooLarge => "a flow-control window exceeds 2^31-1",
            Self::ZeroWindowUpdate => "WINDOW_UPDATE of zero",
            Self::WindowExceeded => "more DATA than the flow-control window allows",
            Self::Compression => "a header block cannot be decoded",
            Self::SelfDependency => "a stream depends on itself",
            Self::PriorityUpdate => "PRIORITY_UPDATE is not valid",
            Self::RapidReset => "too many streams were reset or refused",
            Self::ControlFlood => "too many control frames",
            Self::HeaderBlock => "a header block is too long",
            Self::UnreadAnswers => "the client does not read the answers to its control frames",
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())
    }
}

impl Error for ConnectionError {}
