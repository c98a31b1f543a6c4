//! The faults of a client that end a WebSocket connection (RFC 6455 §7.1.7), each with its close code.

use std::error::Error;
use std::fmt;

use crate::websocket::close_code::CloseCode;

/// What the client did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set, and no extension was agreed on (§5.2).
    ReservedBit,
    /// An opcode without a meaning (§5.2).
    Opcode,
    /// A frame of a client without a mask (§5.1).
    Unmasked,
    /// A length in more bytes than it needs, or of more than 63 bits (§5.2).
    Length,
    /// A control frame in fragments (§5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (§5.5).
    LongControl,
    /// A continuation without a message (§5.4).
    UnexpectedContinuation,
    /// A new message inside another (§5.4).
    InterruptedMessage,
    /// A text or the reason of a Close frame that is not UTF-8 (§8.1).
    Utf8,
    /// A Close frame with one byte (§5.5.1).
    TruncatedClose,
    /// A close code that may not be sent (§7.4).
    CloseCode,
    /// A message longer than its limit.
    MessageTooBig,
    /// More fragments in a message than the limit.
    TooManyFragments,
}

impl ProtocolError {
    /// The code of the Close frame that answers it.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_DATA,
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::TooManyFragments => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// What is wrong, for logs and for the reason of the Close frame.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved bit is set",
            Self::Opcode => "unknown opcode",
            Self::Unmasked => "frame is not masked",
            Self::Length => "invalid length",
            Self::FragmentedControl => "control frame is fragmented",
            Self::LongControl => "control frame is too long",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::InterruptedMessage => "message inside another message",
            Self::Utf8 => "text is not UTF-8",
            Self::TruncatedClose => "close frame is truncated",
            Self::CloseCode => "invalid close code",
            Self::MessageTooBig => "message is too big",
            Self::TooManyFragments => "message has too many fragments",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Error for ProtocolError {}
