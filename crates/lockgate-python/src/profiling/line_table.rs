//! Line tables of code objects: which line an instruction belongs to.
//!
//! The tables are bytes of another thread's memory: any bytes have an answer.

use super::layout::LineFormat;

/// The line of an instruction, counted from the first one in units of two bytes, or -1 before it; 0 if it has none.
pub(super) fn line(format: LineFormat, table: &[u8], first_line: i32, unit: i64) -> u32 {
    let line = match (unit, format) {
        (..0, _) => Some(i64::from(first_line)),
        (_, LineFormat::Deltas) => by_deltas(table, first_line.into(), unit),
        (_, LineFormat::Locations) => by_locations(table, first_line.into(), unit),
    };
    line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0)
}

/// Pairs of bytes: how many bytes of instructions follow, and how much the line changes before them; -128 if they have
/// none.
fn by_deltas(table: &[u8], first_line: i64, unit: i64) -> Option<i64> {
    let mut line = first_line;
    let mut end = 0;
    for [length, change] in table.as_chunks::<2>().0 {
        end += i64::from(*length);
        let change = change.cast_signed();
        let has_line = change != i8::MIN;
        if has_line {
            line += i64::from(change);
        }
        if unit * 2 < end {
            return has_line.then_some(line);
        }
    }
    None
}

/// Entries whose first byte has its highest bit set, a kind in the next four, and how many units it is for, less one, in
/// the last three.
fn by_locations(table: &[u8], first_line: i64, unit: i64) -> Option<i64> {
    let mut bytes = table.iter().copied();
    let mut line = first_line;
    let mut end = 0;
    while let Some(first) = bytes.next() {
        end += i64::from(first & 7) + 1;
        let kind = first >> 3 & 15;
        let change = match kind {
            // Without a change of the line; columns follow, which the next first byte ends.
            0..=9 | 15 => 0,
            10..=12 => i64::from(kind) - 10,
            _ => signed(&mut bytes),
        };
        line = line.saturating_add(change);
        if unit < end {
            return (kind != 15).then_some(line);
        }
        // To the next first byte: no other has the highest bit.
        while bytes.clone().next().is_some_and(|byte| byte & 0x80 == 0) {
            bytes.next();
        }
    }
    None
}

/// A number in pieces of six bits, the lowest first, with its sign in the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> i64 {
    let mut value = 0i64;
    for shift in (0..36).step_by(6) {
        let byte = bytes.next().unwrap_or(0);
        value |= i64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            break;
        }
    }
    match value & 1 {
        0 => value >> 1,
        _ => -(value >> 1),
    }
}
