//! What an application sends to the server on a WebSocket (WebSocket-over-HTTP with the extension `grip`): control
//! messages, which begin with `c:`, beside the messages for the client, which begin with the extension's prefix.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::instruction::body;
use crate::instruction::{DEFAULT_TIMEOUT, HeldChannel, KeepAliveMode};
use crate::json::{self, KeyError, Map};
use crate::parameters::{parameter, split};

/// What a control message begins with.
const CONTROL_PREFIX: &[u8] = b"c:";
/// Bytes that the payload of a ping or a pong may have (RFC 6455, section 5.5).
const MOST_CONTROL_FRAME_BYTES: usize = 125;

/// The extension `grip`, which an application agrees on when it accepts a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GripExtension {
    /// What a message for the client begins with.
    pub message_prefix: String,
}

impl Default for GripExtension {
    fn default() -> Self {
        Self {
            message_prefix: "m:".to_owned(),
        }
    }
}

/// What a message of the application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromApplication<'a> {
    /// A control message, for [`Control::parse`].
    Control(&'a [u8]),
    /// A message for the client.
    Message(&'a [u8]),
    /// It has neither prefix, and is not sent.
    Nothing,
}

impl GripExtension {
    /// The extension in a value of `Sec-WebSocket-Extensions`; `None` if it is not there.
    pub fn from_field(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let extension = split(value, ',').find_map(|extension| {
            let mut parts = split(extension, ';');
            let is_grip = parts.next()?.eq_ignore_ascii_case("grip");
            is_grip.then_some(parts)
        })?;
        let prefix = extension
            .filter_map(parameter)
            .find(|(name, _)| name.eq_ignore_ascii_case("message-prefix"));
        Some(match prefix {
            Some((_, prefix)) => Self {
                message_prefix: prefix.into_owned(),
            },
            None => Self::default(),
        })
    }

    /// What a message of the application is, by its prefix.
    pub fn classify<'a>(&self, message: &'a [u8]) -> FromApplication<'a> {
        if let Some(control) = message.strip_prefix(CONTROL_PREFIX) {
            return FromApplication::Control(control);
        }
        match message.strip_prefix(self.message_prefix.as_bytes()) {
            Some(message) => FromApplication::Message(message),
            None => FromApplication::Nothing,
        }
    }
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The connection subscribes to a channel.
    Subscribe(HeldChannel),
    /// It unsubscribes from a channel.
    Unsubscribe {
        /// The name.
        channel: String,
    },
    /// The application gets no further messages of the client; what is published still reaches the client.
    Detach,
    /// What is sent on an idle connection; `None` ends it.
    KeepAlive(Option<ControlKeepAlive>),
    /// A value that the connection has from now on.
    SetMeta {
        /// Its name.
        name: String,
        /// The value.
        value: String,
    },
    /// A type that is not known.
    Other {
        /// The type.
        kind: String,
    },
}

/// What is sent on an idle WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlKeepAlive {
    /// The kind of its message.
    pub kind: MessageKind,
    /// The payload.
    pub content: Vec<u8>,
    /// After this time.
    pub timeout: Duration,
    /// What the time is counted from.
    pub mode: KeepAliveMode,
}

/// A kind of WebSocket message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Text, in UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// A ping frame.
    Ping,
    /// A pong frame.
    Pong,
}

/// Why a control message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlError {
    /// It is no JSON object.
    NotJson {
        /// What is wrong with it.
        reason: String,
    },
    /// It has a value that is not allowed.
    Key {
        /// The key.
        key: String,
        /// What is allowed.
        rule: &'static str,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { reason } => write!(formatter, "no JSON: {reason}"),
            Self::Key { key, rule } => write!(formatter, "{key} {rule}"),
        }
    }
}

impl Error for ControlError {}

impl From<KeyError> for ControlError {
    fn from(KeyError { key, rule }: KeyError) -> Self {
        Self::Key { key, rule }
    }
}

