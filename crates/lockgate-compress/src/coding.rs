//! The content codings that the server offers (RFC 9110 §8.4.1).

use std::borrow::Cow;

use lockgate_http::RequestHead;
use lockgate_http::accept_encoding::{Choice, choose};

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// In the order in which the server prefers them: the first costs least, and the last is what every client decodes.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in Content-Encoding.
    pub fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The suffix of files in this coding, with its dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// The coding that the client prefers, if it accepts one.
    pub fn accepted(request: &RequestHead) -> Option<Self> {
        const OFFERED: [&[u8]; 3] = [b"zstd", b"br", b"gzip"];
        let field = joined(request, b"accept-encoding");
        match choose(field.as_deref(), &OFFERED) {
            Choice::Index(index) => Some(Self::ALL[index]),
            Choice::Identity | Choice::NotAcceptable => None,
        }
    }
}

/// All values of a field (RFC 9110 §5.3).
fn joined<'a>(request: &'a RequestHead, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut values = (request.headers())
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value);
    let mut joined = Cow::Borrowed(values.next()?);
    for value in values {
        let list = joined.to_mut();
        list.extend_from_slice(b", ");
        list.extend_from_slice(value);
    }
    Some(joined)
}
