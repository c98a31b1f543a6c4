//! Connection preface, frames and their kinds (RFC 9113 §3.4, §4, §6).

use lockgate_http::Limits;
use lockgate_http::http2::{Http2Settings, PREFACE};

use crate::client::*;

#[test]
fn a_connection_begins_with_the_prefaces() {
    let mut client = Client::new(Http2Settings::default(), Limits::default());
    // RFC 9113 §3.4: SETTINGS is the server's first frame.
    assert_eq!(client.received(), ["SETTINGS", "WINDOW_UPDATE 0 983041"]);
    assert!(!client.connection.has_preface());
    let settings = frame(SETTINGS, 0, 0, b"");
    assert!(client.send(&PREFACE[..]).unwrap().is_empty());
    assert!(!client.connection.has_preface());
    client.send(&settings).unwrap();
    assert!(client.connection.has_preface());
    assert_eq!(client.received(), ["SETTINGS ACK"]);

    for input in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRX",
        &PREFACE.map(|byte| byte.to_ascii_lowercase())[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        // The first frame is not SETTINGS, or acknowledges some.
        &[&PREFACE[..], &frame(PING, 0, 0, b"12345678")].concat(),
        &[&PREFACE[..], &get(1)].concat(),
        &[&PREFACE[..], &frame(SETTINGS, ACK, 0, b"")].concat(),
    ] {
        let mut client = Client::new(Http2Settings::default(), Limits::default());
        client.received.clear();
        let error = client.send(input).unwrap_err();
        assert_eq!(client.received(), ["GOAWAY 0 1"], "{input:?}");
        // An error is final, and written once.
        assert_eq!(client.send(&settings), Err(error));
        assert!(client.received.is_empty());
    }
}

