//! Writer of a server's frames: never masked, never in fragments.

use std::error::Error;
use std::fmt;

use crate::websocket::close_code::CloseCode;
use crate::websocket::frame::{MAX_CONTROL, Opcode, push_frame};

/// Appends frames to the output of a connection.
#[derive(Debug)]
pub struct FrameWriter<'o>(pub &'o mut Vec<u8>);

/// A control frame that may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidFrame {
    /// More than 125 bytes (RFC 6455 §5.5).
    LongControl,
    /// A close code that may not be sent (RFC 6455 §7.4).
    CloseCode,
}

impl fmt::Display for InvalidFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::LongControl => "control frame is too long",
            Self::CloseCode => "invalid close code",
        })
    }
}

impl Error for InvalidFrame {}

impl FrameWriter<'_> {
    /// Appends a text message.
    pub fn text(&mut self, text: &str) {
        push_frame(self.0, true, Opcode::Text, text.as_bytes());
    }

    /// Appends a binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        push_frame(self.0, true, Opcode::Binary, bytes);
    }

    /// Appends a Ping.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), InvalidFrame> {
        self.control(Opcode::Ping, payload)
    }

    /// Appends a Pong.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), InvalidFrame> {
        self.control(Opcode::Pong, payload)
    }

    /// Appends a Close frame, empty if there is no code.
    pub fn close(&mut self, close: Option<(CloseCode, &str)>) -> Result<(), InvalidFrame> {
        let Some((code, reason)) = close else {
            return self.control(Opcode::Close, b"");
        };
        if !code.may_be_sent() {
            return Err(InvalidFrame::CloseCode);
        }
        let payload = [&code.0.to_be_bytes()[..], reason.as_bytes()].concat();
        self.control(Opcode::Close, &payload)
    }

    fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), InvalidFrame> {
        if payload.len() > MAX_CONTROL {
            return Err(InvalidFrame::LongControl);
        }
        push_frame(self.0, true, opcode, payload);
        Ok(())
    }
}
