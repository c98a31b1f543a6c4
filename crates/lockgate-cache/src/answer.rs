//! The response to a request from what is stored: the whole, 304, a part of it, or a refusal (RFC 9111 §4.3.2, RFC 9110
//! §13, §14).

use lockgate_http::conditional::{Condition, Validators, evaluate, if_range_holds};
use lockgate_http::range::multipart::{self, Multipart};
use lockgate_http::range::{self, ByteRange, Ranges};
use lockgate_http::{RequestHead, ResponseHead, reason_phrase};

use crate::meta::Meta;

/// A response from the cache.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its head, without Content-Length.
    pub head: ResponseHead,
    /// Its body.
    pub body: AnswerBody,
}

/// Which part of the stored body is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerBody {
    /// Nothing, and the status has none or needs none: 304, 412, 416.
    Empty,
    /// Nothing, but the head is that of the whole: HEAD.
    Omitted,
    /// All of it.
    Whole,
    /// One part.
    Range(ByteRange),
    /// Several parts, with what goes between them.
    Ranges(Vec<ByteRange>, Multipart),
}

/// The response to `request` at `now` from an entry whose body has `length` bytes. `seed` is a random number, for the
/// boundary between several parts.
pub fn answer(request: &RequestHead, meta: &Meta<'_>, length: u64, now: u64, seed: u64) -> Answer {
    let mut head = ResponseHead::default();
    meta.write_head(&mut head, now);
    let is_head = request.method() == b"HEAD";
    let whole = if is_head {
        AnswerBody::Omitted
    } else {
        AnswerBody::Whole
    };
    // Conditions and ranges are about successful responses (RFC 9110 §13.2.1, §14.2).
    if !(200..300).contains(&meta.status) {
        return Answer { head, body: whole };
    }
    let stored = meta.validators();
    let validators = Validators {
        // RFC 9111 §4.3.2: without Last-Modified the Date is compared.
        last_modified: stored.last_modified.or(Some(meta.freshness.date)),
        ..stored
    };
    let body = match evaluate(request.method(), request, &validators, now) {
        Condition::NotModified => {
            become_not_modified(&mut head);
            AnswerBody::Empty
        }
        Condition::PreconditionFailed => {
            become_empty(&mut head, 412);
            AnswerBody::Empty
        }
        Condition::Proceed if is_head || meta.status != 200 => whole,
        Condition::Proceed => match ranges(request, &head, &stored, length, now) {
            Ranges::None => whole,
            Ranges::Unsatisfiable => {
                become_empty(&mut head, 416);
                let _ = head.set(b"Content-Range", range::unsatisfied(length).as_bytes());
                AnswerBody::Empty
            }
            Ranges::Satisfiable(ranges) => become_partial(&mut head, ranges, length, seed),
        },
    };
    Answer { head, body }
}

/// The parts that the request asks for. A response with Content-Range is a part itself, and has none.
fn ranges(
    request: &RequestHead,
    head: &ResponseHead,
    validators: &Validators<'_>,
    length: u64,
    now: u64,
) -> Ranges {
    let mut fields = request
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"range"));
    let (Some((_, field)), None) = (fields.next(), fields.next()) else {
        return Ranges::None;
    };
    let is_ignored = request.method() != b"GET"
        || head.header("content-range").is_some()
        || !if_range_holds(request, validators, now);
    if is_ignored {
        Ranges::None
    } else {
        range::parse(field, length)
    }
}

fn become_partial(
    head: &mut ResponseHead,
    ranges: Vec<ByteRange>,
    length: u64,
    seed: u64,
) -> AnswerBody {
    let _ = head.set_status(206, reason_phrase(206).as_bytes());
    if let [range] = ranges[..] {
        let _ = head.set(b"Content-Range", range.content_range(length).as_bytes());
        return AnswerBody::Range(range);
    }
    let parts = multipart::encode(&ranges, length, head.header("content-type"), seed);
    let _ = head.set(b"Content-Type", parts.content_type.as_bytes());
    AnswerBody::Ranges(ranges, parts)
}

/// A 304 has the fields that a cache updates with, and none about a body that it does not have (RFC 9110 §15.4.5).
fn become_not_modified(head: &mut ResponseHead) {
    let _ = head.set_status(304, reason_phrase(304).as_bytes());
    for name in [
        "Accept-Ranges",
        "Content-Encoding",
        "Content-Language",
        "Content-Range",
        "Content-Type",
    ] {
        head.remove(name.as_bytes());
    }
}

