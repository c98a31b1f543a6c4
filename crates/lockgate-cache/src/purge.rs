//! Purges: what operators, the application and other servers remove from a cache, and their notation.
//!
//! In a request and between servers a purge is a field of a form: `url=https%3A%2F%2Fshop.example%2F`, `tag=news` or
//! `all`.

use std::error::Error;
use std::fmt;

use crate::key;

/// What is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// All responses for this URI.
    Url(Url),
    /// All responses with this tag.
    Tag(Vec<u8>),
    /// All responses.
    All,
}

/// The parts of a URI that keys are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path_and_query: String,
}

/// Why a text is no purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeError {
    /// The URL has no scheme that is cached.
    Scheme,
    /// It has no host, or one that no request has.
    Host,
    /// It has a control character.
    UrlCharacter,
    /// The tag is empty.
    NoTag,
    /// The tag has a control character.
    TagCharacter,
    /// The form has another field.
    Field,
    /// The form is empty.
    Nothing,
}

impl Purge {
    /// A purge of a URL, with scheme and host. Its characters are encoded as browsers do that.
    ///
    /// # Errors
    /// When no request has this URL.
    pub fn url(text: &str) -> Result<Self, PurgeError> {
        Url::parse(text).map(Self::Url)
    }

    /// A purge of a tag.
    ///
    /// # Errors
    /// When no response has this tag.
    pub fn tag(text: &str) -> Result<Self, PurgeError> {
        let tag = text.trim();
        if tag.is_empty() {
            return Err(PurgeError::NoTag);
        }
        match tag.chars().any(char::is_control) {
            true => Err(PurgeError::TagCharacter),
            false => Ok(Self::Tag(tag.as_bytes().to_vec())),
        }
    }

    /// The purges in a form, in their order.
    ///
    /// # Errors
    /// When a field is no purge, or there is none.
    pub fn parse(form: &[u8]) -> Result<Vec<Self>, PurgeError> {
        let fields = form.split(|&byte| byte == b'&');
        let purges = fields.filter(|field| !field.is_empty()).map(|field| {
            let equals = field.iter().position(|&byte| byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&field[..at], &field[at + 1..]),
                None => (field, &b""[..]),
            };
            let text = String::from_utf8(decoded(value));
            match (name, text) {
                (b"url", Ok(text)) => Self::url(&text),
                (b"tag", Ok(text)) => Self::tag(&text),
                (b"url", Err(_)) => Err(PurgeError::UrlCharacter),
                (b"tag", Err(_)) => Err(PurgeError::TagCharacter),
                (b"all", Ok(text)) if matches!(text.as_str(), "" | "1" | "true") => Ok(Self::All),
                _ => Err(PurgeError::Field),
            }
        });
        let purges = purges.collect::<Result<Vec<_>, _>>()?;
        match purges.is_empty() {
            true => Err(PurgeError::Nothing),
            false => Ok(purges),
        }
    }

    /// The purge as a field of a form.
    pub fn encode(&self) -> Vec<u8> {
        let (name, value) = match self {
            Self::Url(url) => ("url=", url.to_string().into_bytes()),
            Self::Tag(tag) => ("tag=", tag.clone()),
            Self::All => ("all", Vec::new()),
        };
        let mut field = name.as_bytes().to_vec();
        for byte in value {
            match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                true => field.push(byte),
                false => field.extend(format!("%{byte:02X}").bytes()),
            }
        }
        field
    }
}

impl Url {
    fn parse(text: &str) -> Result<Self, PurgeError> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(PurgeError::UrlCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(PurgeError::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(PurgeError::Scheme);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
        if host.is_empty() || host.starts_with(':') || !host.bytes().all(is_host) {
            return Err(PurgeError::Host);
        }
        let mut path_and_query = String::with_capacity(target.len());
        for character in target.chars() {
            match character.is_ascii_graphic() && !"\"<>`".contains(character) {
                true => path_and_query.push(character),
                false => {
                    let mut bytes = [0; 4];
                    for byte in character.encode_utf8(&mut bytes).bytes() {
                        path_and_query.push_str(&format!("%{byte:02X}"));
                    }
                }
            }
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            path_and_query,
        })
    }

    /// The primary key of the responses; see [`key::primary`].
    pub fn key(&self, ignore_query: &[String]) -> Vec<u8> {
        let target = self.path_and_query.as_bytes();
        key::primary(
            self.scheme.as_bytes(),
            self.host.as_bytes(),
            target,
            ignore_query,
        )
    }
}