impl Control {
    /// The control message of this JSON, which follows the prefix `c:`.
    ///
    /// # Errors
    /// When it is no JSON object or has a value that is not allowed.
    pub fn parse(json: &[u8]) -> Result<Self, ControlError> {
        let map = json::parse(json).map_err(|reason| ControlError::NotJson { reason })?;
        let required = |key: &str| {
            let text = json::text(&map, key)?;
            text.ok_or_else(|| KeyError::new(key, "is missing"))
        };
        Ok(match required("type")? {
            "subscribe" => Self::Subscribe(body::channel(&map, "channel")?),
            "unsubscribe" => Self::Unsubscribe {
                channel: body::channel_name(&map, "channel")?,
            },
            "detach" => Self::Detach,
            "keep-alive" => Self::KeepAlive(keep_alive(&map)?),
            "set-meta" => Self::SetMeta {
                name: required("name")?.to_owned(),
                value: required("value")?.to_owned(),
            },
            kind => Self::Other {
                kind: kind.to_owned(),
            },
        })
    }
}

fn keep_alive(map: &Map) -> Result<Option<ControlKeepAlive>, KeyError> {
    let Some(content) = json::content(map, "content", "content-bin")? else {
        return Ok(None);
    };
    let content = content.into_bytes();
    let kind = kind(map)?;
    let is_allowed = match kind {
        MessageKind::Text => std::str::from_utf8(&content).is_ok(),
        MessageKind::Binary => true,
        MessageKind::Ping | MessageKind::Pong => content.len() <= MOST_CONTROL_FRAME_BYTES,
    };
    if !is_allowed {
        let rule = "must be UTF-8 in text, and have at most 125 bytes in a ping or a pong";
        return Err(KeyError::new("content", rule));
    }
    Ok(Some(ControlKeepAlive {
        kind,
        content,
        timeout: body::seconds(map, "timeout")?.unwrap_or(DEFAULT_TIMEOUT),
        mode: body::keep_alive_mode(map)?,
    }))
}

