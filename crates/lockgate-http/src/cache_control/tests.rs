//! Tables of Cache-Control fields.

use super::*;

fn parse(value: &str) -> Directives<'_> {
    Directives::parse([value.as_bytes()])
}

#[test]
fn numbers_are_read_and_limited() {
    for (value, max_age) in [
        ("max-age=3600", Some(3_600)),
        ("MaX-aGe=3600", Some(3_600)),
        ("max-age=\"3600\"", Some(3_600)),
        ("max-age=003600", Some(3_600)),
        ("foobar, max-age=3600", Some(3_600)),
        (",,\tmax-age=3600 ,", Some(3_600)),
        ("max-age=2147483647", Some(2_147_483_647)),
        ("max-age=2147483649", Some(MOST_SECONDS)),
        ("max-age=99999999999999999999999", Some(MOST_SECONDS)),
        ("extension=\"max-age=3600\", max-age=1", Some(1)),
        ("max-age=1, extension=\"max-age=3600\"", Some(1)),
        ("extension=\"a\\\", max-age=3600\", max-age=1", Some(1)),
        ("max-age=1, max-age=1800", Some(1)),
        ("max-age=1800, max-age=1", Some(1_800)),
        // A number that is not valid is 0.
        ("max-age", Some(0)),
        ("max-age=", Some(0)),
        ("max-age=-3600", Some(0)),
        ("max-age='3600'", Some(0)),
        ("max-age=3600.0", Some(0)),
        ("max-age=a3600", Some(0)),
        ("max-age=3600a", Some(0)),
        ("max-age= 3600", Some(0)),
        // Other names.
        ("max-age =3600", None),
        ("xmax-age=3600", None),
        ("max-age:3600", None),
        ("", None),
    ] {
        assert_eq!(parse(value).max_age, max_age, "{value}");
    }
}

#[test]
fn every_directive_has_its_field() {
    let response = parse(
        "public, no-store, no-transform, must-revalidate, proxy-revalidate, must-understand, immutable, \
         max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
    );
    let expected = Directives {
        max_age: Some(1),
        s_maxage: Some(2),
        stale_while_revalidate: Some(3),
        stale_if_error: Some(4),
        no_store: true,
        no_transform: true,
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        immutable: true,
        ..Directives::default()
    };
    assert_eq!(response, expected);
    let expected = Directives {
        min_fresh: Some(5),
        max_stale: Some(6),
        no_cache: Some(Scope::Response),
        only_if_cached: true,
        ..Directives::default()
    };
    assert_eq!(
        parse("no-cache, only-if-cached, min-fresh=5, max-stale=6"),
        expected
    );
}

#[test]
fn requests_with_wrong_numbers_ask_the_server() {
    for (value, min_fresh, max_stale) in [
        ("max-stale", None, Some(u64::MAX)),
        ("max-stale=x", None, Some(0)),
        ("min-fresh", Some(MOST_SECONDS), None),
        ("min-fresh=x", Some(MOST_SECONDS), None),
    ] {
        let found = parse(value);
        assert_eq!(
            (found.min_fresh, found.max_stale),
            (min_fresh, max_stale),
            "{value}"
        );
    }
}

#[test]
fn a_scope_is_the_response_or_a_list_of_fields() {
    for (value, expected) in [
        ("no-cache", Some(&[][..])),
        ("no-cache=\"a, B\"", Some(&["a", "B"])),
        ("no-cache=a", Some(&["a"])),
        ("no-cache=\"\"", Some(&[])),
        ("no-cache=\"a\", no-cache", Some(&[])),
        ("no-cache, no-cache=\"a\"", Some(&[])),
        ("no-cache=\"a\", no-cache=\"b\"", Some(&[])),
        ("no-cache=\"a", Some(&[])),
        ("private=\"a\"", None),
    ] {
        let names = parse(value).no_cache.map(|scope| {
            let names = scope
                .names()
                .map(|name| String::from_utf8_lossy(name).into_owned());
            names.collect::<Vec<_>>()
        });
        assert_eq!(
            names.as_deref().map(|names| names.to_vec()),
            expected.map(|names: &[&str]| {
                names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>()
            }),
            "{value}"
        );
    }
    assert_eq!(parse("private=\"a\"").private, Some(Scope::Fields(b"a")));
}
