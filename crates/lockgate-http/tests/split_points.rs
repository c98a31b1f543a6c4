//! Property tests over generated input: every cut of the same bytes gives the same events, nothing panics, and an
//! independent parser reads accepted input the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lockgate_http::Limits;
use proptest::prelude::*;
use proptest::sample::{Index, select};

mod replay;

use replay::{check_with_builder, check_with_httparse, play};

/// Small enough for generated input to reach every limit.
const LIMITS: Limits = Limits {
    request_line: 60,
    fields: 5,
    field_size: 40,
    head: 160,
    body: 40,
    chunk_line: 20,
    trailers: 50,
};

const REQUESTS: [&str; 8] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\nGET /a?b HTTP/1.1\r\nHost: [::1]:80\r\nX_Y: z\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET http://a.b:1/c?d HTTP/1.1\r\nHost: e\r\nEmpty:\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;b=\"c\"\r\n0123456789\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n00\r\nA: b\r\nC: d\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
];

/// Fragments of requests, valid and invalid.
const FRAGMENTS: [&str; 44] = [
    "GET ",
    "POST ",
    "OPTIONS ",
    "PRI ",
    "CONNECT ",
    "/",
    "*",
    "http://h",
    "?",
    "#",
    " HTTP/1.1",
    " HTTP/1.0",
    " HTTP/2.0",
    "HTTP/",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ": ",
    "Host: h\r\n",
    "Host:",
    "Content-Length: 3\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:",
    "Connection: close\r\n",
    "Expect: ",
    "100-continue",
    "chunked",
    ", ",
    "3",
    "0",
    "abc",
    ";a=b",
    "\"",
    "\\",
    "\0",
    "\u{7f}",
    "é",
];

#[derive(Debug, Clone)]
enum Change {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![any::<u8>(), select(&b"\r\n :;,\t\0/=\"_+x09"[..])];
    prop_oneof![
        (any::<Index>(), byte).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), select(&FRAGMENTS[..]))
            .prop_map(|(at, fragment)| Change::Insert(at, fragment)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, length: usize| (at + length).min(bytes.len());
    match change {
        Change::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Insert(at, fragment) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, fragment.bytes());
        }
        Change::Remove(at, length) => {
            let at = at.index(bytes.len());
            bytes.drain(at..end(at, *length));
        }
        Change::Repeat(at, length) => {
            let at = at.index(bytes.len());
            let again = bytes[at..end(at, *length)].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let raw = prop::collection::vec(any::<u8>(), 0..200);
    let fragments = prop::collection::vec(select(&FRAGMENTS[..]), 0..40)
        .prop_map(|fragments| fragments.concat().into_bytes());
    let changed = (
        prop::collection::vec(select(&REQUESTS[..]), 1..4),
        prop::collection::vec(any_change(), 0..4),
    )
        .prop_map(|(requests, changes)| {
            let mut bytes = requests.concat().into_bytes();
            for change in &changes {
                apply(change, &mut bytes);
            }
            bytes
        });
    prop_oneof![1 => raw, 2 => fragments, 5 => changed]
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_same_bytes_give_the_same_events_wherever_they_are_cut(
        bytes in any_input(),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let whole = play([&bytes[..]], LIMITS);
        prop_assert_eq!(&play(pieces(&bytes, &cuts), LIMITS), &whole);
        prop_assert_eq!(&play(bytes.chunks(1), LIMITS), &whole);
        for message in &whole.messages {
            check_with_httparse(message);
            check_with_builder(message);
            prop_assert!(message.head_bytes.len() <= LIMITS.head);
            prop_assert!(message.body.len() as u64 <= LIMITS.body);
            prop_assert!(message.headers.len() + message.dropped <= LIMITS.fields);
        }
    }

    #[test]
    fn another_parser_accepts_every_accepted_target(target in "[!-~]{0,30}") {
        let bytes = format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let whole = play([bytes.as_bytes()], LIMITS);
        prop_assert_eq!(whole.messages.is_empty(), target.contains('#'));
        whole.messages.iter().for_each(check_with_httparse);
    }
}
