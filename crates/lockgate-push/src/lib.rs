//! Publishing to held connections: messages, the instructions of the GRIP protocol, and the subscribers of channels.
//!
//! Bytes and values in, values out; the caller holds the connections, the clock and the broadcast log.
#![forbid(unsafe_code)]

mod channel_name;
pub use channel_name::ChannelError;

mod channels;
pub use channels::{Channels, Subscribers};

mod instruction;
pub use instruction::{
    HeldChannel, HoldMode, Instruction, InstructionError, InstructionLimits, KeepAlive,
    KeepAliveMode, NextLink, is_grip_field,
};

mod message;
pub use message::{
    Content, ForStream, Formats, Message, MessageError, ResponseFormat, StreamFormat,
    WebSocketFormat,
};

pub mod sse;
