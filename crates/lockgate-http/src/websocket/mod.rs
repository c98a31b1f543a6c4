//! The WebSocket protocol (RFC 6455) as sans-I/O parts, the side of the server.
//!
//! [`Acceptance::of`] answers the handshake, a [`FrameReader`] makes messages of received bytes, a [`FrameWriter`]
//! appends frames, and [`Closing`] is the state of the closing handshake.

mod close_code;
mod closing;
mod frame;
mod handshake;
mod protocol_error;
mod reader;
mod utf8;
mod writer;

pub mod events;

pub use close_code::CloseCode;
pub use closing::{Closing, NextStep};
pub use handshake::{Acceptance, HandshakeRefusal};
pub use protocol_error::ProtocolError;
pub use reader::{FrameReader, Message, MessageLimits};
pub use writer::{FrameWriter, InvalidFrame};
