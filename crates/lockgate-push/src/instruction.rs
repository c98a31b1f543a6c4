//! The instruction of an application to hold the connection of a response (the GRIP protocol).
//!
//! It comes in header fields of the response (`Grip-Hold`, `Grip-Channel`), or in its body ([`body`]). What is not
//! allowed is an error, which says the field and its value: a hold that is only partly understood would lose messages
//! without a sign.

pub(crate) mod body;
mod fields;
mod keep_alive;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use fields::Fields;
pub(crate) use keep_alive::DEFAULT_TIMEOUT;

use crate::filters::Filters;
use crate::json::KeyError;

/// Characters of a value that an error shows.
const SHOWN: usize = 100;
/// The longest time that an instruction may have, a year: the sum with any moment is representable.
const MOST_SECONDS: u64 = 365 * 24 * 60 * 60;

/// See the module.
///
/// Without `Grip-Hold` an instruction has no channels: its response ends, or continues with the page of `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What is held.
    pub mode: HoldMode,
    /// The channels that are subscribed to.
    pub channels: Vec<HeldChannel>,
    /// The time after which a held response is sent as the application returned it.
    pub timeout: Option<Duration>,
    /// What is sent so that an idle stream is not closed.
    pub keep_alive: Option<KeepAlive>,
    /// The page with which the response continues.
    pub next: Option<NextLink>,
    /// Names and values that the connection has from now on; `user` is compared with the sender of messages.
    pub meta: Vec<(String, String)>,
    /// The status code of the response, where that of the response itself is not the one meant.
    pub status: Option<u16>,
}

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldMode {
    /// The response has begun, and each message is appended to its body.
    Stream,
    /// The response waits; the first message is the response.
    Response,
}

/// A channel that is subscribed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldChannel {
    /// Its name.
    pub name: String,
    /// The id of the last message that the client has.
    pub prev_id: Option<String>,
    /// What is left out or replaced (`filter=skip-self`).
    pub filters: Filters,
}

/// What is sent so that an idle stream is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// These bytes.
    pub content: Vec<u8>,
    /// After this time.
    pub timeout: Duration,
    /// What the time is counted from.
    pub mode: KeepAliveMode,
}

/// What the time of a keep-alive is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAliveMode {
    /// The last bytes that were sent.
    Idle,
    /// The last keep-alive.
    Interval,
}

/// The page with which a response continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextLink {
    /// Its address, which may be relative to that of the request.
    pub uri: String,
    /// The time after which a held stream goes there.
    pub timeout: Option<Duration>,
}

/// Bounds of an instruction.
#[derive(Debug, Clone, Copy)]
pub struct InstructionLimits {
    /// Channels that a connection may subscribe to.
    pub channels: usize,
}

/// Why an instruction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionError {
    /// A field has a value that is not allowed.
    Value {
        /// The field.
        field: &'static str,
        /// Its value, or the part of it that is wrong.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A field that has one value comes twice.
    Repeated {
        /// The field.
        field: &'static str,
    },
    /// There is `Grip-Hold` but no channel.
    NoChannel,
    /// There are more channels than the limit.
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
    /// The body is no JSON object.
    NotJson {
        /// What is wrong with it.
        reason: String,
    },
    /// The body has a value that is not allowed.
    Key {
        /// The key, with the keys of the objects around it.
        key: String,
        /// What is allowed.
        rule: &'static str,
    },
}

impl From<KeyError> for InstructionError {
    fn from(KeyError { key, rule }: KeyError) -> Self {
        Self::Key { key, rule }
    }
}

impl InstructionError {
    fn value(field: &'static str, value: &str, rule: &'static str) -> Self {
        Self::Value {
            field,
            value: value.chars().take(SHOWN).collect(),
            rule,
        }
    }
}

impl fmt::Display for InstructionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { field, value, rule } => {
                write!(formatter, "{field}: {value:?} {rule}")
            }
            Self::Repeated { field } => write!(formatter, "{field} must not be repeated"),
            Self::NoChannel => formatter.write_str("Grip-Hold needs a Grip-Channel"),
            Self::TooManyChannels { limit } => {
                write!(formatter, "at most {limit} channels are allowed")
            }
            Self::NotJson { reason } => write!(formatter, "no JSON: {reason}"),
            Self::Key { key, rule } => write!(formatter, "{key} {rule}"),
        }
    }
}

impl Error for InstructionError {}

/// Whether a header field belongs to GRIP and is not for the client.
pub fn is_grip_field(name: &[u8]) -> bool {
    name.get(..5)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"grip-"))
}

impl Instruction {
    /// The instruction in a response's header fields; `None` if it has neither `Grip-Hold` nor a `Grip-Link` with
    /// `rel=next`. Fields of other names are skipped.
    ///
    /// # Errors
    /// When a field of GRIP has a value that is not allowed.
    pub fn from_fields<'a>(
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        limits: &InstructionLimits,
    ) -> Result<Option<Self>, InstructionError> {
        Fields::collect(fields)?.instruction(limits)
    }
}

/// Whether the body of a response with these header fields is content with the filter `build-id`.
pub fn builds_ids<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    Fields::collect(fields).is_ok_and(|fields| fields.builds_ids())
}

/// Adds a channel; a repeated one replaces the earlier.
fn add_channel(
    channels: &mut Vec<HeldChannel>,
    channel: HeldChannel,
    limits: &InstructionLimits,
) -> Result<(), InstructionError> {
    if let Some(earlier) = channels.iter_mut().find(|one| one.name == channel.name) {
        *earlier = channel;
        return Ok(());
    }
    if channels.len() >= limits.channels {
        return Err(InstructionError::TooManyChannels {
            limit: limits.channels,
        });
    }
    channels.push(channel);
    Ok(())
}

#[cfg(test)]
mod tests;
