//! Publishing to held connections: messages, the instructions of the GRIP protocol, and the subscribers of channels.
//!
//! Bytes and values in, values out; the caller holds the connections, the clock and the broadcast log.
#![forbid(unsafe_code)]

mod channel_name;
pub use channel_name::ChannelError;

mod channels;
pub use channels::{Channels, Subscribers};

mod filters;
pub use filters::{ContentFilter, Filters, build_id};

mod instruction;
pub use instruction::{
    HeldChannel, HoldMode, Instruction, InstructionError, InstructionLimits, KeepAlive,
    KeepAliveMode, NextLink, builds_ids, is_grip_field,
};

mod items;
pub use items::{ItemError, ItemLimits, parse_items};

mod json;

mod message;
pub use message::{
    Content, ForStream, Formats, Message, MessageError, ResponseFormat, StreamFormat,
    WebSocketFormat,
};

mod parameters;

mod sequence;
pub use sequence::{Sequence, Step};

pub mod signature;

pub mod sse;

pub mod websocket_control;
