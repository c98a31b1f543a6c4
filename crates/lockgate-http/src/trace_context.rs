//! Trace Context (W3C Recommendation of 2021-11-23 and the draft of level 2): the fields `traceparent` and `tracestate`.
//!
//! A malformed `traceparent` is no error: the trace begins here.

use crate::hex;
use crate::rules::grammar::trim_whitespace;

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
pub const TRACEPARENT_LENGTH: usize = 55;

/// More list members than this are not passed on (§3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// The flag `sampled` (§3.2.2.5.1).
pub const SAMPLED: u8 = 1;
/// The flag `random` of level 2: the last seven bytes of the trace id are random.
pub const RANDOM: u8 = 2;

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// Not 0.
    pub trace_id: u128,
    /// The span of the sender; not 0.
    pub span_id: u64,
    /// Those flags that are known: [`SAMPLED`] and [`RANDOM`].
    pub flags: u8,
}

impl TraceParent {
    /// Reads a value; `None` if it is malformed. A later version may have more behind what version 00 has (§4.3).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(TRACEPARENT_LENGTH)?;
        let version = number(&known[..2])?;
        match version {
            0xff => return None,
            0 if !rest.is_empty() => return None,
            _ if !matches!(rest, [] | [b'-', ..]) => return None,
            _ => {}
        }
        if [known[2], known[35], known[52]] != *b"---" {
            return None;
        }
        let parent = Self {
            trace_id: number(&known[3..35])?,
            span_id: u64::try_from(number(&known[36..52])?).ok()?,
            flags: (number(&known[53..])? as u8) & (SAMPLED | RANDOM),
        };
        (parent.trace_id != 0 && parent.span_id != 0).then_some(parent)
    }

    /// The value of the field.
    #[inline]
    pub fn encode(&self) -> [u8; TRACEPARENT_LENGTH] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        value[3..35].copy_from_slice(&hex::encode_128(self.trace_id));
        value[36..52].copy_from_slice(&hex::encode_64(self.span_id));
        value[54] = b'0' + (self.flags & (SAMPLED | RANDOM));
        value
    }

    /// Whether the sender records its part of the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Digits in lower case only (§3.2.2).
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// Whether the fields `tracestate` of a request, in their order, are one valid list (§3.3.1): at most 32 members, each
/// `key=value`, no key twice. Empty members are allowed.
pub fn is_valid_tracestate<'v>(fields: impl Iterator<Item = &'v [u8]>) -> bool {
    let mut keys: [&[u8]; MOST_MEMBERS] = [b""; MOST_MEMBERS];
    let members = fields.flat_map(|field| field.split(|byte| *byte == b','));
    let members = members
        .map(trim_whitespace)
        .filter(|member| !member.is_empty());
    for (count, member) in members.enumerate() {
        let Some(end) = member.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (key, value) = (&member[..end], &member[end + 1..]);
        let is_new = count < MOST_MEMBERS && !keys[..count].contains(&key);
        if !is_new || !is_key(key) || !is_value(value) {
            return false;
        }
        keys[count] = key;
    }
    true
}

/// By the grammar of level 2 (§3.3.1.3.1), which has all keys of level 1.
fn is_key(key: &[u8]) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_char = |byte: u8| is_first(byte) || b"_-*/@".contains(&byte);
    let first = key.first().copied();
    first.is_some_and(is_first) && key.len() <= 256 && key.iter().all(|byte| is_char(*byte))
}

