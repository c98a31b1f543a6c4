//! Connection preface, frames and their kinds (RFC 9113 §3.4, §4, §6).

use std::path::Path;

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
fn the_corpus_gives_its_events_and_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/http2/frames");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (front, lines) = text.split_once("---\n").unwrap();
        let expected = front
            .lines()
            .find_map(|line| line.strip_prefix("# expect:"));
        let input: Vec<u8> = lines.lines().flat_map(read_frame).collect();
        check(
            &path.display().to_string(),
            &input,
            expected.unwrap().trim(),
        );
        count += 1;
    }
    // As many as there were when this was written.
    assert!(count >= 97, "only {count} files");
}

/// A frame from its line: kind, flags, stream and payload.
fn read_frame(line: &str) -> Vec<u8> {
    let mut words = line.split_whitespace();
    let kind = match words.next().unwrap() {
        "DATA" => DATA,
        "HEADERS" => HEADERS,
        "PRIORITY" => PRIORITY,
        "RST_STREAM" => RST_STREAM,
        "SETTINGS" => SETTINGS,
        "PUSH_PROMISE" => PUSH_PROMISE,
        "PING" => PING,
        "GOAWAY" => GOAWAY,
        "WINDOW_UPDATE" => WINDOW_UPDATE,
        "CONTINUATION" => CONTINUATION,
        "PRIORITY_UPDATE" => PRIORITY_UPDATE,
        number => number.parse().unwrap(),
    };
    let flags = u8::from_str_radix(words.next().unwrap(), 16).unwrap();
    let stream = words.next().unwrap().parse().unwrap();
    let mut payload = Vec::new();
    for word in words {
        let (byte, count) = word.split_once('*').unwrap_or((word, "1"));
        let byte = u8::from_str_radix(byte, 16).unwrap();
        payload.extend(std::iter::repeat_n(byte, count.parse().unwrap()));
    }
    frame(kind, flags, stream, &payload)
}
