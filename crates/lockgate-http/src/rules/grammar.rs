//! The byte classes of RFC 9110 and RFC 3986, named after their tokens.

/// `tchar` (RFC 9110 §5.6.2): the bytes of methods, field names and other tokens.
pub(crate) const TCHAR: [bool; 256] = class(b"!#$%&'*+-.^_`|~");

/// The bytes allowed in a request target: visible ASCII except `#`.
///
/// RFC 3986 allows fewer, but browsers send `|`, `{`, `"` or `[` raw in queries (WHATWG URL), and no proxy reads a line
/// differently because of them. Readers differ on `#` and on bytes outside ASCII.
pub(crate) const TARGET: [bool; 256] = class(b"!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~");

/// `reg-name` (RFC 3986 §3.2.2) without `%`, which needs its two digits, and without the comma, which joins two hosts
/// into a list.
pub(crate) const REG_NAME: [bool; 256] = class(b"-._~!$&'()*+;=");

/// `tchar` as bits for field names: 0 not allowed, 1 allowed, 3 the underscore.
pub(crate) const FIELD_NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if byte == b'_' as usize {
            3
        } else {
            TCHAR[byte] as u8
        };
        byte += 1;
    }
    table
};

const fn class(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
}

/// Whether `bytes` is a `token`: one or more `tchar`.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    // No early exit: nearly all are tokens, and the loop is then half as long.
    let is_valid = |valid, &byte: &u8| valid & TCHAR[usize::from(byte)];
    !bytes.is_empty() && bytes.iter().fold(true, is_valid)
}

/// Whether all of `bytes` is allowed in a field value.
#[inline]
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    let is_printable = match bytes.last_chunk::<8>() {
        // The last eight bytes overlap those before them, so that there is no remainder.
        Some(last) => {
            let (words, _) = bytes.as_chunks::<8>();
            let hits = |hits, word: &[u8; 8]| hits | control_bytes(u64::from_le_bytes(*word));
            words.iter().fold(hits(0, last), hits) == 0
        }
        None => bytes.iter().all(|&byte| byte >= 0x20 && byte != 0x7f),
    };
    is_printable || field_value_length(bytes) == bytes.len()
}

/// How many bytes at the start of `bytes` are allowed in a field value: HTAB, SP, VCHAR and obs-text (RFC 9110 §5.5).
/// The next byte, if there is one, is CR, LF or forbidden.
// Never inlined: its loop needs more registers than the parser of heads has left.
#[inline(never)]
pub(crate) fn field_value_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        length += printable_length(&bytes[length..]);
        match bytes.get(length) {
            Some(b'\t') => length += 1,
            _ => return length,
        }
    }
}

/// How many bytes at the start of `bytes` are neither below 0x20 nor DEL, eight at a time.
#[inline]
fn printable_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let hits = control_bytes(u64::from_le_bytes(*word));
        if hits != 0 {
            return index * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let tail = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == 0x7f)
        .unwrap_or(rest.len());
    words.len() * 8 + tail
}

/// The high bit of each byte of `word` that is below 0x20 or DEL. Exact up to the first such byte, and so in whether
/// there is one: a borrow only runs from it into later bytes.
#[inline]
fn control_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = ONES * 0x80;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let no_delete = word ^ (ONES * 0x7f);
    let delete = no_delete.wrapping_sub(ONES) & !no_delete;
    (below_space | delete) & HIGH_BITS
}

/// `bytes` without SP and HTAB at both ends (`OWS`, RFC 9110 §5.6.3).
pub(crate) fn trim_whitespace(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|byte| !is_whitespace(*byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|byte| !is_whitespace(*byte))
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// SP or HTAB.
#[inline]
pub(crate) fn is_whitespace(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A decimal number: digits only, at least one. `Ok(None)` if it exceeds 64 bits.
// Never inlined: few requests have a number, and the parser of heads would be slower by 2%.
#[inline(never)]
pub(crate) fn parse_decimal(digits: &[u8]) -> Result<Option<u64>, NotDigits> {
    /// As many digits as always fit.
    const FITTING: usize = 19;
    let (first, rest) = digits.split_at(digits.len().min(FITTING));
    let mut number = 0_u64;
    let mut are_digits = !digits.is_empty();
    for byte in first {
        let digit = byte.wrapping_sub(b'0');
        are_digits &= digit <= 9;
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if !are_digits || !rest.iter().all(u8::is_ascii_digit) {
        return Err(NotDigits);
    }
    Ok(rest.iter().try_fold(number, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    }))
}

/// Not a number: empty, or with bytes other than digits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotDigits;

/// The value of a hexadecimal digit of either case.
#[inline]
pub(crate) fn hexadecimal_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_allowed_at_every_offset_of_a_value() {
        for byte in 0..=255_u8 {
            let is_allowed = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
            for (length, offset) in
                (1..=24).flat_map(|length| (0..length).map(move |at| (length, at)))
            {
                let mut value = vec![b'a'; length];
                value[offset] = byte;
                let expected = if is_allowed { length } else { offset };
                let case = format!("{byte:#x} at {offset} of {length}");
                assert_eq!(field_value_length(&value), expected, "{case}");
                assert_eq!(is_field_value(&value), is_allowed, "{case}");
            }
        }
        assert!(is_field_value(b""));
    }

    #[test]
    fn a_token_has_one_or_more_bytes_of_its_class() {
        for byte in 0..=255_u8 {
            let is_tchar = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            for (length, offset) in
                (1..=9).flat_map(|length| (0..length).map(move |at| (length, at)))
            {
                let mut name = vec![b'a'; length];
                name[offset] = byte;
                assert_eq!(
                    is_token(&name),
                    is_tchar,
                    "{byte:#x} at {offset} of {length}"
                );
            }
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn numbers_are_digits_only_and_checked() {
        assert_eq!(parse_decimal(b"18446744073709551615"), Ok(Some(u64::MAX)));
        assert_eq!(parse_decimal(b"18446744073709551616"), Ok(None));
        assert_eq!(parse_decimal(b"00000000000000000000003"), Ok(Some(3)));
        for text in ["", "+3", "-1", "0x3", "1_0", "3, 3", " 3", "3 ", "\u{663}"] {
            assert_eq!(parse_decimal(text.as_bytes()), Err(NotDigits), "{text:?}");
        }
    }

    #[test]
    fn white_space_is_trimmed_at_both_ends_only() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b" \ta b\t ", b"a b"),
            (b" \t ", b""),
            (b"", b""),
            (b"a", b"a"),
        ];
        for (raw, trimmed) in cases {
            assert_eq!(trim_whitespace(raw), trimmed);
        }
    }
}
