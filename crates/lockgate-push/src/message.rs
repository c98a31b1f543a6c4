//! A published message: its channel, its content, and what each kind of subscriber gets of it.

mod codec;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::channel_name::{self, ChannelError};
use crate::sse;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The channel that it is published to.
    pub channel: String,
    /// Its own id, which an event stream sends as the id of the event.
    pub id: Option<String>,
    /// The id of the message before it in its channel.
    pub prev_id: Option<String>,
    /// The name of the event in an event stream.
    pub event: Option<String>,
    /// What subscribers get for which `formats` has nothing.
    pub content: Option<Content>,
    /// What the subscribers of one kind get.
    pub formats: Formats,
    /// The user that sent it; subscriptions with the filter `skip-self` of the same user do not get it.
    pub sender: Option<String>,
    /// Users, separated by commas, that do not get it with the filter `skip-users`.
    pub skip_users: Option<String>,
    /// The channel that subscribers need to get it with the filter `require-sub`.
    pub require_sub: Option<String>,
    /// The content for streams has `%I` for the id of the event (`build-id` in GRIP's `content-filters`).
    pub builds_id: bool,
    /// The id under which the relay has got it from another server; `None` if it was published on this one.
    pub relayed: Option<String>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Content {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// What a message has for each kind of subscriber, complete and as it is sent (the formats of GRIP).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formats {
    /// For held streams.
    pub http_stream: Option<StreamFormat>,
    /// For held responses.
    pub http_response: Option<ResponseFormat>,
    /// For WebSockets.
    pub ws_message: Option<WebSocketFormat>,
}

/// What a held stream gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFormat {
    /// These bytes.
    Content(Vec<u8>),
    /// The end of the response.
    Close,
}

/// The response that a held response gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseFormat {
    /// The status code.
    pub code: u16,
    /// The reason phrase; empty: that of the status code.
    pub reason: String,
    /// Names and values of the header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Default for ResponseFormat {
    fn default() -> Self {
        Self {
            code: 200,
            reason: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// What a WebSocket gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebSocketFormat {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A close frame with this code.
    Close(Option<u16>),
}

/// What a held stream gets of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForStream<'a> {
    /// These bytes.
    Bytes(Cow<'a, [u8]>),
    /// The end of the response.
    Close,
    /// The message has nothing for streams.
    Nothing,
}

/// Why a message cannot be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageError {
    /// Its channel's name is not allowed.
    Channel(ChannelError),
    /// The id or the event's name has a line break or NUL, which an event stream cannot have there.
    LineBreak {
        /// What has it.
        field: &'static str,
    },
    /// No status code of a final response.
    Status(u16),
    /// The reason phrase has a line break or NUL.
    Reason,
    /// No header field: its name is no token, or its value has a line break or NUL.
    Header {
        /// The name.
        name: String,
    },
    /// No code that a close frame may have.
    CloseCode(u16),
    /// Encoded it is larger than the limit.
    TooLarge {
        /// Bytes that it has.
        size: usize,
        /// Bytes that it may have.
        limit: usize,
    },
}

impl fmt::Display for MessageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(formatter),
            Self::LineBreak { field } => {
                write!(formatter, "the {field} must not contain CR, LF or NUL")
            }
            Self::Status(code) => write!(
                formatter,
                "the status code {code} must be between 200 and 599"
            ),
            Self::Reason => formatter.write_str("the reason phrase must not contain CR, LF or NUL"),
            Self::Header { name } => write!(
                formatter,
                "the header field {name:?} needs a token as its name and a value without CR, LF and NUL"
            ),
            Self::CloseCode(code) => write!(
                formatter,
                "the close code {code} must be one that RFC 6455 allows in a close frame"
            ),
            Self::TooLarge { size, limit } => write!(
                formatter,
                "the message has {size} bytes, more than the {limit} that are allowed"
            ),
        }
    }
}

impl Error for MessageError {}

impl From<ChannelError> for MessageError {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl Message {
    /// Whether the message can be published: its parts are allowed, and encoded it has at most `limit` bytes.
    ///
    /// # Errors
    /// With the first rule that it breaks.
    pub fn check(&self, limit: usize) -> Result<(), MessageError> {
        channel_name::check(&self.channel)?;
        for (field, value) in [
            ("id", &self.id),
            ("prev-id", &self.prev_id),
            ("event", &self.event),
        ] {
            if value.as_ref().is_some_and(|value| !sse::is_one_line(value)) {
                return Err(MessageError::LineBreak { field });
            }
        }
        if let Some(response) = &self.formats.http_response {
            response.check()?;
        }
        if let Some(WebSocketFormat::Close(Some(code))) = self.formats.ws_message
            && !is_close_code(code)
        {
            return Err(MessageError::CloseCode(code));
        }
        match self.encoded_size() {
            size if size > limit => Err(MessageError::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    /// What a held stream gets: the format for streams, or else the content, as an event in a `text/event-stream`.
    pub fn to_stream(&self, is_event_stream: bool) -> ForStream<'_> {
        match (&self.formats.http_stream, &self.content) {
            (Some(StreamFormat::Content(bytes)), _) => ForStream::Bytes(Cow::Borrowed(bytes)),
            (Some(StreamFormat::Close), _) => ForStream::Close,
            (None, Some(content)) if is_event_stream => {
                let (event, id) = (self.event.as_deref(), self.id.as_deref());
                let mut bytes = Vec::new();
                sse::write_event(&mut bytes, event, id, content.bytes());
                ForStream::Bytes(Cow::Owned(bytes))
            }
            (None, Some(content)) => ForStream::Bytes(Cow::Borrowed(content.bytes())),
            (None, None) => ForStream::Nothing,
        }
    }

    /// The response that a held response gets: the format for responses, or else 200 with the content.
    pub fn to_response(&self) -> Option<Cow<'_, ResponseFormat>> {
        if let Some(response) = &self.formats.http_response {
            return Some(Cow::Borrowed(response));
        }
        let content = self.content.as_ref()?;
        let content_type = match content {
            Content::Text(_) => "text/plain; charset=utf-8",
            Content::Binary(_) => "application/octet-stream",
        };
        Some(Cow::Owned(ResponseFormat {
            code: 200,
            reason: "OK".to_owned(),
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: content.bytes().to_vec(),
        }))
    }

    /// What a WebSocket gets: the format for WebSockets, or else the content.
    pub fn to_websocket(&self) -> Option<Cow<'_, WebSocketFormat>> {
        if let Some(format) = &self.formats.ws_message {
            return Some(Cow::Borrowed(format));
        }
        Some(Cow::Owned(match self.content.as_ref()? {
            Content::Text(text) => WebSocketFormat::Text(text.clone()),
            Content::Binary(bytes) => WebSocketFormat::Binary(bytes.clone()),
        }))
    }
}

impl ResponseFormat {
    fn check(&self) -> Result<(), MessageError> {
        if !(200..=599).contains(&self.code) {
            return Err(MessageError::Status(self.code));
        }
        if !sse::is_one_line(&self.reason) {
            return Err(MessageError::Reason);
        }
        let is_header =
            |(name, value): &&(String, String)| is_token(name) && sse::is_one_line(value);
        match self.headers.iter().find(|header| !is_header(header)) {
            Some((name, _)) => Err(MessageError::Header { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || is_mark(&byte))
}

/// RFC 6455 section 7.4 and the codes that IANA has registered since: 1004 to 1006 and 1015 are never sent.
fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests;
