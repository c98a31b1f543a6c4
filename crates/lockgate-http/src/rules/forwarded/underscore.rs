//! Names with an underscore that a trusted peer may send, including `SCRIPT_NAME`.
//!
//! In an environ `X_Y` and `X-Y` are one key. They are never merged: a request with an allowed `X_Y` and an `X-Y` is
//! refused.

use std::collections::HashSet;

use crate::error::Refusal;
use crate::request::RequestHead;
use crate::rules::forwarded::prefix::set_script_name;
use crate::rules::grammar::trim_whitespace;
use crate::span::{Field, Span};

/// Restores the dropped fields whose names are `allowed`, and takes `SCRIPT_NAME` from them.
#[cold]
pub(super) fn restore_allowed(
    head: &mut RequestHead,
    allowed: &[Vec<u8>],
    refuses_others: bool,
) -> Result<(), Refusal> {
    let mut script_name = None;
    // Restored fields have keys as well, so an allowed name may not occur twice either.
    let mut keys: HashSet<Vec<u8>> = head.headers().map(|(name, _)| key_of(name)).collect();
    let mut at = 0;
    while let Some((field, next)) = next_line(&head.bytes, at) {
        at = next;
        let Some(field) = field else { continue };
        let name = field.name.of(&head.bytes);
        if !name.contains(&b'_') {
            continue;
        }
        if !is_allowed(name, allowed) {
            if refuses_others {
                head.summary.faulty = Some(field);
                return Err(Refusal::UnderscoreInFieldName);
            }
            continue;
        }
        if !keys.insert(key_of(name)) {
            head.summary.faulty = Some(field);
            return Err(Refusal::AmbiguousFieldName);
        }
        if name.eq_ignore_ascii_case(b"script_name") {
            script_name = Some(field.value);
        }
        head.fields.push(field);
        head.summary.dropped -= 1;
    }
    match script_name {
        Some(value) => set_script_name(head, value),
        None => Ok(()),
    }
}

fn is_allowed(name: &[u8], allowed: &[Vec<u8>]) -> bool {
    allowed
        .iter()
        .any(|allowed| allowed == b"*" || allowed.eq_ignore_ascii_case(name))
}

/// The first field with an underscore in its name.
#[cold]
pub(super) fn first_of(head: &RequestHead) -> Option<Field> {
    let mut at = 0;
    while let Some((field, next)) = next_line(&head.bytes, at) {
        let has_underscore = |field: &Field| field.name.of(&head.bytes).contains(&b'_');
        if let Some(field) = field.filter(has_underscore) {
            return Some(field);
        }
        at = next;
    }
    None
}

/// The field line that starts at or after `at`, and where the next one starts. The head was parsed before: its lines
/// end in CRLF.
fn next_line(bytes: &[u8], at: usize) -> Option<(Option<Field>, usize)> {
    let length = memchr::memchr(b'\n', bytes.get(at..)?)?;
    let line = &bytes[at..at + length];
    let field = memchr::memchr(b':', line).filter(|_| at > 0).map(|colon| {
        let value = trim_whitespace(line[colon + 1..].strip_suffix(b"\r").unwrap_or_default());
        Field {
            name: Span::new(at, at + colon),
            value: Span::within(bytes, value),
        }
    });
    Some((field, at + length + 1))
}

/// The form that names with the same environ key share.
fn key_of(name: &[u8]) -> Vec<u8> {
    name.iter()
        .map(|byte| match byte {
            b'-' => b'_',
            byte => byte.to_ascii_lowercase(),
        })
        .collect()
}
