//! Encoder of header blocks, without state: the dynamic table stays empty.
//!
//! Texts are not Huffman coded: that saves a third of the bytes of a head, and costs more time than sending them.

use super::{integer, static_table};

/// The representations of RFC 7541 §6 that are used, above their prefix.
const INDEXED: u8 = 0x80;
const LITERAL_WITHOUT_INDEXING: u8 = 0x00;
const TABLE_SIZE_UPDATE: u8 = 0x20;

/// Sets the maximum size of the dynamic table to 0.
///
/// It is necessary once, at the beginning of the next block, when the peer has set SETTINGS_HEADER_TABLE_SIZE below
/// the initial 4096 (RFC 7541 §4.2). After that each value of the peer fits.
pub fn encode_empty_table(out: &mut Vec<u8>) {
    out.push(TABLE_SIZE_UPDATE);
}

/// Writes the pseudo-header field `:status`.
pub fn encode_status(status: u16, out: &mut Vec<u8>) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            let digits = [status / 100, status / 10 % 10, status % 10]
                .map(|digit| b'0' + (digit % 10) as u8);
            out.extend_from_slice(&[LITERAL_WITHOUT_INDEXING | 8, 3]);
            out.extend_from_slice(&digits);
            return;
        }
    };
    out.push(INDEXED | index);
}

/// Writes a field; the name in lower case.
pub fn encode_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match static_table::find_name(name) {
        Some(index) => integer::encode(index.into(), 4, LITERAL_WITHOUT_INDEXING, out),
        None => {
            out.push(LITERAL_WITHOUT_INDEXING);
            integer::encode(name.len(), 7, 0, out);
            let start = out.len();
            out.extend_from_slice(name);
            out[start..].make_ascii_lowercase();
        }
    }
    integer::encode(value.len(), 7, 0, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_byte_where_the_static_table_has_it() {
        for status in 100..600 {
            let mut out = Vec::new();
            encode_status(status, &mut out);
            match out[..] {
                [byte] => {
                    let field = static_table::field(usize::from(byte & 0x7f));
                    let text = status.to_string();
                    assert_eq!(field, Some((&b":status"[..], text.as_bytes())));
                }
                [0x08, 3, ref digits @ ..] => assert_eq!(digits, status.to_string().as_bytes()),
                _ => panic!("{status}: {out:x?}"),
            }
        }
    }

    #[test]
    fn names_are_written_in_lower_case_and_values_as_they_are() {
        for (name, value, expected) in [
            ("Age", "1 Day", &b"\x0f\x06\x051 Day"[..]),
            ("X-Ab", "", b"\x00\x04x-ab\x00"),
            ("", "C", b"\x00\x00\x01C"),
        ] {
            let mut out = Vec::new();
            encode_field(name.as_bytes(), value.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }
}
