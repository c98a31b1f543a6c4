//! Notation of values: as written in the file (`…_text`, `quoted`) and for people (`…_words`).
//!
//! Invariant: what [`quoted`], [`duration_text`] and [`size_text`] write, a reader of the same kind reads as the same
//! value.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Text as written in the file: a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            character if character.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A list as written in the file.
pub(crate) fn quoted_list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| quoted(&item.to_string()))
        .collect();
    format!("[{}]", items.join(", "))
}

/// A time as written in the file: whole seconds bare, anything else in milliseconds or microseconds.
pub(crate) fn duration_text(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        duration.as_secs().to_string()
    } else {
        quoted(&duration_words(duration))
    }
}

/// A time for people, in the largest unit of second, millisecond and microsecond that divides it.
pub(crate) fn duration_words(duration: Duration) -> String {
    let microseconds = duration.as_micros();
    if microseconds.is_multiple_of(1_000_000) {
        format!("{}s", duration.as_secs())
    } else if microseconds.is_multiple_of(1000) {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{microseconds}us")
    }
}

/// A size as written in the file: in the largest unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let words = size_words(bytes);
    if words.bytes().all(|byte| byte.is_ascii_digit()) {
        words
    } else {
        quoted(&words)
    }
}

/// A size for people: in the largest unit that divides it.
pub(crate) fn size_words(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes != 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}
