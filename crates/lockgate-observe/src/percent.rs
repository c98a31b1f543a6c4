//! Percent-decoding of a path, byte by byte. Slashes and dots are decoded like any other byte.
//!
//! Invariant: a malformed escape stays as it was sent, as it does in `PATH_INFO`.

/// The bytes of a percent-encoded path, decoded while they are read.
#[derive(Clone)]
pub(crate) struct PercentDecoded<'a> {
    rest: &'a [u8],
}

impl<'a> PercentDecoded<'a> {
    pub(crate) fn new(encoded: &'a [u8]) -> Self {
        Self { rest: encoded }
    }
}

impl Iterator for PercentDecoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.rest
            && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
        {
            self.rest = rest;
            return Some(high << 4 | low);
        }
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }
}

pub(crate) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_escapes_are_decoded_once_and_the_others_stay() {
        let table: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b"/plain", b"/plain"),
            (b"/a%20b%0a%0D", b"/a b\n\r"),
            (b"/%e6%97%A5", "/日".as_bytes()),
            (b"/%2520", b"/%20"),
            (b"/%", b"/%"),
            (b"/%4", b"/%4"),
            (b"/%zz%41", b"/%zzA"),
            (b"/%%41", b"/%A"),
        ];
        for (encoded, expected) in table {
            assert_eq!(PercentDecoded::new(encoded).collect::<Vec<_>>(), *expected);
        }
    }
}
