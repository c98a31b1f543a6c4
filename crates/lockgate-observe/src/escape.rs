//! Escaping of values for log lines: any bytes in, printable ASCII out.
//!
//! Invariant: the output has no byte outside 0x20 to 0x7E, no bare `"` and no bare `\`.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The escaping that the format around a value requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `\xHH`, as nginx and Apache write it.
    Text,
    /// JSON string escapes, `\u00HH`: `\x` would make the whole line unreadable to a JSON parser.
    Json,
}

/// Appends `value` with every byte outside printable ASCII, and `"` and `\`, as `\xHH`: no value can forge a line.
pub fn escape_into(out: &mut Vec<u8>, value: &[u8]) {
    Escape::Text.slice(out, value);
}

impl Escape {
    /// Appends a value from memory; runs without escapes are copied whole.
    pub(crate) fn slice(self, out: &mut Vec<u8>, value: &[u8]) {
        let mut rest = value;
        loop {
            let clean = rest
                .iter()
                .position(|&byte| !is_clean(byte))
                .unwrap_or(rest.len());
            out.extend_from_slice(&rest[..clean]);
            rest = &rest[clean..];
            if rest.is_empty() {
                return;
            }
            let dirty = rest
                .iter()
                .position(|&byte| is_clean(byte))
                .unwrap_or(rest.len());
            self.bytes(out, rest[..dirty].iter().copied());
            rest = &rest[dirty..];
        }
    }

    /// Appends a value that is decoded while it is read, without allocation.
    pub(crate) fn bytes(self, out: &mut Vec<u8>, bytes: impl Iterator<Item = u8> + Clone) {
        match self {
            Self::Text => bytes.for_each(|byte| push_text(out, byte)),
            Self::Json => push_json(out, bytes),
        }
    }
}

fn is_clean(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

fn push_text(out: &mut Vec<u8>, byte: u8) {
    if is_clean(byte) {
        out.push(byte);
    } else {
        out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte)]);
    }
}

/// UTF-8 becomes its UTF-16 escapes, so a reader gets the character back and a terminal gets ASCII only
/// (C1 controls and bidirectional overrides included); a byte that is not UTF-8 is read as latin-1.
fn push_json(out: &mut Vec<u8>, mut bytes: impl Iterator<Item = u8> + Clone) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ if is_clean(byte) => out.push(byte),
            _ => {
                let character = character_at(byte, bytes.clone());
                for _ in 1..character.map_or(1, char::len_utf8) {
                    bytes.next();
                }
                let mut units = [0; 2];
                for unit in character
                    .unwrap_or(char::from(byte))
                    .encode_utf16(&mut units)
                {
                    let [high, low] = unit.to_be_bytes();
                    let digits = [hex(high >> 4), hex(high), hex(low >> 4), hex(low)];
                    out.extend_from_slice(b"\\u");
                    out.extend_from_slice(&digits);
                }
            }
        }
    }
}

/// The character whose UTF-8 form begins with `lead` and goes on in `rest`.
fn character_at(lead: u8, rest: impl Iterator<Item = u8>) -> Option<char> {
    let length = match lead {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut sequence = [lead, 0, 0, 0];
    for (place, byte) in sequence[1..length].iter_mut().zip(rest) {
        *place = byte;
    }
    std::str::from_utf8(&sequence[..length])
        .ok()?
        .chars()
        .next()
}

fn hex(nibble: u8) -> u8 {
    HEX[usize::from(nibble & 0x0f)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: Escape, value: &[u8]) -> String {
        let mut whole = Vec::new();
        escape.slice(&mut whole, value);
        let mut streamed = Vec::new();
        escape.bytes(&mut streamed, value.iter().copied());
        assert_eq!(whole, streamed, "both ways must agree on {value:?}");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn text_escapes_every_byte_that_could_forge_a_line() {
        let table: &[(&[u8], &str)] = &[
            (b"", ""),
            (b"plain ~text!", "plain ~text!"),
            (b"\"\\", r"\x22\x5c"),
            (b"a\r\nFAKE", r"a\x0d\x0aFAKE"),
            (b"\x1b[31m\x7f\0\t", r"\x1b[31m\x7f\x00\x09"),
            ("é".as_bytes(), r"\xc3\xa9"),
            (b"\x80\xff", r"\x80\xff"),
        ];
        for (value, expected) in table {
            assert_eq!(escaped(Escape::Text, value), *expected);
        }
    }

    #[test]
    fn json_reads_back_as_the_text_and_as_latin_1_where_it_is_no_utf_8() {
        let table: &[(&[u8], &str)] = &[
            (b"plain", "plain"),
            (b"\"\\/", "\"\\/"),
            (b"a\r\n\t\0\x1b\x7f", "a\r\n\t\0\x1b\x7f"),
            (
                "é 日本 \u{202e}\u{9b} 🚲".as_bytes(),
                "é 日本 \u{202e}\u{9b} 🚲",
            ),
            (b"\x80\xff", "\u{80}\u{ff}"),
            (b"\xe6\x97", "\u{e6}\u{97}"),
            (b"\xe6a\xc3\"", "\u{e6}a\u{c3}\""),
            (b"\xed\xa0\x80", "\u{ed}\u{a0}\u{80}"),
            (b"\xc0\xaf", "\u{c0}\u{af}"),
        ];
        for (value, expected) in table {
            let json = format!("\"{}\"", escaped(Escape::Json, value));
            assert!(
                json.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{json}"
            );
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), *expected);
        }
    }

    #[test]
    fn every_single_byte_stays_printable_in_both_ways() {
        for byte in 0..=255_u8 {
            for escape in [Escape::Text, Escape::Json] {
                let text = escaped(escape, &[byte]);
                assert!(
                    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                    "{byte:#x}"
                );
                assert!(!text.starts_with('"'), "{byte:#x} would leave its quotes");
            }
        }
    }
}
