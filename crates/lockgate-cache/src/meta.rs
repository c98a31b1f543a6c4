//! What the store keeps beside the body of a response, and the other kind of entry: the fields that a response varies on.
//!
//! The bytes are read only by programs that agree on [`FORMAT`]; other bytes are no entry.

use std::borrow::Cow;

use lockgate_http::conditional::Validators;
use lockgate_http::{ResponseHead, http_date};

use crate::fields::listed_fields;
use crate::freshness::Freshness;
use crate::tags;
use crate::vary::{Variants, Vary};

/// Changes with the layout of the bytes.
const FORMAT: u8 = 1;
const RESPONSE: u8 = b'R';
const VARIANTS: u8 = b'V';

/// An entry of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A response.
    Response(Meta<'a>),
    /// The response varies: it is at a [secondary key](crate::key::secondary).
    Variants(Variants),
}

/// The head of a stored response, and how long it may be used. Decoding allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta<'a> {
    /// The status.
    pub status: u16,
    /// How long it may be used.
    pub freshness: Freshness,
    reason: Cow<'a, [u8]>,
    /// Each with LF behind it.
    tags: Cow<'a, [u8]>,
    /// `Name: value`, each with LF behind it.
    lines: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    /// Reads the bytes of an entry; `None` if they are not one.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [FORMAT, RESPONSE, rest @ ..] => Meta::read(Reader(rest)).map(Entry::Response),
            [FORMAT, VARIANTS, rest @ ..] => {
                let (id, list) = rest.split_first_chunk()?;
                Some(Entry::Variants(Variants {
                    id: u64::from_le_bytes(*id),
                    vary: Vary::from_bytes(list),
                }))
            }
            _ => None,
        }
    }
}

impl Variants {
    /// The bytes of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, VARIANTS];
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(self.vary.as_bytes());
        bytes
    }
}

impl Meta<'static> {
    /// What is stored of a response.
    ///
    /// Left out are Age and Content-Length, which each use adds as they are then, the tags, and the fields that
    /// `no-cache="…"` and `private="…"` list. A Date is added if there is none.
    pub fn new(response: &ResponseHead, freshness: Freshness) -> Self {
        let mut lines = Vec::with_capacity(256);
        let mut has_date = false;
        let listed: Vec<&[u8]> = listed_fields(response).collect();
        for (name, value) in response.headers() {
            has_date |= name.eq_ignore_ascii_case(b"date");
            let is_listed = listed.iter().any(|other| name.eq_ignore_ascii_case(other));
            if !is_listed && !is_left_out(name) {
                push_line(&mut lines, name, value);
            }
        }
        if !has_date {
            push_line(&mut lines, b"Date", &http_date::format(freshness.date));
        }
        let mut tags = Vec::new();
        for tag in tags::of(response) {
            tags.extend_from_slice(tag);
            tags.push(b'\n');
        }
        Self {
            status: response.status(),
            freshness,
            reason: Cow::Owned(response.reason().to_vec()),
            tags: Cow::Owned(tags),
            lines: Cow::Owned(lines),
        }
    }
}

impl<'a> Meta<'a> {
    /// The bytes of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let Freshness {
            ttl,
            stale_while_revalidate,
            stale_if_error,
            must_revalidate,
            no_cache,
            has_validator,
            date,
            initial_age,
            stored,
        } = self.freshness;
        let mut bytes = Vec::with_capacity(80 + self.tags.len() + self.lines.len());
        bytes.extend_from_slice(&[FORMAT, RESPONSE]);
        bytes.extend_from_slice(&self.status.to_le_bytes());
        for flag in [must_revalidate, no_cache, has_validator] {
            bytes.push(u8::from(flag));
        }
        for number in [
            ttl,
            stale_while_revalidate,
            stale_if_error,
            date,
            initial_age,
            stored,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for part in [&self.reason, &self.tags] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&self.lines);
        bytes
    }

    /// Reads the bytes of a response; `None` if they are not one.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        match Entry::decode(bytes)? {
            Entry::Response(meta) => Some(meta),
            Entry::Variants(_) => None,
        }
    }

    fn read(mut reader: Reader<'a>) -> Option<Self> {
        Some(Self {
            status: u16::from_le_bytes(reader.array()?),
            freshness: {
                let [must_revalidate, no_cache, has_validator] =
                    reader.array()?.map(|flag: u8| flag != 0);
                Freshness {
                    ttl: reader.number()?,
                    stale_while_revalidate: reader.number()?,
                    stale_if_error: reader.number()?,
                    must_revalidate,
                    no_cache,
                    has_validator,
                    date: reader.number()?,
                    initial_age: reader.number()?,
                    stored: reader.number()?,
                }
            },
            reason: Cow::Borrowed(reader.part()?),
            tags: Cow::Borrowed(reader.part()?),
            lines: Cow::Borrowed(reader.0),
        })
    }

    /// A copy that does not borrow the bytes of the entry.
    pub fn into_owned(self) -> Meta<'static> {
        Meta {
            status: self.status,
            freshness: self.freshness,
            reason: Cow::Owned(self.reason.into_owned()),
            tags: Cow::Owned(self.tags.into_owned()),
            lines: Cow::Owned(self.lines.into_owned()),
        }
    }

    /// The fields in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        lines(&self.lines)
    }

    /// The value of the first field with that name, case-insensitive.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The reason phrase.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The tags, as [`tags::of`] has them.
    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        self.tags
            .split(|&byte| byte == b'\n')
            .filter(|tag| !tag.is_empty())
    }

    /// The validators, for [`conditional`](lockgate_http::conditional).
    pub fn validators(&self) -> Validators<'_> {
        Validators {
            etag: self.header("etag"),
            last_modified: self.header("last-modified").and_then(http_date::parse),
        }
    }

    /// Writes the head of the stored response as it is sent at `now`: with its Age.
    pub fn write_head(&self, head: &mut ResponseHead, now: u64) {
        head.clear();
        // What was valid in the application's response is valid here.
        let _ = head.set_status(self.status, &self.reason);
        for (name, value) in self.headers() {
            let _ = head.push(name, value);
        }
        let _ = head.push(b"Age", self.freshness.age(now).to_string().as_bytes());
    }

    /// Sets the fields: lines of [`push_line`].
    pub(crate) fn replace_lines(&mut self, lines: Vec<u8>) {
        self.lines = Cow::Owned(lines);
    }
}

