//! What an application answers to a request with events.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use lockgate_http::websocket::events::{EventLimits, InvalidEvents, WebSocketEvent, decode};
use lockgate_http::websocket::{CloseCode, InvalidFrame};
use lockgate_http::{RequestHead, ResponseHead};
use lockgate_push::websocket_control::ControlError;

use crate::exchange::stored_response::{StoredResponse, is_media_type};

/// The media type of requests and responses.
pub const MEDIA_TYPE: &str = "application/websocket-events";

/// Events of one response.
const MOST_EVENTS: usize = 1024;

/// The longest interval, a year: the sum with any moment is representable.
const MOST_SECONDS: u64 = 365 * 24 * 60 * 60;

/// Why the application's answer ends the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadAnswer {
    /// The call has failed without a response, or its response is longer than a response may be.
    Missing,
    Status(u16),
    MediaType,
    Events(InvalidEvents),
    Control(ControlError),
    /// It subscribes to more channels than it may.
    Channels {
        limit: usize,
    },
    Frame(InvalidFrame),
    KeepAliveInterval,
    Meta {
        limit: usize,
    },
}

impl BadAnswer {
    /// The code that the client gets.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Status(503) => CloseCode::TRY_AGAIN_LATER,
            _ => CloseCode::INTERNAL_ERROR,
        }
    }
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application's answer ")?;
        match self {
            Self::Missing => f.write_str("is missing, or too long (setting: push_message_limit)"),
            Self::Status(status) => write!(f, "has the status {status} and not 200"),
            Self::MediaType => write!(f, "has a Content-Type other than {MEDIA_TYPE}"),
            Self::Events(problem) => write!(f, "is not valid: {problem}"),
            Self::Control(problem) => write!(f, "has an invalid control message: {problem}"),
            Self::Channels { limit } => write!(
                f,
                "subscribes to more than {limit} channels (setting: push_channels)"
            ),
            Self::Frame(problem) => write!(f, "is not valid: {problem}"),
            Self::KeepAliveInterval => {
                f.write_str("has a Keep-Alive-Interval that is no number of seconds")
            }
            Self::Meta { limit } => write!(f, "has more than {limit} bytes in Set-Meta fields"),
        }
    }
}

impl Error for BadAnswer {}

impl From<ControlError> for BadAnswer {
    fn from(problem: ControlError) -> Self {
        Self::Control(problem)
    }
}

impl From<InvalidFrame> for BadAnswer {
    fn from(problem: InvalidFrame) -> Self {
        Self::Frame(problem)
    }
}

/// The events of an answer; `size` is that of the largest. An answer without a body has none.
///
/// # Errors
/// [`BadAnswer`].
pub fn read(
    response: Option<&StoredResponse>,
    size: usize,
) -> Result<(&ResponseHead, Vec<WebSocketEvent>), BadAnswer> {
    let StoredResponse { head, body } = response.ok_or(BadAnswer::Missing)?;
    match head.status() {
        200 => {}
        204 => return Ok((head, Vec::new())),
        status => return Err(BadAnswer::Status(status)),
    }
    if body.is_empty() {
        return Ok((head, Vec::new()));
    }
    if !has_events(head) {
        return Err(BadAnswer::MediaType);
    }
    let limits = EventLimits {
        events: MOST_EVENTS,
        size,
    };
    let events = decode(body, limits).map_err(BadAnswer::Events)?;
    Ok((head, events))
}

/// Whether the server itself holds the WebSockets of this request's path (`websocket_over_http`).
pub fn is_held_websocket(head: &RequestHead, prefixes: &[String]) -> bool {
    (prefixes.iter()).any(|prefix| head.path().starts_with(prefix.as_bytes()))
}

/// Whether a response says that its body has events.
pub fn has_events(head: &ResponseHead) -> bool {
    is_media_type(head.header("content-type"), MEDIA_TYPE.as_bytes())
}

/// How often the application wants a request, if the response says so; `Some(None)`: not at all.
///
/// # Errors
/// The field is no number of seconds.
pub fn interval_of(head: &ResponseHead) -> Result<Option<Option<Duration>>, BadAnswer> {
    let Some(value) = head.header("keep-alive-interval") else {
        return Ok(None);
    };
    let seconds = str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    match seconds {
        Some(0) => Ok(Some(None)),
        Some(seconds) if seconds <= MOST_SECONDS => Ok(Some(Some(Duration::from_secs(seconds)))),
        _ => Err(BadAnswer::KeepAliveInterval),
    }
}
