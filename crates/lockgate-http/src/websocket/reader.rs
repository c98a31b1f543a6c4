//! Reader of a client's frames: bytes in, messages out.

use crate::websocket::close_code::CloseCode;
use crate::websocket::frame::{FrameHead, Opcode, push_unmasked};
use crate::websocket::protocol_error::ProtocolError;
use crate::websocket::utf8::Utf8Check;

/// The longest head of a frame.
const MAX_HEAD: usize = 14;

/// What a message may be.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimits {
    /// The most bytes of a message.
    pub size: usize,
    /// The most frames of a message.
    pub fragments: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self {
            size: 1024 * 1024,
            fragments: 1024,
        }
    }
}

/// A complete message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// To be answered with a Pong of the same bytes.
    Ping(Vec<u8>),
    /// The answer to a Ping, or unsolicited.
    Pong(Vec<u8>),
    /// The client closes; without a code if the frame is empty.
    Close(Option<(CloseCode, String)>),
}

/// A position in the stream of frames. What follows a Close frame is dropped (RFC 6455 §5.5.1).
#[derive(Debug, Default)]
pub struct FrameReader {
    limits: MessageLimits,
    is_closed: bool,
    head: Vec<u8>,
    frame: Option<OpenFrame>,
    message: Option<OpenMessage>,
    control: Vec<u8>,
    error: Option<ProtocolError>,
}

/// The frame whose payload is read.
#[derive(Debug, Clone, Copy)]
struct OpenFrame {
    head: FrameHead,
    done: u64,
}

/// A message without its last frame.
#[derive(Debug)]
struct OpenMessage {
    is_text: bool,
    bytes: Vec<u8>,
    utf8: Utf8Check,
    fragments: usize,
}

impl FrameReader {
    /// A reader at the start of a connection.
    pub fn new(limits: MessageLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Whether no message or frame has begun that is not complete.
    pub fn is_between_messages(&self) -> bool {
        self.head.is_empty() && self.frame.is_none() && self.message.is_none()
    }

    /// Reads up to the end of the next message; returns how much of `input` was used. `None`: all was used. After an
    /// error every call returns the same error.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Message>), ProtocolError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.is_closed {
            return Ok((input.len(), None));
        }
        self.advance(input)
            .inspect_err(|&error| self.error = Some(error))
    }

    fn advance(&mut self, input: &[u8]) -> Result<(usize, Option<Message>), ProtocolError> {
        let mut at = 0;
        loop {
            let Some(mut frame) = self.frame else {
                let Some(used) = self.read_head(&input[at..])? else {
                    return Ok((input.len(), None));
                };
                at += used;
                continue;
            };
            let left = &input[at..];
            let wanted = frame.head.length - frame.done;
            let take = usize::try_from(wanted).map_or(left.len(), |wanted| wanted.min(left.len()));
            self.read_payload(frame, &left[..take])?;
            at += take;
            frame.done += take as u64;
            if frame.done < frame.head.length {
                self.frame = Some(frame);
                return Ok((at, None));
            }
            self.frame = None;
            if let Some(message) = self.end_frame(frame.head)? {
                return Ok((at, Some(message)));
            }
        }
    }

    /// How much of `input` belongs to the head of the next frame. `None`: all, and it is not complete.
    fn read_head(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let before = self.head.len();
        let take = input.len().min(MAX_HEAD - before);
        self.head.extend_from_slice(&input[..take]);
        let Some((head, length)) = FrameHead::read(&self.head)? else {
            return Ok(None);
        };
        self.head.clear();
        self.start_frame(head)?;
        self.frame = Some(OpenFrame { head, done: 0 });
        Ok(Some(length - before))
    }

    fn start_frame(&mut self, head: FrameHead) -> Result<(), ProtocolError> {
        if head.opcode.is_control() {
            return Ok(());
        }
        let is_continuation = head.opcode == Opcode::Continuation;
        match &self.message {
            None if is_continuation => return Err(ProtocolError::UnexpectedContinuation),
            Some(_) if !is_continuation => return Err(ProtocolError::InterruptedMessage),
            _ => {}
        }
        let message = self.message.get_or_insert_with(|| OpenMessage {
            is_text: head.opcode == Opcode::Text,
            bytes: Vec::new(),
            utf8: Utf8Check::default(),
            fragments: 0,
        });
        message.fragments += 1;
        if message.fragments > self.limits.fragments {
            return Err(ProtocolError::TooManyFragments);
        }
        let room = self.limits.size.saturating_sub(message.bytes.len());
        if head.length > room as u64 {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(())
    }

    fn read_payload(&mut self, frame: OpenFrame, part: &[u8]) -> Result<(), ProtocolError> {
        let OpenFrame { head, done } = frame;
        if head.opcode.is_control() {
            push_unmasked(&mut self.control, part, head.mask, done);
        } else if let Some(message) = &mut self.message {
            let start = message.bytes.len();
            push_unmasked(&mut message.bytes, part, head.mask, done);
            if message.is_text && !message.utf8.push(&message.bytes[start..]) {
                return Err(ProtocolError::Utf8);
            }
        }
        Ok(())
    }

    fn end_frame(&mut self, head: FrameHead) -> Result<Option<Message>, ProtocolError> {
        match head.opcode {
            Opcode::Ping => Ok(Some(Message::Ping(std::mem::take(&mut self.control)))),
            Opcode::Pong => Ok(Some(Message::Pong(std::mem::take(&mut self.control)))),
            Opcode::Close => {
                self.is_closed = true;
                read_close(&std::mem::take(&mut self.control))
                    .map(|close| Some(Message::Close(close)))
            }
            _ if head.is_final => self.message.take().map(OpenMessage::end).transpose(),
            _ => Ok(None),
        }
    }
}

impl OpenMessage {
    fn end(self) -> Result<Message, ProtocolError> {
        if !self.is_text {
            return Ok(Message::Binary(self.bytes));
        }
        // The check has passed each byte: what is left is a text that ends inside a character.
        String::from_utf8(self.bytes)
            .map(Message::Text)
            .map_err(|_| ProtocolError::Utf8)
    }
}

/// The code and the reason in the payload of a Close frame.
fn read_close(payload: &[u8]) -> Result<Option<(CloseCode, String)>, ProtocolError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(ProtocolError::TruncatedClose);
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(ProtocolError::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::Utf8)?;
    Ok(Some((code, reason.to_owned())))
}
