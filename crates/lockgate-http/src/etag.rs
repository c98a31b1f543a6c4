//! Entity tags (RFC 9110 §8.8.3): validators that name one version of a representation.

use crate::rules::grammar::trim_whitespace;

/// A parsed entity tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it is marked with `W/`.
    pub is_weak: bool,
    /// What is between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The tag that is the whole of `value`, the value of an ETag field; `None` if it is not valid.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        match Self::first(trim_whitespace(value))? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// The tag at the start of `text`, and what follows it.
    fn first(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (is_weak, quoted) = match text.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, text),
        };
        let content = quoted.strip_prefix(b"\"")?;
        let end = content.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = (&content[..end], &content[end + 1..]);
        let is_valid = opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        is_valid.then_some((Self { is_weak, opaque }, rest))
    }

    /// Strong comparison (RFC 9110 §8.8.3.2): both are strong, and equal.
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2): equal, whether weak or strong.
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The tags of a list: the value of If-Match or If-None-Match that is not `*`. It ends at the first one that is not
/// valid, as Go's does.
pub fn parse_list(value: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        // Empty elements do not count (RFC 9110 §5.6.1.2).
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let Some((tag, after)) = EntityTag::first(rest) else {
            rest = b"";
            return None;
        };
        let after = trim_whitespace(after);
        rest = if matches!(after, [] | [b',', ..]) {
            after
        } else {
            b""
        };
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(value: &str) -> Vec<String> {
        let text = |tag: EntityTag<'_>| {
            let mark = if tag.is_weak { "W/" } else { "" };
            format!("{mark}{}", String::from_utf8_lossy(tag.opaque))
        };
        parse_list(value.as_bytes()).map(text).collect()
    }

    #[test]
    fn a_tag_is_quoted_and_may_be_weak() {
        let strong = |opaque| {
            Some(EntityTag {
                is_weak: false,
                opaque,
            })
        };
        let weak = |opaque| {
            Some(EntityTag {
                is_weak: true,
                opaque,
            })
        };
        let cases: [(&[u8], Option<EntityTag<'_>>); 13] = [
            (b"\"a\"", strong(b"a")),
            (b" W/\"a\"\t", weak(b"a")),
            (b"\"\"", strong(b"")),
            (b"\"a,b\\\"", strong(b"a,b\\")),
            (b"\"\xe9\"", strong(b"\xe9")),
            (b"w/\"a\"", None),
            (b"W\"a\"", None),
            (b"a", None),
            (b"\"a", None),
            (b"\"a b\"", None),
            (b"\"a\x7f\"", None),
            (b"\"a\"b", None),
            (b"*", None),
        ];
        for (value, tag) in cases {
            assert_eq!(EntityTag::parse(value), tag, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_list_ends_at_what_is_not_a_tag() {
        for (value, expected) in [
            ("", &[][..]),
            ("\"a\"", &["a"]),
            ("\"a\", W/\"b\"\t,,\"c,d\" ", &["a", "W/b", "c,d"]),
            (" , \"a\"", &["a"]),
            ("a, \"b\"", &[]),
            ("\"a\" b, \"c\"", &["a"]),
            ("\"a\", b, \"c\"", &["a"]),
            ("\"a", &[]),
        ] {
            assert_eq!(tags(value), expected, "{value}");
        }
    }

    #[test]
    fn comparisons_are_those_of_the_table_in_rfc_9110() {
        for (one, other, is_strong, is_weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let [one, other] = [one, other].map(|tag| EntityTag::parse(tag.as_bytes()).unwrap());
            assert_eq!(one.strong_eq(&other), is_strong);
            assert_eq!(other.strong_eq(&one), is_strong);
            assert_eq!(one.weak_eq(&other), is_weak);
        }
    }
}
