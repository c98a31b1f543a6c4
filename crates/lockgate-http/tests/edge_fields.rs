//! Properties of the fields that static files, compression and the cache decide by: simple models agree with what is
//! parsed, for valid values and for others.
#![allow(clippy::unwrap_used)]

use lockgate_http::accept_encoding::{Choice, choose};
use lockgate_http::cache_control::{Directives, MOST_SECONDS, targeted};
use lockgate_http::etag::parse_list;
use lockgate_http::http_date;
use lockgate_http::range::{self, ByteRange, Ranges, multipart};
use proptest::prelude::*;
use proptest::sample::select;

/// Text of the parts that the grammars are made of, and of any others.
fn near(parts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => select(parts).prop_map(|part| part.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

const OFFERED: [&[u8]; 3] = [b"zstd", b"br", b"gzip"];

/// The weight of each coding by the text of RFC 9110 §12.5.3, for elements that are valid.
fn weight(elements: &[(&str, u16)], coding: &str) -> Option<u16> {
    let named = |name: &str| elements.iter().find(|(other, _)| *other == name);
    named(coding)
        .or_else(|| named("*"))
        .map(|(_, weight)| *weight)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_date_that_is_read_is_written_alike(
        text in near(&["Sun", "Sunday", ", ", " ", "-", "06", "6", "Nov", "1994", "94", "08:49:37", "GMT"]),
        seconds in 0_u64..253_402_300_800,
    ) {
        if let Some(found) = http_date::parse(&text) {
            prop_assert_eq!(http_date::parse(&http_date::format(found)), Some(found));
        }
        prop_assert_eq!(http_date::parse(&http_date::format(seconds)), Some(seconds));
    }

    #[test]
    fn tags_of_a_list_have_no_quotes(text in near(&["\"", "W/", "w/", "a", ",", " ", "*", "\\"])) {
        for tag in parse_list(&text) {
            prop_assert!(!tag.opaque.contains(&b'"') && !tag.opaque.contains(&b' '));
        }
    }

    #[test]
    fn valid_ranges_are_those_of_the_text_of_the_rfc(
        specs in prop::collection::vec((0_u64..12, prop::option::of(0_u64..12), any::<bool>()), 1..5),
        length in 0_u64..11,
    ) {
        let (mut texts, mut bytes) = (Vec::new(), Vec::new());
        for (first, last, is_suffix) in specs {
            let span = match (is_suffix, last) {
                (true, _) => {
                    texts.push(format!("-{first}"));
                    length.saturating_sub(first)..length
                }
                (false, None) => {
                    texts.push(format!("{first}-"));
                    first..length
                }
                (false, Some(last)) => {
                    let last = last.max(first);
                    texts.push(format!("{first}-{last}"));
                    first..(last + 1).min(length)
                }
            };
            bytes.extend(span);
        }
        let field = format!("bytes={}", texts.join(", "));
        match range::parse(field.as_bytes(), length) {
            // What is sent are the bytes that were asked for, in their order; overlaps with a neighbour only once.
            Ranges::Satisfiable(ranges) => {
                let mut sent: Vec<u64> = ranges.iter().flat_map(|range| range.first..=range.last).collect();
                prop_assert!(bytes.len() as u64 <= length);
                prop_assert_eq!(sent.first(), bytes.first());
                sent.sort_unstable();
                sent.dedup();
                bytes.sort_unstable();
                bytes.dedup();
                prop_assert_eq!(sent, bytes);
            }
            Ranges::Unsatisfiable => prop_assert!(bytes.is_empty()),
            Ranges::None => prop_assert!(bytes.len() as u64 > length || length == 0, "{}", field),
        }
    }

    #[test]
    fn any_ranges_lie_within_the_length(
        field in near(&["bytes=", "0", "1", "99", "-", ",", " ", "18446744073709551616"]),
        length in prop_oneof![0_u64..200, Just(u64::MAX)],
        seed in any::<u64>(),
    ) {
        let Ranges::Satisfiable(ranges) = range::parse(&field, length) else {
            return Ok(());
        };
        prop_assert!((1..=16).contains(&ranges.len()));
        let mut total = 0_u64;
        for ByteRange { first, last } in &ranges {
            prop_assert!(first <= last && *last < length);
            total += last - first + 1;
        }
        prop_assert!(total <= length);
        if length < 200 {
            let parts = multipart::encode(&ranges, length, Some(b"text/plain"), seed);
            let heads: usize = parts.part_heads.iter().map(Vec::len).sum();
            prop_assert_eq!(parts.length, total + (heads + parts.end.len()) as u64);
        }
    }

    #[test]
    fn the_coding_has_the_highest_weight(
        elements in prop::collection::vec(
            (select(&["zstd", "br", "gzip", "identity", "*", "deflate"][..]), 0_u16..=1_000),
            0..6,
        ),
    ) {
        let texts: Vec<String> = elements
            .iter()
            .map(|(name, weight)| format!("{name};q={}.{:03}", weight / 1_000, weight % 1_000))
            .collect();
        let choice = choose(Some(texts.join(", ").as_bytes()), &OFFERED);
        let weights = ["zstd", "br", "gzip"].map(|coding| weight(&elements, coding).unwrap_or(0));
        let best = weights.into_iter().max().unwrap_or(0);
        let own = elements.iter().find(|(name, _)| *name == "identity").map(|(_, weight)| *weight);
        let expected = if best > 0 && own.is_none_or(|own| own <= best) {
            Choice::Index(weights.iter().position(|weight| *weight == best).unwrap())
        } else if weight(&elements, "identity") == Some(0) {
            Choice::NotAcceptable
        } else {
            Choice::Identity
        };
        prop_assert_eq!(choice, expected);
    }

    #[test]
    fn any_text_gives_a_coding_that_it_names(
        text in near(&["gzip", "br", "*", "identity", ";q=", "0", "1", ".", "5", ",", " ", "\t"]),
    ) {
        if let Choice::Index(index) = choose(Some(&text), &OFFERED) {
            let named = |name: &[u8]| text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
            prop_assert!(named(OFFERED[index]) || named(b"*"));
        }
    }

    #[test]
    fn directives_of_any_text_have_their_limits(
        text in near(&[
            "max-age", "s-maxage", "no-cache", "private", "no-store", "=", "\"", "\\", ",", " ", "60", "x", "(", ")",
            ";", "?1", ":", "@", "-", ".",
        ]),
    ) {
        let directives = Directives::parse([&text[..]]);
        for seconds in [directives.max_age, directives.s_maxage].into_iter().flatten() {
            prop_assert!(seconds <= MOST_SECONDS);
        }
        let is_in = |name: &[u8]| text.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
        prop_assert!(!directives.no_store || is_in(b"no-store"));
        prop_assert!(directives.private.is_none() || is_in(b"private"));
        // A dictionary that is valid has the same directives, read as Cache-Control, but for repeated ones, parameters
        // and values of other types.
        if let Some(found) = targeted::parse([&text[..]]) {
            prop_assert!(found.max_age.is_none_or(|seconds| seconds <= MOST_SECONDS));
            prop_assert!(!found.no_store || is_in(b"no-store"));
        }
    }
}
