//! Where a line ends.

/// Length of the first line with its newline, at most `limit`; the whole length when there is no newline.
pub(super) fn line_length(bytes: &[u8], limit: Option<usize>) -> usize {
    let within = &bytes[..limit.map_or(bytes.len(), |limit| limit.min(bytes.len()))];
    memchr::memchr(b'\n', within).map_or(within.len(), |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::line_length;

    #[test]
    fn a_line_ends_at_its_newline_its_limit_or_the_end() {
        let cases: [(&[u8], Option<usize>, usize); 7] = [
            (b"", None, 0),
            (b"ab", None, 2),
            (b"ab\ncd\n", None, 3),
            (b"ab\ncd\n", Some(2), 2),
            (b"ab\ncd\n", Some(3), 3),
            (b"ab\ncd\n", Some(0), 0),
            (b"\n", Some(9), 1),
        ];
        for (bytes, limit, expected) in cases {
            assert_eq!(line_length(bytes, limit), expected, "{bytes:?} {limit:?}");
        }
    }
}
