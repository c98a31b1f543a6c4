//! Range requests (RFC 9110 §14): which parts of a representation a client asks for, and how they are sent.

pub mod multipart;

use crate::rules::grammar::{parse_decimal, trim_whitespace};

/// The most ranges of one request. A request for more gets the whole representation.
const MOST_RANGES: usize = 16;

/// A part of a representation: positions of its first and last byte. It is never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The position of the first byte.
    pub first: u64,
    /// The position of the last byte, which belongs to the range.
    pub last: u64,
}

/// What a Range field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// The field is ignored, and the whole representation is sent with 200.
    None,
    /// No range overlaps the representation: 416, with [`unsatisfied`] as Content-Range.
    Unsatisfiable,
    /// These parts in the order of the request, at least one: 206. One is sent with [`ByteRange::content_range`],
    /// several as [`multipart`].
    Satisfiable(Vec<ByteRange>),
}

impl ByteRange {
    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of Content-Range for a representation of `length` bytes: `bytes 0-499/1234`.
    pub fn content_range(self, length: u64) -> String {
        format!("bytes {}-{}/{length}", self.first, self.last)
    }
}

/// The value of Content-Range in a 416: `bytes */1234`.
pub fn unsatisfied(length: u64) -> String {
    format!("bytes */{length}")
}

/// The ranges that `field`, the value of Range, selects from a representation of `length` bytes.
///
/// The field is ignored if it is not valid or not in bytes (RFC 9110 §14.2 allows both), and so are requests that look
/// like an attack: more than 16 ranges, or ranges that are together longer than the representation, as in Go and nginx.
/// Ranges that follow each other without a gap, or overlap, are sent as one.
///
/// ```
/// use lockgate_http::range::{self, ByteRange, Ranges};
///
/// let suffix = ByteRange { first: 7, last: 9 };
/// assert_eq!(range::parse(b"bytes=-3", 10), Ranges::Satisfiable(vec![suffix]));
/// assert_eq!(range::parse(b"bytes=10-", 10), Ranges::Unsatisfiable);
/// assert_eq!(range::parse(b"lines=1-2", 10), Ranges::None);
/// ```
pub fn parse(field: &[u8], length: u64) -> Ranges {
    select(field, length).unwrap_or(Ranges::None)
}

/// `None`: the field is ignored.
fn select(field: &[u8], length: u64) -> Option<Ranges> {
    let specs = field
        .split_at_checked(6)
        .filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes="))?
        .1;
    let mut ranges: Vec<ByteRange> = Vec::new();
    let (mut count, mut total) = (0, 0_u64);
    for spec in specs.split(|&byte| byte == b',') {
        let spec = trim_whitespace(spec);
        // Empty elements do not count (RFC 9110 §5.6.1.2).
        if spec.is_empty() {
            continue;
        }
        count += 1;
        if count > MOST_RANGES {
            return None;
        }
        let Some(range) = one_range(spec, length)? else {
            continue;
        };
        total = total.checked_add(range.len())?;
        match ranges.last_mut() {
            Some(before) if before.first <= range.first && range.first <= before.last + 1 => {
                before.last = before.last.max(range.last);
            }
            _ => ranges.push(range),
        }
    }
    if count == 0 || total > length {
        return None;
    }
    Some(match ranges.is_empty() {
        // No suffix of an empty representation can be named in Content-Range, so it is sent whole.
        true if length == 0 && asks_for_suffix(specs) => Ranges::None,
        true => Ranges::Unsatisfiable,
        false => Ranges::Satisfiable(ranges),
    })
}

/// One range; `Some(None)` if it is valid and does not overlap the representation.
fn one_range(spec: &[u8], length: u64) -> Option<Option<ByteRange>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = position(last)?.min(length);
        return Some((suffix > 0).then(|| ByteRange {
            first: length - suffix,
            last: length - 1,
        }));
    }
    let first = position(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        position(last)?
    };
    if last < first {
        return None;
    }
    Some((first < length).then(|| ByteRange {
        first,
        last: last.min(length - 1),
    }))
}

/// A number of digits. One beyond 64 bits is beyond every representation.
fn position(digits: &[u8]) -> Option<u64> {
    parse_decimal(digits)
        .ok()
        .map(|number| number.unwrap_or(u64::MAX))
}