/// Up to 256 printable characters but `,` and `=`, the last one no space (§3.3.1.3.2); here the spaces are gone already.
fn is_value(value: &[u8]) -> bool {
    let is_char = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x1234_5678_9012_3456_7890_1234_5678_9012;
    const SPAN: u64 = 0x1234_5678_9012_3456;

    /// The cases of §3.2 and §4.3; `12345678901234567890123456789012` and `1234567890123456` are valid ids.
    #[test]
    fn a_traceparent_is_read_or_the_trace_restarts() {
        let with = |flags| {
            Some(TraceParent {
                trace_id: TRACE,
                span_id: SPAN,
                flags,
            })
        };
        let cases = [
            (
                "00-12345678901234567890123456789012-1234567890123456-00",
                with(0),
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-01",
                with(1),
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-02",
                with(2),
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-03",
                with(3),
            ),
            // Unknown flags are ignored.
            (
                "00-12345678901234567890123456789012-1234567890123456-ff",
                with(3),
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-08",
                with(0),
            ),
            // Later versions.
            (
                "cc-12345678901234567890123456789012-1234567890123456-01",
                with(1),
            ),
            (
                "cc-12345678901234567890123456789012-1234567890123456-01-what",
                with(1),
            ),
            (
                "cc-12345678901234567890123456789012-1234567890123456-01-",
                with(1),
            ),
            (
                "cc-12345678901234567890123456789012-1234567890123456-01.what",
                None,
            ),
            (
                "01-12345678901234567890123456789012-1234567890123456-0",
                None,
            ),
            // Version ff is not allowed, and 00 has nothing behind it.
            (
                "ff-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-01-what",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-01-",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-01.",
                None,
            ),
            // Characters and lengths of the version.
            (
                ".0-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "0.-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "0G-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "000-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "0-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "CC-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            // Of the trace id.
            (
                "00-00000000000000000000000000000000-1234567890123456-01",
                None,
            ),
            (
                "00-.2345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "00-1234567890123456789012345678901.-1234567890123456-01",
                None,
            ),
            (
                "00-123456789012345678901234567890123-1234567890123456-01",
                None,
            ),
            (
                "00-1234567890123456789012345678901-1234567890123456-01",
                None,
            ),
            (
                "00-ABCDEF78901234567890123456789012-1234567890123456-01",
                None,
            ),
            // Of the parent id.
            (
                "00-12345678901234567890123456789012-0000000000000000-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-.234567890123456-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-123456789012345.-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-12345678901234567-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-123456789012345-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-ABCDEF7890123456-01",
                None,
            ),
            // Of the flags.
            (
                "00-12345678901234567890123456789012-1234567890123456-.0",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-0.",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-001",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-1",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-0A",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456-",
                None,
            ),
            // Delimiters.
            (
                "00_12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012_1234567890123456-01",
                None,
            ),
            (
                "00-12345678901234567890123456789012-1234567890123456_01",
                None,
            ),
            ("00-12345678901234567890123456789012-1234567890123456", None),
            ("00-12345678901234567890123456789012", None),
            ("", None),
            (
                "é0-12345678901234567890123456789012-1234567890123456-01",
                None,
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(TraceParent::parse(value.as_bytes()), expected, "{value}");
            if let Some(parent) = expected {
                let own = format!("00-{TRACE:032x}-{SPAN:016x}-{:02x}", parent.flags);
                assert_eq!(parent.encode(), own.as_bytes());
            }
        }
    }

    #[test]
    fn a_tracestate_is_one_list_of_members() {
        let members = |count: usize| {
            let members = (0..count).map(|index| format!("k{index}=1"));
            members.collect::<Vec<_>>().join(",")
        };
        let (most, too_many) = (members(32), members(33));
        let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
        let (longest, long_key, long_value) = (long(256, 256), long(257, 1), long(1, 257));
        let tenant = format!("{}@v=1", "t".repeat(241));
        let cases: [(&[&str], bool); 40] = [
            (&["foo=1"], true),
            (&["foo=1,bar=2"], true),
            (&["foo=1", "bar=2"], true),
            (&["rojo=1,congo=2", "baz=3"], true),
            (&["foo=1 \t , \t bar=2, \t baz=3"], true),
            (&["foo=1\t,bar=2"], true),
            (&[""], true),
            (&["foo=1", ""], true),
            (&["foo=1,"], true),
            (&["foo=1,,bar=2", ","], true),
            (&[&most], true),
            (&[&too_many], false),
            (&[&most, "foo=1"], false),
            (&["foo=1,foo=1"], false),
            (&["foo=1,foo=2"], false),
            (&["foo=1", "foo=2"], false),
            (&[&longest], true),
            (&[&long_key], false),
            (&[&long_value], false),
            (&[&tenant], true),
            (&["foo@=1"], true),
            (&["t@v=1"], true),
            (&["0t@v=1"], true),
            (&["1a=1"], true),
            (&["@foo=1"], false),
            (&["foo =1"], false),
            (&["FOO=1"], false),
            (&["foo.bar=1"], false),
            (&["foo@bar@baz=1"], true),
            (&["a_-*/b=1"], true),
            (&["_a=1"], false),
            (&["foo"], false),
            (&["foo=", "bar=3"], false),
            (&["foo=bar=baz"], false),
            (&["foo=,bar=3"], false),
            (&["=1"], false),
            (&["foo=a b"], true),
            (&["foo= a"], true),
            (&["foo=\u{7f}"], false),
            (&["foo=é"], false),
        ];
        for (fields, is_valid) in cases {
            let found = is_valid_tracestate(fields.iter().map(|field| field.as_bytes()));
            assert_eq!(found, is_valid, "{fields:?}");
        }
    }
}