/// A refusal says nothing about the stored response.
fn become_empty(head: &mut ResponseHead, status: u16) {
    let date = head.header("date").map(<[u8]>::to_vec);
    head.clear();
    let _ = head.set_status(status, reason_phrase(status).as_bytes());
    if let Some(date) = date {
        let _ = head.push(b"Date", &date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::{lines, request, response};
    use crate::storing::storable;

    const NOW: u64 = 1_000_000_000;
    const MODIFIED: &str = "Sun, 09 Sep 2001 00:46:40 GMT";
    const DATE: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

    fn meta(status: u16, fields: &[(&str, &str)]) -> Meta<'static> {
        let mut all = vec![
            ("Cache-Control", "max-age=60"),
            ("Content-Type", "text/plain"),
        ];
        all.extend_from_slice(fields);
        let head = response(status, &all);
        Meta::new(&head, storable(&request("GET", &[]), &head, NOW).unwrap())
    }

    fn answered(method: &str, fields: &[(&str, &str)], meta: &Meta<'_>) -> (u16, AnswerBody) {
        let answer = answer(&request(method, fields), meta, 11, NOW + 5, 7);
        (answer.head.status(), answer.body)
    }

    #[test]
    fn the_stored_response_is_sent_with_its_age() {
        let meta = meta(200, &[("ETag", "\"a\"")]);
        let answer = answer(&request("GET", &[]), &meta, 11, NOW + 5, 7);
        let expected = format!(
            "Cache-Control: max-age=60\nContent-Type: text/plain\nETag: \\\"a\\\"\nDate: {DATE}\nAge: 5\n"
        );
        assert_eq!(
            (lines(&answer.head), answer.body),
            (expected, AnswerBody::Whole)
        );
        assert_eq!(answered("HEAD", &[], &meta), (200, AnswerBody::Omitted));
    }

    #[test]
    fn conditions_are_evaluated_for_the_stored_response() {
        let validated = meta(200, &[("ETag", "\"a\""), ("Last-Modified", MODIFIED)]);
        let plain = meta(200, &[]);
        let missing = meta(404, &[("ETag", "\"a\"")]);
        for (meta, method, field, status) in [
            (&validated, "GET", ("If-None-Match", "\"x\", \"a\""), 304),
            (&validated, "HEAD", ("If-None-Match", "\"a\""), 304),
            (&validated, "GET", ("If-None-Match", "\"x\""), 200),
            (&validated, "GET", ("If-Modified-Since", MODIFIED), 304),
            (&validated, "GET", ("If-Match", "\"x\""), 412),
            (&plain, "GET", ("If-None-Match", "\"a\""), 200),
            // Without Last-Modified the Date counts.
            (&plain, "GET", ("If-Modified-Since", DATE), 304),
            (&plain, "GET", ("If-Modified-Since", MODIFIED), 200),
            (&missing, "GET", ("If-None-Match", "\"a\""), 404),
        ] {
            let (found, body) = answered(method, &[field], meta);
            assert_eq!(found, status, "{method} {field:?}");
            assert_eq!(body == AnswerBody::Empty, matches!(found, 304 | 412));
        }
        let answer = answer(
            &request("GET", &[("If-None-Match", "*")]),
            &validated,
            11,
            NOW,
            7,
        );
        let expected = format!(
            "Cache-Control: max-age=60\nETag: \\\"a\\\"\nLast-Modified: {MODIFIED}\nDate: {DATE}\nAge: 0\n"
        );
        assert_eq!(lines(&answer.head), expected);
    }

    #[test]
    fn parts_are_sent_from_the_whole() {
        let stored = meta(200, &[("ETag", "\"a\""), ("X-A", "1")]);
        let range = |first, last| AnswerBody::Range(ByteRange { first, last });
        let field = |value| [("Range", value)];
        for (fields, expected) in [
            (&field("bytes=0-1")[..], (206, range(0, 1))),
            (&field("bytes=1-"), (206, range(1, 10))),
            (&field("bytes=-1"), (206, range(10, 10))),
            (&field("bytes=11-"), (416, AnswerBody::Empty)),
            (&field("bytes=x"), (200, AnswerBody::Whole)),
            (
                &[("Range", "bytes=0-1"), ("Range", "bytes=2-3")],
                (200, AnswerBody::Whole),
            ),
            (
                &[("Range", "bytes=0-1"), ("If-Range", "\"a\"")],
                (206, range(0, 1)),
            ),
            (
                &[("Range", "bytes=0-1"), ("If-Range", "\"b\"")],
                (200, AnswerBody::Whole),
            ),
            (
                &[("Range", "bytes=0-1"), ("If-None-Match", "\"a\"")],
                (304, AnswerBody::Empty),
            ),
        ] {
            assert_eq!(answered("GET", fields, &stored), expected, "{fields:?}");
        }
        assert_eq!(
            answered("HEAD", &field("bytes=0-1"), &stored),
            (200, AnswerBody::Omitted)
        );
        let not_found = meta(404, &[]);
        assert_eq!(
            answered("GET", &field("bytes=0-1"), &not_found),
            (404, AnswerBody::Whole)
        );
        let part = meta(200, &[("Content-Range", "x")]);
        assert_eq!(
            answered("GET", &field("bytes=0-1"), &part),
            (200, AnswerBody::Whole)
        );
    }

    #[test]
    fn the_head_of_a_part_says_which_it_is() {
        let stored = meta(200, &[("X-A", "1")]);
        for (value, expected) in [
            (
                "bytes=0-1",
                format!(
                    "Cache-Control: max-age=60\nContent-Type: text/plain\nX-A: 1\nDate: {DATE}\n\
                     Age: 5\nContent-Range: bytes 0-1/11\n"
                ),
            ),
            (
                "bytes=0-1,5-6",
                format!(
                    "Cache-Control: max-age=60\n\
                     Content-Type: multipart/byteranges; boundary=00000000000000000007\nX-A: 1\n\
                     Date: {DATE}\nAge: 5\n"
                ),
            ),
            (
                "bytes=20-",
                format!("Date: {DATE}\nContent-Range: bytes */11\n"),
            ),
        ] {
            let found = answer(
                &request("GET", &[("Range", value)]),
                &stored,
                11,
                NOW + 5,
                7,
            );
            assert_eq!(lines(&found.head), expected);
            if let AnswerBody::Ranges(ranges, parts) = found.body {
                assert_eq!(ranges.len(), parts.part_heads.len());
                assert!(
                    parts.part_heads[0]
                        .windows(10)
                        .any(|text| text == b"text/plain")
                );
            }
        }
    }
}
