//! Tables of conditional requests.

use super::*;
use crate::{Limits, RequestParser};

fn head(method: &str, fields: &str) -> RequestHead {
    let text = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

/// 1994-11-06 08:49:37.
const MODIFIED: u64 = 784_111_777;
const NOW: u64 = MODIFIED + 1_000;
const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const FUTURE: &str = "Sun, 06 Nov 1994 10:49:37 GMT";

#[test]
fn conditions_are_evaluated_in_the_order_of_the_rfc() {
    use Condition::{NotModified, PreconditionFailed, Proceed};
    let cases = [
        ("GET", String::new(), Proceed),
        // 1. If-Match
        ("GET", "If-Match: \"a\"\r\n".into(), Proceed),
        ("PUT", "If-Match: \"x\", \"a\"\r\n".into(), Proceed),
        (
            "PUT",
            "If-Match: \"x\"\r\nIF-MATCH: \"a\"\r\n".into(),
            Proceed,
        ),
        ("PUT", "If-Match: *\r\n".into(), Proceed),
        ("GET", "If-Match: \"x\"\r\n".into(), PreconditionFailed),
        ("PUT", "If-Match: W/\"a\"\r\n".into(), PreconditionFailed),
        ("PUT", "If-Match: a\r\n".into(), PreconditionFailed),
        ("PUT", "If-Match:\r\n".into(), PreconditionFailed),
        // 2. If-Unmodified-Since, only without If-Match
        ("PUT", format!("If-Unmodified-Since: {AT}\r\n"), Proceed),
        ("PUT", format!("If-Unmodified-Since: {AFTER}\r\n"), Proceed),
        (
            "GET",
            format!("If-Unmodified-Since: {BEFORE}\r\n"),
            PreconditionFailed,
        ),
        ("PUT", "If-Unmodified-Since: yesterday\r\n".into(), Proceed),
        (
            "PUT",
            format!("If-Match: \"a\"\r\nIf-Unmodified-Since: {BEFORE}\r\n"),
            Proceed,
        ),
        (
            "PUT",
            format!("If-Unmodified-Since: {BEFORE}\r\nIf-Unmodified-Since: {BEFORE}\r\n"),
            Proceed,
        ),
        // 3. If-None-Match
        ("GET", "If-None-Match: \"a\"\r\n".into(), NotModified),
        ("HEAD", "If-None-Match: W/\"a\"\r\n".into(), NotModified),
        (
            "GET",
            "If-None-Match: \"x\", \"y\",\"a\"\r\n".into(),
            NotModified,
        ),
        (
            "GET",
            "If-None-Match: \"x\"\r\nIf-None-Match: \"a\"\r\n".into(),
            NotModified,
        ),
        ("GET", "If-None-Match: *\r\n".into(), NotModified),
        ("PUT", "If-None-Match: *\r\n".into(), PreconditionFailed),
        (
            "POST",
            "If-None-Match: \"a\"\r\n".into(),
            PreconditionFailed,
        ),
        ("GET", "If-None-Match: \"x\"\r\n".into(), Proceed),
        ("PUT", "If-None-Match: \"x\"\r\n".into(), Proceed),
        // 4. If-Modified-Since, only without If-None-Match, and only for GET and HEAD
        ("GET", format!("If-Modified-Since: {AT}\r\n"), NotModified),
        (
            "HEAD",
            format!("If-Modified-Since: {AFTER}\r\n"),
            NotModified,
        ),
        (
            "GET",
            "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n".into(),
            NotModified,
        ),
        ("GET", format!("If-Modified-Since: {BEFORE}\r\n"), Proceed),
        ("GET", format!("If-Modified-Since: {FUTURE}\r\n"), Proceed),
        ("GET", "If-Modified-Since: 0\r\n".into(), Proceed),
        ("PUT", format!("If-Modified-Since: {AT}\r\n"), Proceed),
        (
            "GET",
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {AT}\r\n"),
            Proceed,
        ),
        (
            "GET",
            format!("If-None-Match: \"a\"\r\nIf-Modified-Since: {BEFORE}\r\n"),
            NotModified,
        ),
        (
            "GET",
            format!("If-Modified-Since: {AT}\r\nIf-Modified-Since: {AT}\r\n"),
            Proceed,
        ),
        // Both groups.
        (
            "GET",
            "If-Match: \"a\"\r\nIf-None-Match: \"a\"\r\n".into(),
            NotModified,
        ),
        (
            "GET",
            "If-Match: \"x\"\r\nIf-None-Match: \"a\"\r\n".into(),
            PreconditionFailed,
        ),
    ];
    let validators = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(MODIFIED),
    };
    for (method, fields, expected) in cases {
        let found = evaluate(method.as_bytes(), &head(method, &fields), &validators, NOW);
        assert_eq!(found, expected, "{method} {fields}");
    }
}