/// The value of a field of a form: `+` is a space, `%XX` a byte.
fn decoded(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, others)) = rest.split_first() {
        rest = others;
        match first {
            b'%' => match encoded_byte(others) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &others[2..];
                }
                None => bytes.push(b'%'),
            },
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    bytes
}

/// The byte of the two hexadecimal digits at the start.
fn encoded_byte(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path_and_query)
    }
}

/// As messages name it.
impl fmt::Display for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Tag(tag) => write!(f, "the tag {}", String::from_utf8_lossy(tag)),
            Self::All => f.write_str("everything"),
        }
    }
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => {
                "the URL must begin with http:// or https:// and the host, such as https://shop.example/news"
            }
            Self::Host => {
                "the host of the URL must be as in requests: a name in ASCII or an address, without a user"
            }
            Self::UrlCharacter => "the URL must be text without control characters",
            Self::NoTag => "the tag must not be empty",
            Self::TagCharacter => "the tag must be text without control characters",
            Self::Field => "the fields are url=URL, tag=TAG and all",
            Self::Nothing => "nothing is named: give url=URL, tag=TAG or all",
        })
    }
}

impl Error for PurgeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(url: &str) -> Result<String, PurgeError> {
        match Purge::url(url)? {
            Purge::Url(url) => Ok(String::from_utf8(url.key(&["utm_*".to_owned()])).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_url_has_the_key_of_its_requests() {
        for (url, expected) in [
            ("https://shop.example", "https://shop.example/"),
            (
                "HTTPS://Shop.Example:443/A?b=C#d",
                "https://shop.example/A?b=C",
            ),
            ("http://h:8080/a?", "http://h:8080/a?"),
            ("http://h?a", "http://h/?a"),
            ("http://[::1]:80/", "http://[::1]/"),
            (" http://h/a b\u{e9} ", "http://h/a%20b%C3%A9"),
            ("http://h/%c3%a9", "http://h/%c3%a9"),
            ("http://h/?utm_source=x&a=1", "http://h/?a=1"),
        ] {
            assert_eq!(key(url).as_deref(), Ok(expected), "{url}");
        }
        for (url, error) in [
            ("/news", PurgeError::Scheme),
            ("shop.example/news", PurgeError::Scheme),
            ("ftp://h/", PurgeError::Scheme),
            ("http:///a", PurgeError::Host),
            ("http://:80/a", PurgeError::Host),
            ("http://me@h/", PurgeError::Host),
            ("http://b\u{fc}cher.example/", PurgeError::Host),
            ("http://h/a\nb", PurgeError::UrlCharacter),
        ] {
            assert_eq!(key(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_form_has_one_purge_or_more() {
        let tag = |text: &str| Purge::Tag(text.as_bytes().to_vec());
        let url = Purge::url("http://h/?a&b").unwrap();
        for (form, expected) in [
            ("tag=news", Ok(vec![tag("news")])),
            (
                "tag=front+page&&tag=a%2Cb%",
                Ok(vec![tag("front page"), tag("a,b%")]),
            ),
            ("url=http://h/%3Fa%26b&all", Ok(vec![url, Purge::All])),
            ("all=1", Ok(vec![Purge::All])),
            ("all=0", Err(PurgeError::Field)),
            ("tags=a", Err(PurgeError::Field)),
            ("tag=+", Err(PurgeError::NoTag)),
            ("tag=%00", Err(PurgeError::TagCharacter)),
            ("tag=%ff", Err(PurgeError::TagCharacter)),
            ("url=/a", Err(PurgeError::Scheme)),
            ("url=%ff", Err(PurgeError::UrlCharacter)),
            ("", Err(PurgeError::Nothing)),
            ("&", Err(PurgeError::Nothing)),
        ] {
            assert_eq!(Purge::parse(form.as_bytes()), expected, "{form}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed_as_the_same(text in "\\PC{1,40}") {
            let purges = [Purge::tag(&text), Purge::url(&format!("https://h/{text}"))];
            for purge in purges.into_iter().flatten() {
                prop_assert_eq!(Purge::parse(&purge.encode()), Ok(vec![purge]));
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(form in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _either = Purge::parse(&form);
        }
    }
}