fn asks_for_suffix(specs: &[u8]) -> bool {
    specs
        .split(|&byte| byte == b',')
        .map(trim_whitespace)
        .any(|spec| spec.starts_with(b"-") && spec.iter().any(|byte| (b'1'..=b'9').contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(field: &str, length: u64) -> Result<Vec<(u64, u64)>, Ranges> {
        match parse(field.as_bytes(), length) {
            Ranges::Satisfiable(ranges) => Ok(ranges
                .iter()
                .map(|range| (range.first, range.last))
                .collect()),
            other => Err(other),
        }
    }

    /// The table `ServeFileRangeTests` of Go's net/http, for its file of 11 bytes.
    #[test]
    fn the_cases_of_go_are_selected_as_go_selects_them() {
        let unsatisfiable = || Err(Ranges::Unsatisfiable);
        for (field, expected) in [
            ("", Err(Ranges::None)),
            ("bytes=0-4", Ok(vec![(0, 4)])),
            ("bytes=2-", Ok(vec![(2, 10)])),
            ("bytes=-5", Ok(vec![(6, 10)])),
            ("bytes=3-7", Ok(vec![(3, 7)])),
            ("bytes=0-0,-2", Ok(vec![(0, 0), (9, 10)])),
            ("bytes=0-1,5-8", Ok(vec![(0, 1), (5, 8)])),
            ("bytes=0-1,5-", Ok(vec![(0, 1), (5, 10)])),
            ("bytes=5-1000", Ok(vec![(5, 10)])),
            ("bytes=0-,1-,2-,3-,4-", Err(Ranges::None)),
            ("bytes=0-9", Ok(vec![(0, 9)])),
            ("bytes=0-10", Ok(vec![(0, 10)])),
            ("bytes=0-11", Ok(vec![(0, 10)])),
            ("bytes=10-11", Ok(vec![(10, 10)])),
            ("bytes=10-", Ok(vec![(10, 10)])),
            ("bytes=11-", unsatisfiable()),
            ("bytes=11-12", unsatisfiable()),
            ("bytes=12-12", unsatisfiable()),
            ("bytes=11-100", unsatisfiable()),
            ("bytes=12-100", unsatisfiable()),
            ("bytes=100-", unsatisfiable()),
            ("bytes=100-1000", unsatisfiable()),
        ] {
            assert_eq!(ranges(field, 11), expected, "{field}");
        }
    }

    #[test]
    fn invalid_and_wasteful_fields_are_ignored() {
        for (field, length, expected) in [
            ("bytes", 10, Err(Ranges::None)),
            ("bytes=", 10, Err(Ranges::None)),
            ("bytes=,", 10, Err(Ranges::None)),
            ("items=0-1", 10, Err(Ranges::None)),
            ("bytes 0-1", 10, Err(Ranges::None)),
            ("bytes=1", 10, Err(Ranges::None)),
            ("bytes=-", 10, Err(Ranges::None)),
            ("bytes=--1", 10, Err(Ranges::None)),
            ("bytes=3-2", 10, Err(Ranges::None)),
            ("bytes=a-2", 10, Err(Ranges::None)),
            ("bytes=0-b", 10, Err(Ranges::None)),
            ("bytes=+1-2", 10, Err(Ranges::None)),
            ("bytes=0 - 1", 10, Err(Ranges::None)),
            ("bytes=0-1,x", 10, Err(Ranges::None)),
            ("bytes=0-9,0-9", 10, Err(Ranges::None)),
            ("bytes=0-5,0-5", 10, Err(Ranges::None)),
            ("BYTES=0-1", 10, Ok(vec![(0, 1)])),
            ("bytes= 0-1 ,\t,3-3,", 10, Ok(vec![(0, 1), (3, 3)])),
            ("bytes=0-1,20-30", 10, Ok(vec![(0, 1)])),
            ("bytes=0-99999999999999999999999", 10, Ok(vec![(0, 9)])),
            ("bytes=-99999999999999999999999", 10, Ok(vec![(0, 9)])),
            (
                "bytes=99999999999999999999999-",
                10,
                Err(Ranges::Unsatisfiable),
            ),
            ("bytes=0-", u64::MAX, Ok(vec![(0, u64::MAX - 1)])),
            ("bytes=-0", 10, Err(Ranges::Unsatisfiable)),
            ("bytes=0-", 0, Err(Ranges::Unsatisfiable)),
            ("bytes=-0", 0, Err(Ranges::Unsatisfiable)),
            ("bytes=-1", 0, Err(Ranges::None)),
        ] {
            assert_eq!(ranges(field, length), expected, "{field} of {length}");
        }
    }

    #[test]
    fn neighbours_are_one_part_and_the_order_is_kept() {
        for (field, expected) in [
            ("bytes=0-1,2-3", vec![(0, 3)]),
            ("bytes=0-3,2-5", vec![(0, 5)]),
            ("bytes=0-5,2-3", vec![(0, 5)]),
            ("bytes=0-1,3-4", vec![(0, 1), (3, 4)]),
            ("bytes=5-6,0-1", vec![(5, 6), (0, 1)]),
            ("bytes=5-6,5-5,7-", vec![(5, 9)]),
        ] {
            assert_eq!(ranges(field, 10), Ok(expected), "{field}");
        }
    }

    #[test]
    fn sixteen_ranges_are_the_most() {
        let field = |count: u64| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 3)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert_eq!(ranges(&field(16), 100).map(|ranges| ranges.len()), Ok(16));
        assert_eq!(ranges(&field(17), 100), Err(Ranges::None));
        // Those that do not overlap the representation count, too.
        assert_eq!(ranges(&field(17), 1), Err(Ranges::None));
    }

    #[test]
    fn content_range_names_the_part_and_the_whole() {
        let range = ByteRange {
            first: 42,
            last: 1233,
        };
        assert_eq!(range.content_range(1234), "bytes 42-1233/1234");
        assert_eq!(range.len(), 1192);
        assert_eq!(unsatisfied(1234), "bytes */1234");
    }
}