#[test]
fn a_representation_without_validators_meets_only_the_star() {
    for (fields, expected) in [
        ("If-None-Match: \"a\"\r\n", Condition::Proceed),
        ("If-None-Match: *\r\n", Condition::NotModified),
        ("If-Match: *\r\n", Condition::Proceed),
        ("If-Match: \"a\"\r\n", Condition::PreconditionFailed),
        (
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Condition::Proceed,
        ),
        (
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Condition::Proceed,
        ),
    ] {
        let found = evaluate(b"GET", &head("GET", fields), &Validators::default(), NOW);
        assert_eq!(found, expected, "{fields}");
    }
}

#[test]
fn a_tag_that_is_not_valid_is_compared_as_it_is() {
    for (etag, field, expected) in [
        ("abc", "abc", Condition::NotModified),
        ("w/\"abc\"", "w/\"abc\"", Condition::NotModified),
        ("abc", "\"abc\"", Condition::Proceed),
        ("abc", "abc, def", Condition::Proceed),
        ("\"abc\"", "abc", Condition::Proceed),
    ] {
        let validators = Validators {
            etag: Some(etag.as_bytes()),
            last_modified: None,
        };
        let head = head("GET", &format!("If-None-Match: {field}\r\n"));
        assert_eq!(
            evaluate(b"GET", &head, &validators, NOW),
            expected,
            "{etag} {field}"
        );
    }
}

#[test]
fn if_range_compares_strongly() {
    let strong = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(MODIFIED),
    };
    let weak = Validators {
        etag: Some(b"W/\"a\""),
        ..strong
    };
    for (fields, validators, now, holds) in [
        (String::new(), strong, NOW, true),
        ("If-Range: \"a\"\r\n".into(), strong, NOW, true),
        ("If-Range: \"b\"\r\n".into(), strong, NOW, false),
        ("If-Range: W/\"a\"\r\n".into(), strong, NOW, false),
        ("If-Range: \"a\"\r\n".into(), weak, NOW, false),
        ("If-Range: W/\"a\"\r\n".into(), weak, NOW, false),
        (
            "If-Range: \"a\"\r\n".into(),
            Validators::default(),
            NOW,
            false,
        ),
        (
            "If-Range: \"a\"\r\nIf-Range: \"a\"\r\n".into(),
            strong,
            NOW,
            false,
        ),
        (format!("If-Range: {AT}\r\n"), strong, NOW, true),
        (format!("If-Range: {AT}\r\n"), strong, MODIFIED, false),
        (format!("If-Range: {AFTER}\r\n"), strong, NOW, false),
        (format!("If-Range: {BEFORE}\r\n"), strong, NOW, false),
        (
            format!("If-Range: {AT}\r\n"),
            Validators::default(),
            NOW,
            false,
        ),
        (
            "If-Range: soon\r\n".into(),
            Validators::default(),
            NOW,
            false,
        ),
        ("If-Range:\r\n".into(), strong, NOW, false),
    ] {
        let found = if_range_holds(&head("GET", &fields), &validators, now);
        assert_eq!(found, holds, "{fields} {validators:?}");
    }
}
