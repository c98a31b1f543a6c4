//! Texts in memory: `str` and `bytes` objects.

use super::layout::{BYTES, LENGTH, TEXT_STATE, TextLayout};
use super::memory::{Memory, word_at};

/// Most characters of a name or path; the rest is cut off.
const MOST_CHARACTERS: u64 = 1000;
/// Most bytes of a line table. That of a module of 10,000 lines has 100 KiB.
const MOST_TABLE: u64 = 1 << 20;

/// The text of a `str`; `None` if there is none at this address.
pub(super) fn text(memory: &impl Memory, layout: TextLayout, address: u64) -> Option<String> {
    let mut header = [0; TEXT_STATE + 8];
    if !memory.read(address, &mut header) {
        return None;
    }
    let length = word_at(&header, LENGTH);
    let state = word_at(&header, TEXT_STATE) >> 2;
    let width = state & 7;
    let (is_compact, is_ascii) = (state >> 3 & 1 == 1, state >> 4 & 1 == 1);
    if !is_compact || !matches!(width, 1 | 2 | 4) || length > 1 << 32 {
        return None;
    }
    let start = match is_ascii {
        true => layout.ascii,
        false => layout.other,
    };
    let shown = length.min(MOST_CHARACTERS);
    // At most 4,000.
    let mut bytes = vec![0; (shown * width) as usize];
    if !memory.read(address.checked_add(start as u64)?, &mut bytes) {
        return None;
    }
    let mut text: String = match width {
        1 => bytes.into_iter().map(char::from).collect(),
        2 => (bytes.as_chunks::<2>().0.iter())
            .map(|unit| character(u16::from_ne_bytes(*unit).into()))
            .collect(),
        _ => (bytes.as_chunks::<4>().0.iter())
            .map(|unit| character(u32::from_ne_bytes(*unit)))
            .collect(),
    };
    if shown < length {
        text.push('…');
    }
    Some(text)
}

/// A text as [`text`] shows it.
pub(super) fn shortened(text: &str) -> String {
    let most = MOST_CHARACTERS as usize;
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Python has surrogates in texts, which UTF-8 does not.
fn character(code: u32) -> char {
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The content of a `bytes` object that is a line table.
pub(super) fn table(memory: &impl Memory, address: u64) -> Option<Vec<u8>> {
    let length = memory.word(address.checked_add(LENGTH as u64)?)?;
    if length > MOST_TABLE {
        return None;
    }
    let mut bytes = vec![0; length as usize];
    (memory.read(address.checked_add(BYTES as u64)?, &mut bytes)).then_some(bytes)
}
