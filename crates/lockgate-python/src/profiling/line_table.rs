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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: LineFormat, table: &[u8], units: std::ops::Range<i64>) -> Vec<u32> {
        units.map(|unit| line(format, table, 10, unit)).collect()
    }

    #[test]
    fn deltas_are_pairs_of_a_length_and_a_change() {
        let read = |table: &[u8], units| lines(LineFormat::Deltas, table, units);
        let minus_three = (-3i8).cast_unsigned();
        // Two units on line 10, one on line 12, one without a line, one on line 9.
        let table = [4, 0, 2, 2, 2, 0x80, 2, minus_three];
        assert_eq!(read(&table, -1..6), [10, 10, 10, 12, 0, 9, 0]);
        assert_eq!(read(&[], 0..1), [0]);
        assert_eq!(
            read(&[0, 5, 2, 0], 0..1),
            [15],
            "nothing for line 15, then it"
        );
        assert_eq!(read(&[2], 0..1), [0], "half a pair");
    }

    #[test]
    fn locations_have_a_kind_each() {
        let read = |table: &[u8], units| lines(LineFormat::Locations, table, units);
        let first = |kind: u8, units: u8| 0x80 | kind << 3 | (units - 1);
        let table = [
            &[first(0, 2), 0x7f][..],                // columns only
            &[first(12, 1), 0, 4],                   // two lines later
            &[first(15, 1)],                         // none
            &[first(13, 1), 7],                      // -3
            &[first(14, 1), 0x40, 1, 0x41, 2, 5, 9], // +32; a later end; columns
        ]
        .concat();
        assert_eq!(read(&table, -1..7), [10, 10, 10, 12, 0, 9, 41, 0]);
        assert_eq!(read(&[], 0..1), [0]);
        assert_eq!(read(&[first(13, 1)], 0..1), [10], "without its number");
        assert_eq!(
            read(
                &[first(13, 1), 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f],
                0..1
            ),
            [0]
        );
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let mut byte = 1u8;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            byte = byte.wrapping_mul(77).wrapping_add(13);
            byte
        })
        .take(4000)
        .collect();
        for format in [LineFormat::Deltas, LineFormat::Locations] {
            for start in 0..200 {
                for (first_line, unit) in [
                    (0, 0),
                    (i32::MAX, 1000),
                    (i32::MIN, 5),
                    (1, i64::from(u32::MAX)),
                ] {
                    let _any = line(format, &noise[start..], first_line, unit);
                }
            }
        }
    }
}