/// Fields that are made for each use, or are not for clients. Upgrade is about one connection.
pub(crate) fn is_left_out(name: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"age", b"content-length", b"upgrade"];
    names.iter().any(|other| name.eq_ignore_ascii_case(other)) || tags::separator(name).is_some()
}

/// Appends a line.
pub(crate) fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    lines.extend_from_slice(name);
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.push(b'\n');
}

fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line.get(colon + 2..)?))
    })
}

/// The bytes that are left to decode.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::{lines, response};

    const FRESHNESS: Freshness = Freshness {
        ttl: 60,
        stale_while_revalidate: 1,
        stale_if_error: 2,
        must_revalidate: true,
        no_cache: false,
        has_validator: true,
        date: 784_111_777,
        initial_age: 3,
        stored: 784_111_780,
    };

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let head = response(
            200,
            &[
                ("Content-Type", "text/html"),
                ("X-Empty", ""),
                ("X-Colon", "a: b:c"),
                ("Cache-Tag", "a, b c"),
                ("Surrogate-Key", "d a"),
                ("ETag", "\"x\""),
            ],
        );
        let meta = Meta::new(&head, FRESHNESS);
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Some(meta.clone()));
        assert_eq!(
            Meta::decode(&bytes).map(Meta::into_owned),
            Some(meta.clone())
        );
        assert_eq!(meta.tags().collect::<Vec<_>>(), [&b"a"[..], b"b c", b"d"]);
        assert_eq!(meta.header("x-colon"), Some(&b"a: b:c"[..]));
        for length in 0..bytes.len() {
            let cut = Meta::decode(&bytes[..length]);
            assert!(cut.is_none() || cut.is_some_and(|cut| cut != meta));
        }
        let variants = Variants {
            id: 7,
            vary: Vary::from_bytes(b"a,b,"),
        };
        assert_eq!(
            Entry::decode(&variants.encode()),
            Some(Entry::Variants(variants.clone()))
        );
        assert_eq!(Meta::decode(&variants.encode()), None);
        assert_eq!(Entry::decode(b""), None);
        assert_eq!(Entry::decode(b"\x02R"), None);
    }

    #[test]
    fn what_belongs_to_one_use_is_not_stored() {
        let head = response(
            200,
            &[
                ("Age", "3"),
                ("Content-Length", "5"),
                ("Cache-Tag", "a"),
                ("Surrogate-Key", "b"),
                ("Connection", "close"),
                ("Proxy-Authenticate", "Basic"),
                (
                    "Cache-Control",
                    "max-age=9, no-cache=\"x-a, X-B\", private=\"X-C\"",
                ),
                ("X-A", "1"),
                ("X-B", "2"),
                ("X-C", "3"),
                ("X-D", "4"),
            ],
        );
        let mut sent = response(500, &[("X", "y")]);
        Meta::new(&head, FRESHNESS).write_head(&mut sent, FRESHNESS.stored + 10);
        assert_eq!((sent.status(), sent.reason()), (200, &b"Reason"[..]));
        let expected = "Cache-Control: max-age=9, no-cache=\\\"x-a, X-B\\\", private=\\\"X-C\\\"\nX-D: 4\n\
                        Date: Sun, 06 Nov 1994 08:49:37 GMT\nAge: 13\n";
        assert_eq!(lines(&sent), expected);
    }

    #[test]
    fn a_date_of_the_application_stays() {
        let head = response(200, &[("Date", "Sun, 06 Nov 1994 08:49:00 GMT")]);
        let mut sent = ResponseHead::default();
        Meta::new(&head, FRESHNESS).write_head(&mut sent, FRESHNESS.stored);
        assert_eq!(
            lines(&sent),
            "Date: Sun, 06 Nov 1994 08:49:00 GMT\nAge: 3\n"
        );
    }
}
