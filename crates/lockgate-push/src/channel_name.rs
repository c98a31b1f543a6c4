//! The rule for a channel's name.

use std::error::Error;
use std::fmt;

/// Bytes that a name may have.
const MOST_BYTES: usize = 256;

/// Why a text is no name of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelError {
    /// It is empty.
    Empty,
    /// It has more than 256 bytes.
    TooLong,
    /// It contains a control character.
    ControlCharacter,
}

impl ChannelError {
    /// The rule that the name breaks.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Empty => "must not be empty",
            Self::TooLong => "must have at most 256 bytes",
            Self::ControlCharacter => "must not contain control characters",
        }
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the name of a channel {}", self.rule())
    }
}

impl Error for ChannelError {}

/// Whether the text may be the name of a channel.
pub fn check(name: &str) -> Result<(), ChannelError> {
    if name.is_empty() {
        return Err(ChannelError::Empty);
    }
    if name.len() > MOST_BYTES {
        return Err(ChannelError::TooLong);
    }
    if name.contains(char::is_control) {
        return Err(ChannelError::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_text_without_control_characters() {
        let longest = "x".repeat(256);
        let too_long = "x".repeat(257);
        for (name, expected) in [
            ("news", Ok(())),
            ("räume/7 #a", Ok(())),
            (longest.as_str(), Ok(())),
            ("", Err(ChannelError::Empty)),
            (too_long.as_str(), Err(ChannelError::TooLong)),
            ("a\nb", Err(ChannelError::ControlCharacter)),
            ("a\0", Err(ChannelError::ControlCharacter)),
            ("\u{85}", Err(ChannelError::ControlCharacter)),
        ] {
            assert_eq!(check(name), expected, "{name:?}");
        }
    }
}
