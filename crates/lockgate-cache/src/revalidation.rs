//! Validation of a stored response (RFC 9111 §4.3), and what a 304 changes in it (§3.2).

use lockgate_http::etag::EntityTag;
use lockgate_http::{RequestHead, ResponseHead, http_date};

use crate::fields::listed_fields;
use crate::meta::{Meta, is_left_out, push_line};
use crate::storing::{NotStored, may_stay};

/// What a 304 means for the stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshened {
    /// The entry is updated: it answers the request, and replaces what is stored.
    Updated,
    /// The entry is updated and answers this request, but may not be stored any longer: the caller removes it.
    Once(NotStored),
    /// The 304 is about another version than the stored one, which is not changed. The caller removes it, and calls the
    /// application again without conditions.
    Mismatch,
}

/// The conditions that are added to a request, so that the application may answer 304: names and values. There are none
/// if the stored response has no validators.
///
/// A condition of the client's is replaced, and evaluated for the stored response later, in
/// [`answer`](crate::answer()).
pub fn revalidation<'m>(meta: &'m Meta<'_>) -> impl Iterator<Item = (&'static str, &'m [u8])> {
    let etag = meta.header("etag").map(|etag| ("If-None-Match", etag));
    let modified = meta
        .header("last-modified")
        .map(|date| ("If-Modified-Since", date));
    etag.into_iter().chain(modified)
}

/// Updates a stored response with the 304 that came at `now` for `request`.
///
/// Fields of the 304 replace the stored ones of the same name, except those that describe the stored body, the ETag
/// that has just been found to be right, and Vary, by which the entry is found.
pub fn freshen(
    meta: &mut Meta<'_>,
    request: &RequestHead,
    response: &ResponseHead,
    now: u64,
) -> Freshened {
    if !is_about(meta, response) {
        return Freshened::Mismatch;
    }
    let listed: Vec<&[u8]> = listed_fields(response).collect();
    let is_updated = |name: &[u8]| {
        !is_kept(name)
            && !is_left_out(name)
            && !listed.iter().any(|other| name.eq_ignore_ascii_case(other))
    };
    let is_replaced = |name: &[u8]| {
        // A 304 of an application that sets no Date is as old as its arrival.
        name.eq_ignore_ascii_case(b"date")
            || response
                .headers()
                .any(|(other, _)| is_updated(other) && name.eq_ignore_ascii_case(other))
    };
    let mut lines = Vec::with_capacity(256);
    for (name, value) in meta.headers().filter(|(name, _)| !is_replaced(name)) {
        push_line(&mut lines, name, value);
    }
    for (name, value) in response.headers().filter(|(name, _)| is_updated(name)) {
        push_line(&mut lines, name, value);
    }
    if response.header("date").is_none() {
        push_line(&mut lines, b"Date", &http_date::format(now));
    }
    meta.replace_lines(lines);
    let age = response
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"age"));
    let fields: Vec<_> = meta.headers().chain(age).collect();
    match may_stay(request, meta.status, &fields, now) {
        Ok(freshness) => {
            meta.freshness = freshness;
            Freshened::Updated
        }
        Err(reason) => {
            let freshness = &mut meta.freshness;
            (freshness.initial_age, freshness.stored, freshness.ttl) = (0, now, 0);
            Freshened::Once(reason)
        }
    }
}

/// Whether the validators of a 304 are those of the stored response, as far as it has any (RFC 9111 §4.3.4).
fn is_about(meta: &Meta<'_>, response: &ResponseHead) -> bool {
    let stored = meta.header("etag").map(EntityTag::parse);
    let mut tags = response
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"etag"))
        .map(|(_, value)| value)
        .peekable();
    if tags.peek().is_some() {
        // Weak comparison, since compression on the way makes strong tags weak.
        return tags.any(|tag| match (stored, EntityTag::parse(tag)) {
            (Some(Some(stored)), Some(tag)) => stored.weak_eq(&tag),
            // Tags without quotes are not valid, but some applications have them.
            (Some(None), None) => meta.header("etag") == Some(tag),
            _ => false,
        });
    }
    match (
        meta.header("last-modified"),
        response.header("last-modified"),
    ) {
        (Some(stored), Some(received)) => stored == received,
        _ => true,
    }
}

