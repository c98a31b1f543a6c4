//! One record of the broadcast log, decoded for the subscribers of this worker.

use std::sync::OnceLock;

use lockgate_http::websocket::{CloseCode, FrameWriter};
use lockgate_push::{ForStream, Message, WebSocketFormat};
use lockgate_shm::Cursor;

use super::stored_response::StoredResponse;

/// What has become of a message at one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It means nothing to the subscriber.
    Nothing,
    /// It is queued for the client.
    Written,
    /// Earlier messages are missing: the application is asked for them first.
    Postponed,
}

/// See the module documentation. What several subscribers get is encoded once.
#[derive(Debug)]
pub struct Publication {
    message: Message,
    starts_at: Cursor,
    ends_at: Cursor,
    event: OnceLock<Part>,
    plain: OnceLock<Part>,
    frame: OnceLock<Frame>,
}

/// What a message is in the body of a stream.
#[derive(Debug)]
pub enum Part {
    Nothing,
    Bytes(Vec<u8>),
    Close,
}

/// What a message is to a WebSocket.
#[derive(Debug)]
pub enum Frame {
    Nothing,
    Bytes(Vec<u8>),
    Close(Option<CloseCode>),
}

impl Publication {
    /// The message of a record between these places in the log.
    pub fn new(message: Message, starts_at: Cursor, ends_at: Cursor) -> Self {
        Self {
            message,
            starts_at,
            ends_at,
            event: OnceLock::new(),
            plain: OnceLock::new(),
            frame: OnceLock::new(),
        }
    }

    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The place of its record in the log.
    pub fn starts_at(&self) -> Cursor {
        self.starts_at
    }

    /// The place after its record.
    pub fn ends_at(&self) -> Cursor {
        self.ends_at
    }

    pub fn channel(&self) -> &str {
        &self.message.channel
    }

    /// What a response gets whose body is a stream.
    pub fn part(&self, is_event_stream: bool) -> &Part {
        let cell = match is_event_stream {
            true => &self.event,
            false => &self.plain,
        };
        cell.get_or_init(|| match self.message.to_stream(is_event_stream) {
            ForStream::Bytes(bytes) if bytes.is_empty() => Part::Nothing,
            ForStream::Bytes(bytes) => Part::Bytes(bytes.into_owned()),
            ForStream::Close => Part::Close,
            ForStream::Nothing => Part::Nothing,
        })
    }

    /// What a WebSocket gets.
    pub fn frame(&self) -> &Frame {
        self.frame.get_or_init(|| {
            let mut frame = Vec::new();
            let mut writer = FrameWriter(&mut frame);
            match self.message.to_websocket().as_deref() {
                None => return Frame::Nothing,
                Some(WebSocketFormat::Text(text)) => writer.text(text),
                Some(WebSocketFormat::Binary(bytes)) => writer.binary(bytes),
                Some(WebSocketFormat::Close(code)) => return Frame::Close(code.map(CloseCode)),
            }
            Frame::Bytes(frame)
        })
    }

    /// The response that the message is.
    pub fn response(&self) -> Option<Box<StoredResponse>> {
        let format = self.message.to_response()?;
        Some(Box::new(StoredResponse::of(&format)))
    }
}
