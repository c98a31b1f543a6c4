//! Properties of the rules for any requests, responses and times.
#![allow(clippy::unwrap_used)]

use lockgate_cache::{
    AnswerBody, Entry, Freshened, Freshness, Meta, Reuse, Variants, Vary, answer, freshen, key,
    may_serve_stale_on_error, reuse, storable,
};
use lockgate_http::{Limits, RequestHead, RequestParser, ResponseHead, http_date};
use proptest::prelude::*;
use proptest::sample::select;

const START: u64 = 1_700_000_000;
const NAMES: [&str; 18] = [
    "Cache-Control",
    "cache-control",
    "CDN-Cache-Control",
    "Expires",
    "Date",
    "Age",
    "Last-Modified",
    "ETag",
    "Vary",
    "Set-Cookie",
    "Pragma",
    "Cache-Tag",
    "Surrogate-Key",
    "Content-Encoding",
    "Content-Range",
    "Content-Length",
    "Location",
    "X-A",
];
const DIRECTIVES: [&str; 18] = [
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
    "stale-if-error",
    "min-fresh",
    "max-stale",
    "no-cache",
    "no-cache=\"x-a\"",
    "no-store",
    "private",
    "private=\"x-a\"",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "immutable",
    "only-if-cached",
    "\"",
];
const REQUEST_NAMES: [&str; 12] = [
    "Cache-Control",
    "Pragma",
    "Authorization",
    "Cookie",
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Modified-Since",
    "If-Match",
    "Accept-Encoding",
    "Accept-Language",
    "X-A",
];

fn directives() -> impl Strategy<Value = String> {
    let one = (select(&DIRECTIVES[..]), prop::option::of(0_u64..200))
        .prop_map(|(name, value)| value.map_or(name.to_owned(), |value| format!("{name}={value}")));
    prop::collection::vec(one, 0..5).prop_map(|all| all.join(", "))
}

fn value() -> impl Strategy<Value = String> {
    let date = (-500_i64..500).prop_map(|offset| {
        let text = http_date::format(START.saturating_add_signed(offset)).to_vec();
        String::from_utf8(text).unwrap()
    });
    prop_oneof![
        3 => directives(),
        2 => date,
        1 => (0_u64..300).prop_map(|number| number.to_string()),
        1 => select(&["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*", "X-A", "Accept-Encoding, X-A", "gzip"][..])
            .prop_map(str::to_owned),
        1 => (0_u64..30, 0_u64..30).prop_map(|(first, last)| format!("bytes={first}-{last},-3")),
        1 => "[ -~]{0,20}",
    ]
}

