//! Any request and any fields of a response and of its validation: the cache stores nothing that it must not, an entry is
//! read as it was written, and an answer lies within the stored body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_cache::{
    AnswerBody, Entry, Freshened, Meta, Variants, Vary, answer, freshen, invalidated_keys, key,
    reuse, storable, tags,
};
use lockgate_http::accept_encoding::{Choice, choose};
use lockgate_http::{Event, Limits, RequestHead, RequestParser, ResponseHead};

/// 2001-09-09 01:46:40, so that dates of seeds are near.
const NOW: u64 = 1_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    check_entry(bytes);
    let mut head = RequestHead::default();
    let step = RequestParser::new(Limits::default()).step(bytes, &mut head);
    let Ok((length, Event::Head)) = step else {
        return;
    };
    let mut parts = bytes[length..].split(|&byte| byte == b'\x1e');
    let [first, second] =
        [200, 304].map(|status| response(status, parts.next().unwrap_or_default()));
    check_coding(&head);
    let path_and_query = [head.path(), b"?", head.query()].concat();
    if path_and_query.starts_with(b"/") {
        let ignored = ["u*".to_owned()];
        for key in invalidated_keys(b"http", b"h", &path_and_query, &first, &ignored) {
            assert!(key.starts_with(b"http://h/"));
        }
    }
    let Ok(freshness) = storable(&head, &first, NOW) else {
        return;
    };
    assert!(first.header("set-cookie").is_none());
    let variants = Variants {
        id: 1,
        vary: Vary::of(&first).expect("it can be selected"),
    };
    assert_eq!(
        Entry::decode(&variants.encode()),
        Some(Entry::Variants(variants.clone()))
    );
    assert!(key::secondary(b"k", &variants, &head).starts_with(b"k\0"));
    let mut meta = Meta::new(&first, freshness);
    assert!(meta.tags().eq(tags::of(&first)));
    check_answer(&head, &meta);
    if freshen(&mut meta, &head, &second, NOW + 10) == Freshened::Updated {
        check_answer(&head, &meta);
    }
});

/// A head with the lines that are valid.
fn response(status: u16, lines: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set_status(status, b"").expect("it is final");
    for line in lines.split(|&byte| byte == b'\n') {
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            let _ = head.push(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    head
}

fn check_entry(bytes: &[u8]) {
    if let Some(Entry::Response(meta)) = Entry::decode(bytes) {
        assert_eq!(Meta::decode(&meta.encode()), Some(meta.clone()));
        let _ = meta.freshness.expires();
    }
}

fn check_coding(head: &RequestHead) {
    let offered: [&[u8]; 3] = [b"zstd", b"br", b"gzip"];
    let field = head.header("accept-encoding");
    if let Choice::Index(index) = choose(field, &offered) {
        let field = field.unwrap_or_default().to_ascii_lowercase();
        let names = |name: &[u8]| field.windows(name.len()).any(|part| part == name);
        assert!(names(offered[index]) || names(b"*"));
    }
}

fn check_answer(head: &RequestHead, meta: &Meta<'_>) {
    let encoded = meta.encode();
    assert_eq!(Meta::decode(&encoded), Some(meta.clone()));
    for (length, now) in [(0, NOW), (11, NOW + 70)] {
        let _ = reuse(head, meta, now);
        let answer = answer(head, meta, length, now, 7);
        assert!(answer.head.header("cache-tag").is_none());
        let ranges = match answer.body {
            AnswerBody::Range(range) => vec![range],
            AnswerBody::Ranges(ranges, parts) => {
                let heads: usize = parts.part_heads.iter().map(Vec::len).sum();
                let content: u64 = ranges.iter().map(|range| range.len()).sum();
                assert_eq!(parts.length, content + (heads + parts.end.len()) as u64);
                ranges
            }
            AnswerBody::Empty | AnswerBody::Omitted | AnswerBody::Whole => Vec::new(),
        };
        assert_eq!(answer.head.status() == 206, !ranges.is_empty());
        for range in ranges {
            assert!(range.first <= range.last && range.last < length);
        }
    }
}
