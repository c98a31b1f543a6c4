//! What encoding changes in the head of a response.

use lockgate_http::ResponseHead;
use lockgate_http::etag::{EntityTag, parse_list};

use crate::coding::Coding;

/// Makes `head` that of the response in this coding.
pub fn apply_head(head: &mut ResponseHead, coding: Coding) {
    // The names and values below are valid.
    let _set = head.set(b"Content-Encoding", coding.token().as_bytes());
    add_vary(head);
    weaken_tag(head);
    head.remove(b"Content-Length");
    // Ranges would be those of the encoded bytes, which differ from response to response.
    head.remove(b"Accept-Ranges");
}

/// The response depends on what the client accepts, also where it is not encoded.
pub fn add_vary(head: &mut ResponseHead) {
    let _added = head.add_to_list(b"Vary", b"Accept-Encoding");
}

/// Marks a strong entity tag as weak: the encoded bytes are others than those that the application has given
/// (RFC 9110 §8.8.1). A tag that is not valid stays as it is. Returns whether the tag was strong.
pub fn weaken_tag(head: &mut ResponseHead) -> bool {
    let strong = head.header("etag").filter(|tag| tag.starts_with(b"\""));
    let Some(weak) = strong.map(|tag| [b"W/", tag].concat()) else {
        return false;
    };
    head.set(b"ETag", &weak).is_ok()
}

/// The tag in the value of If-None-Match that matches the tag of the response.
pub fn match_tag<'a>(if_none_match: &'a [u8], head: &ResponseHead) -> Option<EntityTag<'a>> {
    let own = EntityTag::parse(head.header("etag")?)?;
    parse_list(if_none_match).find(|tag| tag.weak_eq(&own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead::default();
        head.set_status(200, b"OK").unwrap();
        for (name, value) in fields {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn a_head_describes_the_encoded_response() {
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Fields<'_>, Fields<'_>); 6] = [
            (
                &[],
                &[("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")],
            ),
            (
                &[("Content-Length", "5000"), ("Accept-Ranges", "bytes")],
                &[("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")],
            ),
            (
                &[("vary", "Cookie"), ("etag", "\"a\"")],
                &[
                    ("vary", "Cookie, Accept-Encoding"),
                    ("etag", "W/\"a\""),
                    ("Content-Encoding", "gzip"),
                ],
            ),
            (
                &[("Vary", "accept-encoding"), ("ETag", "W/\"a\"")],
                &[
                    ("Vary", "accept-encoding"),
                    ("ETag", "W/\"a\""),
                    ("Content-Encoding", "gzip"),
                ],
            ),
            (
                &[("Vary", "*"), ("ETag", "a")],
                &[("Vary", "*"), ("ETag", "a"), ("Content-Encoding", "gzip")],
            ),
            (
                &[("Vary", "Cookie"), ("Vary", "Accept-Language")],
                &[
                    ("Vary", "Cookie"),
                    ("Vary", "Accept-Language, Accept-Encoding"),
                    ("Content-Encoding", "gzip"),
                ],
            ),
        ];
        for (fields, expected) in cases {
            let mut head = head(fields);
            apply_head(&mut head, Coding::Gzip);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let lines: Vec<_> = (head.headers())
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            let lines: Vec<_> = (lines.iter())
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(lines, expected, "{fields:?}");
            assert_eq!(head.content_length(), None);
        }
    }

    #[test]
    fn tags_are_compared_weakly() {
        for (if_none_match, tag, is_weak) in [
            ("W/\"a\"", "\"a\"", Some(true)),
            ("\"b\", \"a\"", "\"a\"", Some(false)),
            ("\"b\", W/\"a\"", "W/\"a\"", Some(true)),
            ("\"b\"", "\"a\"", None),
            ("*", "\"a\"", None),
            ("a", "a", None),
            ("", "\"a\"", None),
        ] {
            let head = head(&[("ETag", tag)]);
            let found = match_tag(if_none_match.as_bytes(), &head);
            assert_eq!(found.map(|tag| tag.is_weak), is_weak, "{if_none_match}");
        }
        assert_eq!(match_tag(b"\"a\"", &head(&[])), None);
    }
}
