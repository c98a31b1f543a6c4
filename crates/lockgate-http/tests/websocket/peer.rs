//! What tests and fuzz targets of WebSocket share: a client's frames, a player of bytes, and tungstenite as another
//! server that reads them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::{Read, Result, Write};

use lockgate_http::websocket::{CloseCode, FrameReader, Message, MessageLimits, ProtocolError};
use tungstenite::Message as TheirMessage;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

/// The messages of an input, and the fault that ended it.
pub type Outcome = (Vec<Message>, Option<ProtocolError>);

/// A client's frame with `first` as its first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_with_mask(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

pub fn frame_with_mask(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0xfe);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let keys = mask.iter().cycle();
    bytes.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
    bytes
}

/// Feeds `pieces` one after another.
pub fn play<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: MessageLimits) -> Outcome {
    let mut reader = FrameReader::new(limits);
    let mut messages = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let (used, message) = match reader.read(piece) {
                Ok(step) => step,
                Err(error) => {
                    assert_eq!(reader.read(b"\x81"), Err(error), "an error is final");
                    return (messages, Some(error));
                }
            };
            assert!(used > 0 && (message.is_some() || used == piece.len()));
            piece = &piece[used..];
            messages.extend(message.inspect(|message| check_limits(message, limits)));
        }
    }
    (messages, None)
}

fn check_limits(message: &Message, limits: MessageLimits) {
    match message {
        Message::Text(text) => assert!(text.len() <= limits.size),
        Message::Binary(bytes) => assert!(bytes.len() <= limits.size),
        Message::Ping(bytes) | Message::Pong(bytes) => assert!(bytes.len() <= 125),
        Message::Close(close) => {
            let close = close.as_ref();
            assert!(close.is_none_or(|(code, reason)| code.may_be_sent() && reason.len() <= 123));
        }
    }
}

/// Checks that tungstenite reads each accepted message alike, and that it accepts no more, except what only Lockgate
/// forbids.
pub fn check_with_tungstenite(bytes: &[u8], limits: MessageLimits) {
    let (mut messages, error) = play([bytes], limits);
    messages.iter_mut().for_each(as_tungstenite_reads);
    let theirs = play_tungstenite(bytes, Role::Server, limits.size);
    let common = theirs.len().min(messages.len());
    assert_eq!(messages[..common], theirs[..common]);
    assert_eq!(common, messages.len(), "tungstenite refuses a message");
    if !error.is_some_and(is_tolerated_by_tungstenite) {
        assert_eq!(common, theirs.len(), "tungstenite reads more: {error:?}");
    }
}

/// tungstenite has no limit of fragments, answers a reserved close code, and takes a length in more bytes than it needs,
/// also that of a control frame.
fn is_tolerated_by_tungstenite(error: ProtocolError) -> bool {
    use ProtocolError::{CloseCode, Length, LongControl, MessageTooBig, TooManyFragments};
    matches!(
        error,
        CloseCode | Length | LongControl | MessageTooBig | TooManyFragments
    )
}

/// The messages that tungstenite reads in this role.
pub fn play_tungstenite(bytes: &[u8], role: Role, size: usize) -> Vec<Message> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(size))
        // It bounds control frames, too.
        .max_frame_size(Some(size.max(125)))
        .read_buffer_size(512);
    let mut socket = WebSocket::from_raw_socket(ReadOnly(bytes), role, Some(config));
    let mut messages = Vec::new();
    while let Ok(message) = socket.read() {
        messages.push(match message {
            TheirMessage::Text(text) => Message::Text(text.to_string()),
            TheirMessage::Binary(bytes) => Message::Binary(bytes.to_vec()),
            TheirMessage::Ping(bytes) => Message::Ping(bytes.to_vec()),
            TheirMessage::Pong(bytes) => Message::Pong(bytes.to_vec()),
            TheirMessage::Close(close) => Message::Close(
                close.map(|close| (CloseCode(close.code.into()), close.reason.to_string())),
            ),
            TheirMessage::Frame(_) => unreachable!("only a writer has frames"),
        });
        if matches!(messages.last(), Some(Message::Close(_))) {
            break;
        }
    }
    messages
}

/// tungstenite takes the code 1014 (bad gateway), which IANA has registered, for a fault.
fn as_tungstenite_reads(message: &mut Message) {
    if let Message::Close(Some((code, reason))) = message
        && !TheirCode::from(code.0).is_allowed()
    {
        assert_eq!(code.0, 1014);
        *code = CloseCode::PROTOCOL_ERROR;
        *reason = "Protocol violation".to_owned();
    }
}

/// A transport that drops what is written.
struct ReadOnly<'a>(&'a [u8]);

impl Read for ReadOnly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