fn kind(map: &Map) -> Result<MessageKind, KeyError> {
    const KEY: &str = "message-type";
    match json::text(map, KEY)? {
        None | Some("text") => Ok(MessageKind::Text),
        Some("binary") => Ok(MessageKind::Binary),
        Some("ping") => Ok(MessageKind::Ping),
        Some("pong") => Ok(MessageKind::Pong),
        Some(_) => Err(KeyError::new(KEY, "must be text, binary, ping or pong")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::filters::Filters;

    fn parsed(control: &Value) -> Result<Control, String> {
        Control::parse(control.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn channel(name: &str) -> HeldChannel {
        HeldChannel {
            name: name.to_owned(),
            ..HeldChannel::default()
        }
    }

    #[test]
    fn control_messages_have_a_type() {
        let other = Control::Other {
            kind: "flush".to_owned(),
        };
        for (control, expected) in [
            (
                json!({"type": "subscribe", "channel": "a"}),
                Control::Subscribe(channel("a")),
            ),
            (
                json!({"type": "subscribe", "channel": "a", "prev-id": "7", "filters": ["skip-self"]}),
                Control::Subscribe(HeldChannel {
                    prev_id: Some("7".to_owned()),
                    filters: Filters::SKIP_SELF,
                    ..channel("a")
                }),
            ),
            (
                json!({"channel": "a", "type": "unsubscribe"}),
                Control::Unsubscribe {
                    channel: "a".to_owned(),
                },
            ),
            (json!({"type": "detach"}), Control::Detach),
            (
                json!({"type": "set-meta", "name": "user", "value": "alice"}),
                Control::SetMeta {
                    name: "user".to_owned(),
                    value: "alice".to_owned(),
                },
            ),
            (json!({"type": "flush"}), other),
        ] {
            assert_eq!(parsed(&control), Ok(expected), "{control}");
        }
    }

    #[test]
    fn a_keep_alive_has_a_kind_and_a_time() {
        let keep_alive = |kind, content: &[u8], seconds, mode| ControlKeepAlive {
            kind,
            content: content.to_vec(),
            timeout: Duration::from_secs(seconds),
            mode,
        };
        let idle = KeepAliveMode::Idle;
        for (keys, expected) in [
            (json!({}), None),
            (json!({"timeout": 30}), None),
            (
                json!({"content": "{}", "timeout": 30}),
                Some(keep_alive(MessageKind::Text, b"{}", 30, idle)),
            ),
            (
                json!({"content-bin": "/w==", "message-type": "binary"}),
                Some(keep_alive(MessageKind::Binary, &[0xff], 55, idle)),
            ),
            (
                json!({"content": "", "message-type": "ping", "mode": "interval"}),
                Some(keep_alive(
                    MessageKind::Ping,
                    b"",
                    55,
                    KeepAliveMode::Interval,
                )),
            ),
        ] {
            let mut control = keys.clone();
            control["type"] = "keep-alive".into();
            let expected = Control::KeepAlive(expected);
            assert_eq!(parsed(&control), Ok(expected), "{keys}");
        }
    }

    #[test]
    fn an_error_names_the_key() {
        let long = "x".repeat(126);
        for (control, expected) in [
            (json!([]), "no JSON: must be an object"),
            (json!({}), "type is missing"),
            (json!({"type": 1}), "type must be a string"),
            (json!({"type": "subscribe"}), "channel must not be empty"),
            (
                json!({"type": "subscribe", "channel": "a", "filters": ["x"]}),
                "filters must be skip-self, skip-users, require-sub or build-id",
            ),
            (
                json!({"type": "unsubscribe", "channel": "a\n"}),
                "channel must not contain control characters",
            ),
            (json!({"type": "set-meta", "name": "a"}), "value is missing"),
            (
                json!({"type": "keep-alive", "content": "a", "message-type": "x"}),
                "message-type must be text, binary, ping or pong",
            ),
            (
                json!({"type": "keep-alive", "content-bin": "/w=="}),
                "content must be UTF-8 in text, and have at most 125 bytes in a ping or a pong",
            ),
            (
                json!({"type": "keep-alive", "content": long, "message-type": "pong"}),
                "content must be UTF-8 in text, and have at most 125 bytes in a ping or a pong",
            ),
            (
                json!({"type": "keep-alive", "content": "a", "timeout": -1}),
                "timeout must be a number of seconds from 1 to 31536000",
            ),
        ] {
            assert_eq!(parsed(&control), Err(expected.to_owned()), "{control}");
        }
    }

    #[test]
    fn the_extension_has_a_prefix_for_messages() {
        for (value, expected) in [
            ("grip", Some("m:")),
            ("Grip; message-prefix=\"\"", Some("")),
            (
                "permessage-deflate; a=1, grip; message-prefix=\"x,\"",
                Some("x,"),
            ),
            ("grip; message-prefix=m:", Some("m:")),
            ("grip; other=1", Some("m:")),
            ("permessage-deflate", None),
            ("", None),
        ] {
            let extension = GripExtension::from_field(value.as_bytes());
            let prefix = extension.map(|extension| extension.message_prefix);
            assert_eq!(prefix.as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn the_prefix_says_what_a_message_is() {
        use FromApplication::{Control, Message, Nothing};
        for (prefix, message, expected) in [
            ("m:", "m:hello", Message(b"hello")),
            ("m:", "m:c:{}", Message(b"c:{}")),
            ("m:", "c:{}", Control(b"{}")),
            ("m:", "hello", Nothing),
            ("m:", "", Nothing),
            ("", "hello", Message(b"hello")),
            ("", "c:{}", Control(b"{}")),
        ] {
            let extension = GripExtension {
                message_prefix: prefix.to_owned(),
            };
            let got = extension.classify(message.as_bytes());
            assert_eq!(got, expected, "{prefix:?} {message:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = Control::parse(&bytes);
            let extension = GripExtension::from_field(&bytes).unwrap_or_default();
            let _ = extension.classify(&bytes);
        }
    }
}
