//! Parser of the user name in an `Authorization: Basic` header (RFC 7617). The password is neither shown nor kept.
//!
//! Invariant: nothing is allocated; the name is decoded while it is read and ends before the first colon.

/// A user's name, read byte by byte.
#[derive(Clone)]
pub(crate) enum UserName<'a> {
    /// Known from another source.
    Plain(&'a [u8]),
    /// The base64 text up to the first colon.
    Encoded(Base64<'a>),
}

impl<'a> UserName<'a> {
    /// The user of an `Authorization` header; `None` unless it is well-formed Basic with a user name.
    ///
    /// A value without a colon gives none: it may be a secret in the wrong place.
    pub(crate) fn of_basic(authorization: &'a [u8]) -> Option<Self> {
        let (scheme, encoded) = authorization.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = Base64::new(encoded.trim_ascii())?;
        let is_credentials = decoded.clone().any(|byte| byte == b':');
        let has_user = decoded.clone().next() != Some(b':');
        (is_credentials && has_user).then_some(Self::Encoded(decoded))
    }
}

impl Iterator for UserName<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        match self {
            Self::Plain(rest) => {
                let (&byte, behind) = rest.split_first()?;
                *rest = behind;
                Some(byte)
            }
            Self::Encoded(decoded) => match decoded.next() {
                Some(b':') | None => {
                    *self = Self::Plain(b"");
                    None
                }
                byte => byte,
            },
        }
    }
}

/// Decodes base64 digits one byte at a time; bits that fill no byte are dropped.
#[derive(Clone)]
pub(crate) struct Base64<'a> {
    digits: &'a [u8],
    pending: u32,
    bits: u32,
}

impl<'a> Base64<'a> {
    /// Takes digits with or without padding; `None` if there are other bytes among them.
    fn new(encoded: &'a [u8]) -> Option<Self> {
        let length = encoded
            .iter()
            .position(|&byte| byte == b'=')
            .unwrap_or(encoded.len());
        let (digits, padding) = encoded.split_at(length);
        let is_padded = padding.len() < 3 && padding.iter().all(|&byte| byte == b'=');
        let is_whole = digits.len() % 4 != 1 && digits.iter().all(|&byte| sextet(byte).is_some());
        (is_padded && is_whole).then_some(Self {
            digits,
            pending: 0,
            bits: 0,
        })
    }
}

impl Iterator for Base64<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        while self.bits < 8 {
            let (&digit, rest) = self.digits.split_first()?;
            self.digits = rest;
            self.pending = (self.pending << 6 | sextet(digit)?) & 0xffff;
            self.bits += 6;
        }
        self.bits -= 8;
        Some((self.pending >> self.bits) as u8)
    }
}

fn sextet(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_only_from_a_well_formed_basic_header() {
        let table: &[(&[u8], Option<&[u8]>)] = &[
            (b"Basic YWxhZGRpbjpvcGVuc2VzYW1l", Some(b"aladdin")),
            (b"bAsIc   YWxhZGRpbjpvcGVuc2VzYW1l  ", Some(b"aladdin")),
            (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some(b"Aladdin")),
            (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", Some(b"Aladdin")),
            (b"Basic YTpiOmM=", Some(b"a")),
            (b"Basic OnB3", None),
            (b"Basic 4pyTOg==", Some("✓".as_bytes())),
            (b"Basic Pz8+Og==", Some(b"??>")),
            (b"Basic //79Og==", Some(b"\xff\xfe\xfd")),
            (b"Basic YQpiOg==", Some(b"a\nb")),
            (b"Basic c2VjcmV0", None),
            (b"Basic", None),
            (b"Basic ", None),
            (b"Basic YTpiOmM=x", None),
            (b"Basic YTp!", None),
            (b"Basic YTpiO===", None),
            (b"Basic YTpiO", None),
            (b"Bearer YTpi", None),
            (b"", None),
        ];
        for (header, expected) in table {
            let user = UserName::of_basic(header).map(Iterator::collect::<Vec<u8>>);
            assert_eq!(user.as_deref(), *expected, "for {}", header.escape_ascii());
        }
    }
}
