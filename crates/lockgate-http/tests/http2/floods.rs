//! Floods: what a peer may do often ends the connection with ENHANCE_YOUR_CALM before it costs much.

use std::time::{Duration, Instant};

use lockgate_http::Limits;
use lockgate_http::http2::{CONTROL_LIMIT, ConnectionError, Http2Settings};

use crate::client::*;

/// What a client sends next.
type Next = Box<dyn Fn(u32) -> Vec<u8>>;

/// Sends frames one by one and reads all answers; returns after how many the connection ended, and why.
fn flood(
    client: &mut Client,
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> Option<(u32, ConnectionError)> {
    for count in 0..5000 {
        if let Err(error) = client.send(&next(count)) {
            assert!(error.is_abuse(), "{error}");
            let last = client.received().pop().unwrap();
            assert!(
                last.starts_with("GOAWAY") && last.ends_with(" 11"),
                "{last}"
            );
            return Some((count, error));
        }
        client.received.clear();
        for _ in 0..4 {
            client.connection.abandoned_request_ended();
        }
    }
    None
}

#[test]
fn a_flood_ends_the_connection() {
    let id = |count: u32| 2 * count + 3;
    let cases: [(&str, ConnectionError, u32, Next); 14] = [
        (
            "rapid reset (CVE-2023-44487)",
            ConnectionError::RapidReset,
            400,
            Box::new(move |count| [get(id(count)), reset(id(count), 8)].concat()),
        ),
        (
            "WINDOW_UPDATE of 0 (CVE-2025-8671)",
            ConnectionError::RapidReset,
            400,
            Box::new(move |count| [get(id(count)), window_update(id(count), 0)].concat()),
        ),
        (
            "WINDOW_UPDATE beyond the maximum (CVE-2025-8671)",
            ConnectionError::RapidReset,
            400,
            Box::new(move |count| {
                [get(id(count)), window_update(id(count), i32::MAX as u32)].concat()
            }),
        ),
        (
            "DATA after the end (CVE-2025-8671)",
            ConnectionError::RapidReset,
            400,
            Box::new(move |count| [get(id(count)), frame(DATA, 0, id(count), b"a")].concat()),
        ),
        (
            "malformed requests",
            ConnectionError::RapidReset,
            400,
            Box::new(move |count| headers(id(count), 1, &GET[1..])),
        ),
        (
            "HEADERS after RST_STREAM",
            ConnectionError::RapidReset,
            400,
            Box::new(move |_| [headers(1, 0, &[("a", "b")])].concat()),
        ),
        (
            "PING",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(PING, 0, 0, b"12345678")),
        ),
        (
            "SETTINGS",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(SETTINGS, 0, 0, b"")),
        ),
        (
            "SETTINGS ACK",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(SETTINGS, ACK, 0, b"")),
        ),
        (
            "long SETTINGS",
            ConnectionError::ControlFlood,
            4,
            Box::new(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1].repeat(2700))),
        ),
        (
            "PRIORITY",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(PRIORITY, 0, 9, b"\0\0\0\x01\x01")),
        ),
        (
            "PRIORITY_UPDATE",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x09u=1")),
        ),
        (
            "WINDOW_UPDATE",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| window_update(0, 1)),
        ),
        (
            "empty DATA (CVE-2019-9518)",
            ConnectionError::ControlFlood,
            1000,
            Box::new(|_| frame(DATA, 0, 1, b"")),
        ),
    ];
    for (name, expected, most, next) in cases {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&post(1)).unwrap();
        let (count, error) = flood(&mut client, next).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(error, expected, "{name}");
        assert!(
            (most..most + 6).contains(&(count + 5)) && count <= most,
            "{name}: {count}"
        );
    }
}

#[test]
fn a_header_block_is_bounded() {
    let continuation = |length: usize| frame(CONTINUATION, 0, 1, &vec![0x82; length]);
    // Each is the last that is taken.
    for (length, most) in [(1, 32), (16_384, 4), (0, 32)] {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&frame(HEADERS, 1, 1, &block(&GET))).unwrap();
        assert!(client.connection.is_reading_headers());
        let (count, error) = flood(&mut client, |_| continuation(length)).unwrap();
        assert_eq!((count, error), (most, ConnectionError::HeaderBlock));
    }
    // Compression makes the list no longer than the head may be.
    let entry = [b"\x40\x01x\x7f\xa1\x1e", &[b'v'; 4000][..]].concat();
    let bomb = [&block(&GET)[..], &entry, &[0xbe; 12_000]].concat();
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    let input = [
        frame(HEADERS, 1, 1, &bomb[..16_000]),
        frame(CONTINUATION, 4, 1, &bomb[16_000..]),
        frame(HEADERS, 5, 3, &[&block(&GET)[..], &[0xbe; 10]].concat()),
    ];
    assert_eq!(
        client.outcome(&input.concat()),
        "refused 1 head_too_large; request 3 GET / true | "
    );
    assert!(client.head.head_bytes().len() < 65_536);
}

#[test]
fn answers_that_are_not_read_end_the_connection() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    let ping = frame(PING, 0, 0, b"12345678");
    let error = client.send(&ping.repeat(1000)).unwrap_err();
    assert_eq!(error, ConnectionError::UnreadAnswers);
    assert!(client.received.len() < CONTROL_LIMIT + 200);
}

#[test]
fn a_budget_comes_back_with_time_and_with_responses() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    let ping = frame(PING, 0, 0, b"12345678");
    for round in 1..20 {
        client
            .connection
            .begin_turn(Instant::now() + Duration::from_secs(round * 20));
        for _ in 0..1000 {
            client.send(&ping).unwrap();
            client.received.clear();
        }
    }
    // A client that cancels every other request goes on.
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    for count in 0..2000 {
        let (first, second) = (4 * count + 1, 4 * count + 3);
        client
            .send(&[get(first), get(second), reset(first, 8)].concat())
            .unwrap();
        client.connection.abandoned_request_ended();
        crate::states::answer(&mut client, second);
        client.received.clear();
    }
}
