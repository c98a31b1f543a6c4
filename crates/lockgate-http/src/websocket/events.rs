//! Events of WebSocket-over-HTTP: the content of `application/websocket-events`.
//!
//! Each is `TYPE CR LF`, or `TYPE SP LENGTH CR LF CONTENT CR LF` with the length in hexadecimal
//! (<https://pushpin.org/docs/protocols/websocket-over-http/>).

use std::error::Error;
use std::fmt;

use crate::rules::grammar::hexadecimal_digit;
use crate::websocket::close_code::CloseCode;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebSocketEvent {
    /// The connection opens, or is accepted.
    Open,
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A Ping.
    Ping(Vec<u8>),
    /// A Pong.
    Pong(Vec<u8>),
    /// A Close frame; without a code if it is empty.
    Close(Option<(CloseCode, String)>),
    /// The connection ended without a Close frame.
    Disconnect,
}

/// What a content may be.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    /// The most events.
    pub events: usize,
    /// The most bytes of one event's content.
    pub size: usize,
}

/// Why a content is not a list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEvents {
    /// The content ends inside an event.
    Truncated,
    /// A type that is unknown, or no line.
    Type,
    /// A length that is not hexadecimal.
    Length,
    /// CR and LF are missing after an event's content.
    LineEnd,
    /// A text or a reason that is not UTF-8.
    Utf8,
    /// A close code that is truncated.
    CloseCode,
    /// An event's content longer than its limit.
    TooBig,
    /// More events than the limit.
    TooMany,
}

impl fmt::Display for InvalidEvents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Truncated => "event is truncated",
            Self::Type => "unknown type of event",
            Self::Length => "invalid length of event",
            Self::LineEnd => "event does not end with CR LF",
            Self::Utf8 => "text of event is not UTF-8",
            Self::CloseCode => "close code of event is truncated",
            Self::TooBig => "event is too big",
            Self::TooMany => "too many events",
        })
    }
}

impl Error for InvalidEvents {}

/// The longest line of an event, with its end: a type, 16 digits, and some zeros before them.
const MAX_LINE: usize = 32;

/// Reads a whole content.
pub fn decode(content: &[u8], limits: EventLimits) -> Result<Vec<WebSocketEvent>, InvalidEvents> {
    let mut events = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        if events.len() == limits.events {
            return Err(InvalidEvents::TooMany);
        }
        let (event, after) = read_event(rest, limits.size)?;
        events.push(event);
        rest = after;
    }
    Ok(events)
}

fn read_event(input: &[u8], limit: usize) -> Result<(WebSocketEvent, &[u8]), InvalidEvents> {
    let start = &input[..input.len().min(MAX_LINE)];
    let end = match start.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => end,
        None if start.len() < MAX_LINE => return Err(InvalidEvents::Truncated),
        None => return Err(InvalidEvents::Type),
    };
    let (line, rest) = (&input[..end], &input[end + 2..]);
    let Some(space) = line.iter().position(|&byte| byte == b' ') else {
        return Ok((event_of(line, b"")?, rest));
    };
    let length = read_length(&line[space + 1..])?;
    if length > limit {
        return Err(InvalidEvents::TooBig);
    }
    let (content, rest) = rest
        .split_at_checked(length)
        .ok_or(InvalidEvents::Truncated)?;
    match rest.strip_prefix(b"\r\n") {
        Some(rest) => Ok((event_of(&line[..space], content)?, rest)),
        None if rest.len() < 2 => Err(InvalidEvents::Truncated),
        None => Err(InvalidEvents::LineEnd),
    }
}

fn read_length(digits: &[u8]) -> Result<usize, InvalidEvents> {
    if digits.is_empty() {
        return Err(InvalidEvents::Length);
    }
    digits.iter().try_fold(0_usize, |length, &byte| {
        let digit = hexadecimal_digit(byte).ok_or(InvalidEvents::Length)?;
        let shifted = length.checked_mul(16).ok_or(InvalidEvents::TooBig)?;
        Ok(shifted | usize::from(digit))
    })
}

fn event_of(name: &[u8], content: &[u8]) -> Result<WebSocketEvent, InvalidEvents> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| InvalidEvents::Utf8);
    Ok(match name {
        b"OPEN" => WebSocketEvent::Open,
        b"TEXT" => WebSocketEvent::Text(text(content)?),
        b"BINARY" => WebSocketEvent::Binary(content.to_vec()),
        b"PING" => WebSocketEvent::Ping(content.to_vec()),
        b"PONG" => WebSocketEvent::Pong(content.to_vec()),
        b"CLOSE" if content.is_empty() => WebSocketEvent::Close(None),
        b"CLOSE" => {
            let (code, reason) = content
                .split_first_chunk()
                .ok_or(InvalidEvents::CloseCode)?;
            let code = CloseCode(u16::from_be_bytes(*code));
            WebSocketEvent::Close(Some((code, text(reason)?)))
        }
        b"DISCONNECT" => WebSocketEvent::Disconnect,
        _ => return Err(InvalidEvents::Type),
    })
}

/// Appends an event to `out`.
pub fn encode(event: &WebSocketEvent, out: &mut Vec<u8>) {
    let close;
    let (name, content): (&str, Option<&[u8]>) = match event {
        WebSocketEvent::Open => ("OPEN", None),
        WebSocketEvent::Text(text) => ("TEXT", Some(text.as_bytes())),
        WebSocketEvent::Binary(bytes) => ("BINARY", Some(bytes)),
        WebSocketEvent::Ping(bytes) => ("PING", Some(bytes)),
        WebSocketEvent::Pong(bytes) => ("PONG", Some(bytes)),
        WebSocketEvent::Close(None) => ("CLOSE", None),
        WebSocketEvent::Close(Some((code, reason))) => {
            close = [&code.0.to_be_bytes()[..], reason.as_bytes()].concat();
            ("CLOSE", Some(&close))
        }
        WebSocketEvent::Disconnect => ("DISCONNECT", None),
    };
    out.extend_from_slice(name.as_bytes());
    if let Some(content) = content {
        out.extend_from_slice(format!(" {:x}\r\n", content.len()).as_bytes());
        out.extend_from_slice(content);
    }
    out.extend_from_slice(b"\r\n");
}