type Fields = Vec<(&'static str, String)>;

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Fields> {
    prop::collection::vec((select(names), value()), 0..8)
}

fn request(method: &str, fields: &Fields) -> RequestHead {
    let mut text = format!("{method} /a HTTP/1.1\r\nHost: h\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let mut head = RequestHead::default();
    RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

fn response(status: u16, fields: &Fields) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set_status(status, b"Reason").unwrap();
    for (name, value) in fields {
        // A Content-Length that is not valid is refused.
        let _ = head.push(name.as_bytes(), value.as_bytes());
    }
    head
}

fn has(fields: &Fields, name: &str) -> bool {
    fields
        .iter()
        .any(|(other, _)| other.eq_ignore_ascii_case(name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_must_not_be_stored_is_not(
        request_fields in fields(&REQUEST_NAMES),
        response_fields in fields(&NAMES),
        status in select(&[200_u16, 204, 206, 301, 304, 404, 416, 500][..]),
    ) {
        let head = response(status, &response_fields);
        if let Ok(freshness) = storable(&request("GET", &request_fields), &head, START) {
            prop_assert!(!has(&response_fields, "set-cookie"));
            prop_assert!(!matches!(status, 206 | 304 | 416));
            prop_assert!(Vary::of(&head).is_some());
            prop_assert!(freshness.expires() > START || freshness.no_cache);
            let text = |name: &str| {
                let values = response_fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
                values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",").to_lowercase()
            };
            let control = text("cache-control") + &text("cdn-cache-control");
            if has(&request_fields, "authorization") {
                let allows = ["public", "must-revalidate", "s-maxage"];
                prop_assert!(allows.iter().any(|directive| control.contains(directive)));
            }
        }
        for method in ["HEAD", "POST", "PUT"] {
            prop_assert!(storable(&request(method, &request_fields), &head, START).is_err());
        }
    }

    #[test]
    fn what_is_used_is_fresh_or_allowed_to_be_stale(
        response_fields in fields(&NAMES),
        request_fields in fields(&REQUEST_NAMES),
        after in 0_u64..500,
    ) {
        let head = response(200, &response_fields);
        let Ok(freshness) = storable(&request("GET", &Fields::new()), &head, START) else {
            return Ok(());
        };
        let bytes = Meta::new(&head, freshness).encode();
        let meta = Meta::decode(&bytes).unwrap();
        let now = START + after;
        let second = request("GET", &request_fields);
        let asks_stale = request_fields.iter().any(|(_, value)| value.contains("max-stale"));
        match reuse(&second, &meta, now) {
            Reuse::Fresh { age } => {
                prop_assert!(!freshness.no_cache);
                prop_assert_eq!(age, freshness.age(now));
                prop_assert!(age < freshness.ttl || (asks_stale && !freshness.must_revalidate));
            }
            Reuse::StaleWhileRevalidate { age } => {
                prop_assert!(age >= freshness.ttl);
                prop_assert!(age < freshness.ttl + freshness.stale_while_revalidate);
            }
            Reuse::Revalidate | Reuse::Miss | Reuse::OnlyIfCached504 => {}
        }
        if may_serve_stale_on_error(&meta, now) {
            prop_assert!(freshness.age(now) < freshness.ttl + freshness.stale_if_error);
        }
        // What was not used with a plain request is not used later either.
        let plain = request("GET", &Fields::new());
        if !matches!(reuse(&plain, &meta, now), Reuse::Fresh { .. }) {
            let is_fresh = matches!(reuse(&plain, &meta, now + 1), Reuse::Fresh { .. });
            prop_assert!(!is_fresh);
        }
    }

    #[test]
    fn an_answer_is_a_valid_response_within_the_body(
        response_fields in fields(&NAMES),
        request_fields in fields(&REQUEST_NAMES),
        length in 0_u64..40,
        method in select(&["GET", "HEAD"][..]),
    ) {
        let head = response(200, &response_fields);
        let Ok(freshness) = storable(&request("GET", &Fields::new()), &head, START) else {
            return Ok(());
        };
        let meta = Meta::new(&head, freshness);
        let answer = answer(&request(method, &request_fields), &meta, length, START + 1, 7);
        prop_assert!(answer.head.header("date").is_some());
        for name in ["cache-tag", "surrogate-key", "set-cookie", "content-length"] {
            prop_assert!(answer.head.header(name).is_none());
        }
        let ranges = match &answer.body {
            AnswerBody::Range(range) => vec![*range],
            AnswerBody::Ranges(ranges, parts) => {
                prop_assert!(ranges.len() > 1);
                let heads: usize = parts.part_heads.iter().map(Vec::len).sum();
                let content: u64 = ranges.iter().map(|range| range.len()).sum();
                prop_assert_eq!(parts.length, content + (heads + parts.end.len()) as u64);
                ranges.clone()
            }
            AnswerBody::Empty | AnswerBody::Omitted | AnswerBody::Whole => vec![],
        };
        prop_assert_eq!(answer.head.status() == 206, !ranges.is_empty());
        for range in ranges {
            prop_assert!(range.first <= range.last && range.last < length);
        }
    }

    #[test]
    fn a_304_never_changes_the_stored_body_or_its_key(
        response_fields in fields(&NAMES),
        received in fields(&NAMES),
    ) {
        let head = response(200, &response_fields);
        let plain = request("GET", &Fields::new());
        let Ok(freshness) = storable(&plain, &head, START) else {
            return Ok(());
        };
        let mut meta = Meta::new(&head, freshness);
        let before = meta.clone();
        let found = freshen(&mut meta, &plain, &response(304, &received), START + 50);
        prop_assert_eq!(meta.status, 200);
        prop_assert!(meta.tags().eq(before.tags()));
        for name in ["content-encoding", "content-range", "etag", "vary"] {
            prop_assert_eq!(meta.header(name), before.header(name));
        }
        let encoded = meta.encode();
        prop_assert_eq!(Meta::decode(&encoded), Some(meta.clone()));
        match found {
            Freshened::Updated => prop_assert!(!has(&received, "set-cookie")),
            Freshened::Mismatch => prop_assert_eq!(meta, before),
            Freshened::Once(_) => prop_assert!(!meta.freshness.is_fresh(START + 50)),
        }
    }

    #[test]
    fn any_bytes_are_an_entry_or_none(
        mut bytes in prop::collection::vec(any::<u8>(), 2..200),
        kind in select(&b"RV"[..]),
    ) {
        let _ = Entry::decode(&bytes);
        bytes[..2].copy_from_slice(&[1, kind]);
        let _ = Entry::decode(&bytes);
    }

    #[test]
    fn any_entry_can_be_used(
        numbers in prop::array::uniform6(prop_oneof![0_u64..5_000_000_000, any::<u64>()]),
        flags in prop::array::uniform3(any::<bool>()),
        response_fields in fields(&NAMES),
        request_fields in fields(&REQUEST_NAMES),
        now in prop_oneof![0_u64..5_000_000_000, any::<u64>()],
    ) {
        let [ttl, stale_while_revalidate, stale_if_error, date, initial_age, stored] = numbers;
        let [must_revalidate, no_cache, has_validator] = flags;
        let freshness = Freshness {
            ttl,
            stale_while_revalidate,
            stale_if_error,
            must_revalidate,
            no_cache,
            has_validator,
            date,
            initial_age,
            stored,
        };
        let mut meta = Meta::new(&response(200, &response_fields), freshness);
        let bytes = meta.encode();
        prop_assert_eq!(Meta::decode(&bytes), Some(meta.clone()));
        let request = request("GET", &request_fields);
        let _ = reuse(&request, &meta, now);
        let _ = may_serve_stale_on_error(&meta, now);
        let _ = answer(&request, &meta, 11, now, 7);
        prop_assert!(freshness.expires() >= freshness.stale_if_error.min(stale_while_revalidate));
        let _ = freshen(&mut meta, &request, &response(304, &response_fields), now);
    }

    #[test]
    fn keys_differ_when_requests_do(
        host in "[a-z.]{1,8}(:[0-9]{1,3})?",
        path in "/[a-z/;&=]{0,8}",
        parameters in prop::collection::vec("[abu]{1,2}(=[a-z;]{0,3})?", 0..5),
    ) {
        let target = format!("{path}?{}", parameters.join("&"));
        let ignored = ["u*".to_owned()];
        let key = |host: &str, target: &str| key::primary(b"http", host.as_bytes(), target.as_bytes(), &ignored);
        let found = key(&host, &target);
        prop_assert_eq!(&found, &key(&host.to_uppercase(), &target));
        // It is a URI that has itself as its key.
        let text = String::from_utf8(found.clone()).unwrap();
        let rest = text.strip_prefix("http://").unwrap();
        let (own_host, own_target) = rest.split_at(rest.find('/').unwrap());
        prop_assert_eq!(&found, &key(own_host, own_target));
        // What counts is in it, in order.
        let counts = |parameter: &&String| !parameter.starts_with('u') || parameter.contains(';');
        let left: Vec<&str> = parameters.iter().filter(counts).map(String::as_str).collect();
        let query = own_target.split_once('?').map_or("", |(_, query)| query);
        prop_assert_eq!(query, left.join("&"));
    }

    #[test]
    fn variants_differ_by_every_name(
        names in prop::collection::vec("[a-c]", 1..4),
        one in prop::collection::vec(("[a-c]", "[xy ,\"]{0,4}"), 0..4),
        other in prop::collection::vec(("[a-c]", "[xy ,\"]{0,4}"), 0..4),
    ) {
        let vary = Vary::of(&response(200, &vec![("Vary", names.join(", "))])).unwrap();
        let variants = Variants { id: 1, vary };
        let head = |fields: &[(String, String)]| {
            let mut text = "GET / HTTP/1.1\r\nHost: h\r\n".to_owned();
            for (name, value) in fields {
                text += &format!("{name}: {value}\r\n");
            }
            let mut head = RequestHead::default();
            let mut parser = RequestParser::new(Limits::default());
            parser.step((text + "\r\n").as_bytes(), &mut head).unwrap();
            head
        };
        let keys = [&one, &other].map(|fields| key::secondary(b"k", &variants, &head(fields)));
        // Compared without any white space and empty elements, the values of each selecting field are equal.
        let selected = |fields: &[(String, String)], name: &str| {
            let mut own = fields.iter().filter(|(other, _)| other == name).peekable();
            own.peek()?;
            let joined = own.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",");
            let elements = joined.replace(' ', "");
            Some(elements.split(',').filter(|element| !element.is_empty()).collect::<Vec<_>>().join(","))
        };
        if keys[0] == keys[1] {
            for name in &names {
                prop_assert_eq!(selected(&one, name), selected(&other, name));
            }
        }
    }
}
