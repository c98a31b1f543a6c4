//! The field `Grip-Keep-Alive`: the text, its format, and when it is sent.

use std::time::Duration;

use data_encoding::BASE64;

use super::fields::{KEEP_ALIVE, seconds};
use super::{InstructionError, KeepAlive, KeepAliveMode};
use crate::parameters::{parameter, split};

/// The time where the field has none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(55);

#[derive(Clone, Copy)]
enum Format {
    Raw,
    CString,
    Base64,
}

/// The keep-alive that the field's value says.
pub fn parse(value: &str) -> Result<KeepAlive, InstructionError> {
    let error = |part: &str, rule| InstructionError::value(KEEP_ALIVE, part, rule);
    let mut parts = split(value, ';');
    let text = parts.next().unwrap_or_default();
    let mut timeout = DEFAULT_TIMEOUT;
    let mut mode = KeepAliveMode::Idle;
    let mut format = Format::Raw;
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, value) = parameter(part).unwrap_or((part, "".into()));
        match name.to_ascii_lowercase().as_str() {
            "timeout" => timeout = seconds(KEEP_ALIVE, &value)?,
            "format" => {
                format = match &*value {
                    "raw" => Format::Raw,
                    "cstring" => Format::CString,
                    "base64" => Format::Base64,
                    _ => return Err(error(part, "must be raw, cstring or base64")),
                }
            }
            "mode" => mode = mode_of(&value).ok_or_else(|| error(part, MODE_RULE))?,
            // Most likely it is a part of the text.
            _ => {
                let rule =
                    "must be format, timeout or mode; a text with a semicolon needs format=base64";
                return Err(error(part, rule));
            }
        }
    }
    let content = match format {
        Format::Raw => Some(text.as_bytes().to_vec()),
        Format::CString => from_cstring(text),
        Format::Base64 => BASE64.decode(text.as_bytes()).ok(),
    };
    let rule = match format {
        Format::Base64 => "must be base64",
        _ => {
            "must have the escapes \\\\, \\n, \\r, \\t, \\0, \\\", \\' or \\x and two hexadecimal digits"
        }
    };
    Ok(KeepAlive {
        content: content.ok_or_else(|| error(text, rule))?,
        timeout,
        mode,
    })
}

/// The rule for modes.
pub const MODE_RULE: &str = "must be idle or interval";

/// The mode of this name.
pub fn mode_of(name: &str) -> Option<KeepAliveMode> {
    match name {
        "idle" => Some(KeepAliveMode::Idle),
        "interval" => Some(KeepAliveMode::Interval),
        _ => None,
    }
}

/// The bytes of a text with backslash escapes, as in C.
fn from_cstring(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        bytes.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'\\' | b'"' | b'\'' => *escape,
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}