#[test]
fn frames_are_taken_or_end_the_connection() {
    let long = vec![0; 16_385];
    let cases = [
        // §4.1: reserved bit, unknown types and flags are ignored.
        (
            "reserved bit",
            frame(PING, 0, 1 << 31, b"12345678"),
            " | PING 1 [49, 50, 51, 52, 53, 54, 55, 56]",
        ),
        ("unknown type", frame(0xff, 0xff, 0, b"12345678"), " | "),
        ("unknown type on a stream", frame(0x16, 0xff, 7, b""), " | "),
        (
            "undefined flags",
            frame(PING, 0x16, 0, b"12345678"),
            " | PING 1 [49, 50, 51, 52, 53, 54, 55, 56]",
        ),
        // §4.2: the size of frames.
        (
            "long DATA",
            [post(1), frame(DATA, 0, 1, &long)].concat(),
            "request 1 POST / false; error | GOAWAY 1 6",
        ),
        (
            "long HEADERS",
            frame(HEADERS, 5, 1, &long),
            "error | GOAWAY 0 6",
        ),
        (
            "long unknown type",
            frame(0xff, 0, 0, &long),
            "error | GOAWAY 0 6",
        ),
        (
            "the longest DATA",
            [post(1), frame(DATA, 1, 1, &long[..16_384])].concat(),
            "request 1 POST / false; data 1 16384 16384 true | ",
        ),
        // §6.1 DATA
        ("DATA on 0", frame(DATA, 0, 0, b"a"), "error | GOAWAY 0 1"),
        (
            "padding",
            [post(1), frame(DATA, PADDED | END_STREAM, 1, b"\x02ab\0\0")].concat(),
            "request 1 POST / false; data 1 2 5 true | ",
        ),
        (
            "only padding",
            [post(1), frame(DATA, PADDED, 1, b"\x02\0\0")].concat(),
            "request 1 POST / false | ",
        ),
        (
            "padding as long as the frame",
            [post(1), frame(DATA, PADDED, 1, b"\x03\0\0")].concat(),
            "request 1 POST / false; error | GOAWAY 1 1",
        ),
        (
            "padding without its length",
            [post(1), frame(DATA, PADDED, 1, b"")].concat(),
            "request 1 POST / false; error | GOAWAY 1 6",
        ),
        // §6.2 HEADERS
        ("HEADERS on 0", headers(0, 1, &GET), "error | GOAWAY 0 1"),
        (
            "padding and priority",
            frame(
                HEADERS,
                END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
                3,
                &[b"\x01\0\0\0\x01\xff", &block(&GET)[..], b"\0"].concat(),
            ),
            "request 3 GET / true | ",
        ),
        (
            "padding longer than HEADERS",
            frame(HEADERS, 0xd, 1, &[b"\xff", &block(&GET)[..]].concat()),
            "error | GOAWAY 0 1",
        ),
        (
            "HEADERS too short for its priority",
            frame(HEADERS, 0x25, 1, b"\0\0"),
            "error | GOAWAY 0 6",
        ),
        // §6.3 PRIORITY
        ("PRIORITY", frame(PRIORITY, 0, 5, b"\0\0\0\x01\x10"), " | "),
        (
            "PRIORITY on 0",
            frame(PRIORITY, 0, 0, b"\0\0\0\x01\x10"),
            "error | GOAWAY 0 1",
        ),
        (
            "PRIORITY of another length",
            [post(1), frame(PRIORITY, 0, 1, b"\0\0\0\0")].concat(),
            "request 1 POST / false; reset 1 6 | RST_STREAM 1 6",
        ),
        // §6.4 RST_STREAM
        ("RST_STREAM on 0", reset(0, 8), "error | GOAWAY 0 1"),
        (
            "RST_STREAM on an idle stream",
            reset(1, 8),
            "error | GOAWAY 0 1",
        ),
        (
            "RST_STREAM of another length",
            [post(1), frame(RST_STREAM, 0, 1, b"\0\0\0")].concat(),
            "request 1 POST / false; error | GOAWAY 1 6",
        ),
        (
            "RST_STREAM of an unknown code",
            [post(1), reset(1, 0xff)].concat(),
            "request 1 POST / false; reset 1 255 | ",
        ),
        // §6.5 SETTINGS
        ("SETTINGS", frame(SETTINGS, 0, 0, b""), " | SETTINGS ACK"),
        ("SETTINGS ACK", frame(SETTINGS, ACK, 0, b""), " | "),
        (
            "SETTINGS ACK with a payload",
            frame(SETTINGS, ACK, 0, b"\0\0\0\0\0\0"),
            "error | GOAWAY 0 6",
        ),
        (
            "SETTINGS on a stream",
            frame(SETTINGS, 0, 1, b""),
            "error | GOAWAY 0 1",
        ),
        (
            "SETTINGS of another length",
            frame(SETTINGS, 0, 0, b"\0\0\0"),
            "error | GOAWAY 0 6",
        ),
        ("ENABLE_PUSH", setting(2, 1), " | SETTINGS ACK"),
        ("ENABLE_PUSH of 2", setting(2, 2), "error | GOAWAY 0 1"),
        (
            "INITIAL_WINDOW_SIZE",
            setting(4, i32::MAX as u32),
            "window | SETTINGS ACK",
        ),
        (
            "INITIAL_WINDOW_SIZE too large",
            setting(4, 1 << 31),
            "error | GOAWAY 0 3",
        ),
        (
            "MAX_FRAME_SIZE",
            setting(5, (1 << 24) - 1),
            " | SETTINGS ACK",
        ),
        (
            "MAX_FRAME_SIZE too small",
            setting(5, 16_383),
            "error | GOAWAY 0 1",
        ),
        (
            "MAX_FRAME_SIZE too large",
            setting(5, 1 << 24),
            "error | GOAWAY 0 1",
        ),
        (
            "NO_RFC7540_PRIORITIES of 2",
            setting(9, 2),
            "error | GOAWAY 0 1",
        ),
        ("an unknown setting", setting(0xff, 5), " | SETTINGS ACK"),
        // §6.6 PUSH_PROMISE
        (
            "PUSH_PROMISE",
            frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02"),
            "error | GOAWAY 0 1",
        ),
        // §6.7 PING
        ("PING ACK", frame(PING, ACK, 0, b"12345678"), " | "),
        (
            "PING on a stream",
            frame(PING, 0, 1, b"12345678"),
            "error | GOAWAY 0 1",
        ),
        (
            "PING of another length",
            frame(PING, 0, 0, b"1234567"),
            "error | GOAWAY 0 6",
        ),
        // §6.8 GOAWAY
        (
            "GOAWAY",
            frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\x02why"),
            "goes away 2 | ",
        ),
        (
            "GOAWAY on a stream",
            frame(GOAWAY, 0, 1, b"\0\0\0\0\0\0\0\x02"),
            "error | GOAWAY 0 1",
        ),
        (
            "GOAWAY too short",
            frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0"),
            "error | GOAWAY 0 6",
        ),
        // §6.9 WINDOW_UPDATE
        ("WINDOW_UPDATE", window_update(0, 5), "window | "),
        (
            "WINDOW_UPDATE with the reserved bit",
            window_update(0, 1 << 31 | 5),
            "window | ",
        ),
        (
            "WINDOW_UPDATE of 0",
            window_update(0, 0),
            "error | GOAWAY 0 1",
        ),
        (
            "WINDOW_UPDATE of 0, reserved bit set",
            window_update(0, 1 << 31),
            "error | GOAWAY 0 1",
        ),
        (
            "WINDOW_UPDATE of another length",
            frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"),
            "error | GOAWAY 0 6",
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            window_update(1, 5),
            "error | GOAWAY 0 1",
        ),
        // §6.10 CONTINUATION
        (
            "CONTINUATION alone",
            frame(CONTINUATION, 4, 1, b""),
            "error | GOAWAY 0 1",
        ),
        (
            "CONTINUATION on 0",
            frame(CONTINUATION, 4, 0, b""),
            "error | GOAWAY 0 1",
        ),
        (
            "CONTINUATION after a whole block",
            [get(1), frame(CONTINUATION, 4, 1, b"")].concat(),
            "request 1 GET / true; error | GOAWAY 1 1",
        ),
        (
            "CONTINUATION on another stream",
            [
                frame(HEADERS, 1, 1, &block(&GET)),
                frame(CONTINUATION, 4, 3, b""),
            ]
            .concat(),
            "error | GOAWAY 0 1",
        ),
        (
            "another frame before CONTINUATION",
            [
                frame(HEADERS, 1, 1, &block(&GET)),
                frame(PING, 0, 0, b"12345678"),
            ]
            .concat(),
            "error | GOAWAY 0 1",
        ),
        (
            "an unknown type before CONTINUATION",
            [frame(HEADERS, 1, 1, &block(&GET)), frame(0xff, 0, 0, b"")].concat(),
            "error | GOAWAY 0 1",
        ),
        (
            "several CONTINUATION, one of them empty",
            [
                frame(HEADERS, 1, 1, &block(&GET[..2])),
                frame(CONTINUATION, 0, 1, &block(&GET[2..3])),
                frame(CONTINUATION, 0, 1, b""),
                frame(CONTINUATION, 4, 1, &block(&GET[3..])),
            ]
            .concat(),
            "request 1 GET / true | ",
        ),
        // §4.3: compression.
        (
            "a block that cannot be decoded",
            frame(HEADERS, 5, 1, b"\x80"),
            "error | GOAWAY 1 9",
        ),
        (
            "trailers that cannot be decoded",
            [post(1), frame(HEADERS, 5, 1, b"\xff")].concat(),
            "request 1 POST / false; error | GOAWAY 1 9",
        ),
        // RFC 9218 §7.1
        (
            "PRIORITY_UPDATE of 0",
            frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1"),
            "error | GOAWAY 0 1",
        ),
        (
            "PRIORITY_UPDATE of a pushed stream",
            frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x02u=1"),
            "error | GOAWAY 0 1",
        ),
        (
            "PRIORITY_UPDATE on a stream",
            frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01u=1"),
            "error | GOAWAY 0 1",
        ),
        (
            "PRIORITY_UPDATE too short",
            frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0"),
            "error | GOAWAY 0 6",
        ),
    ];
    for (name, input, expected) in cases {
        check(name, &input, expected);
    }
}
