//! The items of a publish request of GRIP, which are messages: `{"items": [{"channel": …, "formats": …}]}`.
//!
//! `content` (or `content-bin`) and `event` of an item are not GRIP's: they are those of a [`Message`], for clients that
//! leave the formats to the server.
//!
//! A format that is not known is skipped. What would change what a known format sends, such as a filter, is an error.

use std::error::Error;
use std::fmt;

use serde_json::Value;

use crate::json::{self, KeyError, Map};
use crate::message::{Content, Formats, Message, MessageError, StreamFormat, WebSocketFormat};

const CONTENT_FILTERS: &str = "content-filters";

/// Bounds of a publish request.
#[derive(Debug, Clone, Copy)]
pub struct ItemLimits {
    /// Bytes that a message may have, as [`Message::check`] counts them.
    pub bytes: usize,
    /// Items that a request may have.
    pub items: usize,
}

/// Why a publish request is refused; then none of its items is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemError {
    /// It is no JSON object.
    NotJson {
        /// What is wrong with it.
        reason: String,
    },
    /// It has no array `items`.
    NoItems,
    /// It has more items than the limit.
    TooManyItems {
        /// Items that it has.
        items: usize,
        /// Items that it may have.
        limit: usize,
    },
    /// An item has a value that is not allowed.
    Key {
        /// The number of the item, from 1.
        item: usize,
        /// The key, with the keys of the objects around it.
        key: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// An item has neither a format that is known nor content.
    NoFormat {
        /// The number of the item, from 1.
        item: usize,
    },
    /// An item is a message that cannot be published.
    Message {
        /// The number of the item, from 1.
        item: usize,
        /// Why not.
        error: MessageError,
    },
}

impl fmt::Display for ItemError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { reason } => write!(formatter, "no JSON: {reason}"),
            Self::NoItems => formatter.write_str("items must be an array"),
            Self::TooManyItems { items, limit } => write!(
                formatter,
                "items has {items} items, more than the {limit} that are allowed"
            ),
            Self::Key { item, key, rule } => write!(formatter, "item {item}: {key} {rule}"),
            Self::NoFormat { item } => write!(
                formatter,
                "item {item}: there must be content, or formats with http-stream, http-response or ws-message"
            ),
            Self::Message { item, error } => write!(formatter, "item {item}: {error}"),
        }
    }
}

impl Error for ItemError {}

/// The messages of a publish request.
///
/// # Errors
/// When any of the items is not allowed.
pub fn parse_items(json: &[u8], limits: &ItemLimits) -> Result<Vec<Message>, ItemError> {
    let body = json::parse(json).map_err(|reason| ItemError::NotJson { reason })?;
    let items = body.get("items").and_then(Value::as_array);
    let items = items.ok_or(ItemError::NoItems)?;
    if items.len() > limits.items {
        return Err(ItemError::TooManyItems {
            items: items.len(),
            limit: limits.items,
        });
    }
    let numbered = items.iter().zip(1..);
    numbered
        .map(|(value, item)| {
            let message = message(value).map_err(|KeyError { key, rule }| ItemError::Key {
                item,
                key,
                rule,
            })?;
            if message.formats == Formats::default() && message.content.is_none() {
                return Err(ItemError::NoFormat { item });
            }
            message
                .check(limits.bytes)
                .map_err(|error| ItemError::Message { item, error })?;
            Ok(message)
        })
        .collect()
}

fn message(item: &Value) -> Result<Message, KeyError> {
    let item = item
        .as_object()
        .ok_or_else(|| KeyError::new("the item", "must be an object"))?;
    let owned = |key| Ok(json::text(item, key)?.map(str::to_owned));
    let meta = json::object(item, "meta")?;
    let of_meta = |key| {
        let text = meta.map(|meta| json::text(meta, key)).transpose();
        let text = text.map_err(|error| error.within("meta"))?.flatten();
        Ok(text.map(str::to_owned))
    };
    let formats = formats(item)?;
    Ok(Message {
        channel: owned("channel")?.ok_or_else(|| KeyError::new("channel", "is missing"))?,
        id: owned("id")?,
        prev_id: owned("prev-id")?,
        event: owned("event")?,
        content: json::content(item, "content", "content-bin")?,
        builds_id: formats.http_stream.is_some() && builds_id(item)?,
        formats,
        sender: of_meta("sender")?,
        skip_users: of_meta("skip_users")?,
        require_sub: of_meta("require_sub")?,
        relayed: None,
    })
}

/// The formats of an item, in `formats` or in the item itself.
fn formats(item: &Map) -> Result<Formats, KeyError> {
    let inner = json::object(item, "formats")?;
    Ok(Formats {
        http_stream: format(item, inner, "http-stream", stream)?,
        http_response: format(item, inner, "http-response", json::response)?,
        ws_message: format(item, inner, "ws-message", websocket)?,
    })
}

fn format<T>(
    item: &Map,
    inner: Option<&Map>,
    name: &str,
    read: fn(&Map) -> Result<T, KeyError>,
) -> Result<Option<T>, KeyError> {
    if let Some(inner) = inner
        && let Some(format) = json::object(inner, name).map_err(|error| error.within("formats"))?
    {
        let format = read(format).map_err(|error| error.within(name).within("formats"))?;
        return Ok(Some(format));
    }
    let format = json::object(item, name)?.map(read).transpose();
    format.map_err(|error| error.within(name))
}

/// Whether the format for streams has the filter `build-id`; [`stream`] has refused others.
fn builds_id(item: &Map) -> Result<bool, KeyError> {
    let inner = json::object(item, "formats")?.map(|inner| json::object(inner, "http-stream"));
    let format = match inner.transpose()?.flatten() {
        Some(format) => Some(format),
        None => json::object(item, "http-stream")?,
    };
    let filters = format.map(|format| json::array(format, CONTENT_FILTERS));
    let filters = filters.transpose()?.flatten();
    Ok(filters.is_some_and(|filters| !filters.is_empty()))
}

fn stream(format: &Map) -> Result<StreamFormat, KeyError> {
    let filters = json::array(format, CONTENT_FILTERS)?.into_iter().flatten();
    for filter in filters {
        if filter != "build-id" {
            return Err(KeyError::new(CONTENT_FILTERS, "must be build-id"));
        }
    }
    Ok(match sent(format)? {
        Some(content) => StreamFormat::Content(content.into_bytes()),
        None => StreamFormat::Close,
    })
}

fn websocket(format: &Map) -> Result<WebSocketFormat, KeyError> {
    json::refuse_unsupported(format, CONTENT_FILTERS)?;
    Ok(match sent(format)? {
        Some(Content::Text(text)) => WebSocketFormat::Text(text),
        Some(Content::Binary(bytes)) => WebSocketFormat::Binary(bytes),
        None => WebSocketFormat::Close(json::number(format, "code", "must be a close code")?),
    })
}

/// The content that a format sends; `None` if it closes the connection.
fn sent(format: &Map) -> Result<Option<Content>, KeyError> {
    match json::text(format, "action")? {
        Some("close") => return Ok(None),
        Some("send") | None => {}
        Some(_) => return Err(KeyError::new("action", "must be send or close")),
    }
    let content = json::content(format, "content", "content-bin")?;
    match content {
        None => Err(KeyError::new("content", "is missing")),
        content => Ok(content),
    }
}

#[cfg(test)]
mod tests;