/// Fields that a 304 does not change.
fn is_kept(name: &[u8]) -> bool {
    const KEPT: [&[u8]; 5] = [
        b"content-encoding",
        b"content-md5",
        b"content-range",
        b"etag",
        b"vary",
    ];
    KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::{lines, request, response};
    use crate::storing::storable;

    const NOW: u64 = 1_000_000_000;
    const LATER: u64 = NOW + 100;
    const MODIFIED: &str = "Sun, 09 Sep 2001 00:46:40 GMT";

    fn meta(fields: &[(&str, &str)]) -> Meta<'static> {
        let head = response(200, fields);
        Meta::new(&head, storable(&request("GET", &[]), &head, NOW).unwrap())
    }

    fn sent(meta: &Meta<'_>, now: u64) -> String {
        let mut head = ResponseHead::default();
        meta.write_head(&mut head, now);
        lines(&head)
    }

    #[test]
    fn conditions_are_the_stored_validators() {
        let fresh = ("Cache-Control", "max-age=60");
        for (fields, expected) in [
            (&[fresh][..], &[][..]),
            (
                &[fresh, ("ETag", "W/\"a\"")],
                &[("If-None-Match", "W/\"a\"")],
            ),
            (
                &[fresh, ("Last-Modified", MODIFIED)],
                &[("If-Modified-Since", MODIFIED)],
            ),
            (
                &[fresh, ("Last-Modified", MODIFIED), ("ETag", "\"a\"")],
                &[("If-None-Match", "\"a\""), ("If-Modified-Since", MODIFIED)],
            ),
        ] {
            let meta = meta(fields);
            let found: Vec<_> = revalidation(&meta)
                .map(|(name, value)| (name, std::str::from_utf8(value).unwrap()))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_304_replaces_fields_but_those_of_the_body() {
        let mut meta = meta(&[
            ("Cache-Control", "max-age=60"),
            ("ETag", "\"a\""),
            ("Content-Encoding", "br"),
            ("Content-Type", "text/plain"),
            ("X-A", "1"),
            ("x-a", "2"),
            ("X-B", "3"),
            ("Vary", "Foo"),
        ]);
        let not_modified = response(
            304,
            &[
                ("Cache-Control", "max-age=5"),
                ("ETag", "W/\"a\""),
                ("Content-Encoding", "gzip"),
                ("Content-Length", "9"),
                ("Content-Type", "text/html"),
                ("X-a", "4"),
                ("X-C", "5"),
                ("Vary", "Bar"),
                ("Age", "2"),
            ],
        );
        let found = freshen(&mut meta, &request("HEAD", &[]), &not_modified, LATER);
        assert_eq!(found, Freshened::Updated);
        assert_eq!((meta.freshness.ttl, meta.freshness.age(LATER)), (5, 2));
        let expected = "ETag: \\\"a\\\"\nContent-Encoding: br\nX-B: 3\nVary: Foo\nCache-Control: max-age=5\n\
                        Content-Type: text/html\nX-a: 4\nX-C: 5\nDate: Sun, 09 Sep 2001 01:48:20 GMT\nAge: 3\n";
        assert_eq!(sent(&meta, LATER + 1), expected);
        assert_eq!(Meta::decode(&meta.encode()), Some(meta.clone()));
    }

    #[test]
    fn a_304_that_says_nothing_renews_the_lifetime() {
        let mut meta = meta(&[("Cache-Control", "max-age=60"), ("ETag", "\"a\"")]);
        assert!(!meta.freshness.is_fresh(LATER));
        let found = freshen(&mut meta, &request("GET", &[]), &response(304, &[]), LATER);
        assert_eq!((found, meta.freshness.age(LATER)), (Freshened::Updated, 0));
        assert!(meta.freshness.is_fresh(LATER + 59));
    }

    #[test]
    fn a_304_for_another_version_changes_nothing() {
        let fresh = ("Cache-Control", "max-age=60");
        let other = "Sun, 09 Sep 2001 00:46:41 GMT";
        for (stored, received, is_updated) in [
            (("ETag", "\"a\""), ("ETag", "\"a\""), true),
            (("ETag", "W/\"a\""), ("ETag", "\"a\""), true),
            (("ETag", "\"a\""), ("ETag", "\"b\""), false),
            (("ETag", "\"a\""), ("ETag", "a"), false),
            (("ETag", "a"), ("ETag", "a"), true),
            (("Last-Modified", MODIFIED), ("ETag", "\"b\""), false),
            (
                ("Last-Modified", MODIFIED),
                ("Last-Modified", MODIFIED),
                true,
            ),
            (("Last-Modified", MODIFIED), ("Last-Modified", other), false),
            (("ETag", "\"a\""), ("Last-Modified", other), true),
        ] {
            let mut meta = meta(&[fresh, stored]);
            let before = meta.clone();
            let not_modified = response(304, &[received]);
            let found = freshen(&mut meta, &request("GET", &[]), &not_modified, LATER);
            assert_eq!(
                found == Freshened::Updated,
                is_updated,
                "{stored:?} {received:?}"
            );
            assert_eq!(meta == before, !is_updated);
        }
    }

    #[test]
    fn a_304_may_forbid_further_storage() {
        for (received, reason) in [
            (("Cache-Control", "no-store"), NotStored::NoStore),
            (("Cache-Control", "private"), NotStored::Private),
            (("Set-Cookie", "a=b"), NotStored::SetCookie),
        ] {
            let mut meta = meta(&[("Cache-Control", "max-age=60"), ("ETag", "\"a\"")]);
            let not_modified = response(304, &[received]);
            let found = freshen(&mut meta, &request("GET", &[]), &not_modified, LATER);
            assert_eq!(found, Freshened::Once(reason));
            let (name, value) = received;
            assert!(sent(&meta, LATER).contains(&format!("{name}: {value}\n")));
            assert_eq!(
                (meta.freshness.age(LATER), meta.freshness.is_fresh(LATER)),
                (0, false)
            );
        }
    }
}
