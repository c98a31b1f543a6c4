//! Replays corpus/uwsgi: each file whole, cut in two at every byte, and byte by byte; and compares packets with the same
//! requests in HTTP/1. The file format is described in corpus/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::Path;

use lockgate_http::{Limits, RequestHead, RequestParser};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

mod packets;
mod samples;

use packets::{play, write_packet};
use samples::{parse_limits, unescape};

struct Sample {
    expect: String,
    limits: Limits,
    bytes: Vec<u8>,
}

fn read(text: &str) -> Sample {
    let (front, rest) = text.split_once("---\n").expect("a line ---");
    let line =
        |name: &str| (front.lines()).find_map(|line| line.strip_prefix(&format!("# {name}: ")));
    assert!(line("rule").is_some(), "{front}");
    let bytes = match rest.strip_prefix("raw\n") {
        Some(raw) => unescape(&raw.replace('\n', "")),
        None => {
            let modifiers = line("modifiers").unwrap_or("0 0").split_once(' ').unwrap();
            let modifiers = (modifiers.0.parse().unwrap(), modifiers.1.parse().unwrap());
            let variables = rest.lines().map(|line| {
                let (name, value) = line.split_once('=').expect(line);
                (unescape(name), unescape(value))
            });
            let mut bytes = write_packet(modifiers, &variables.collect::<Vec<_>>());
            bytes.extend(unescape(line("body").unwrap_or_default()));
            bytes
        }
    };
    Sample {
        expect: line("expect").expect("an expectation").to_owned(),
        limits: parse_limits(line("limits").unwrap_or_default()),
        bytes,
    }
}

#[test]
fn files_are_read_as_expected_wherever_they_are_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/uwsgi");
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Sample {
            expect,
            limits,
            bytes,
        } = read(&std::fs::read_to_string(&path).unwrap());
        let whole = play([&bytes[..]], limits);
        if whole != expect {
            wrong.push(format!("{name}:\n  expected {expect}\n  got      {whole}"));
        }
        assert_eq!(play(bytes.chunks(1), limits), whole, "{name}, byte by byte");
        let step = if bytes.len() > 2000 { 997 } else { 1 };
        for cut in (1..bytes.len()).step_by(step) {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(play([first, second], limits), whole, "{name}, cut at {cut}");
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 60, "only {count} files");
}

fn variables(pairs: &[(&str, &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let owned = |(name, value): &(&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
    pairs.iter().map(owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_packet_gives_the_request_that_its_parts_give_over_http(
        method in select(vec!["GET", "POST", "PUT", "X-Y", "CONNECT", "TRACE", "G ET", ""]),
        target in "(/[a-z%2F.]{0,8}){0,3}(\\?[a-z=]{0,4}[#\u{1}]?)?",
        host in select(vec!["h", "h:1", "[::1]", "a b", "h,i", "h/"]),
        length in select(vec!["", "0", "3", "+3", "3,3", "99999999999999999999"]),
        fields in vec((select(vec!["Accept", "X-Forwarded-For", "Cookie", "Te"]), "[a-z ,\u{1}\u{e9}]{0,6}"), 0..4),
    ) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        let mut pairs = variables(&[
            ("REQUEST_METHOD", method.as_bytes()),
            ("REQUEST_URI", target.as_bytes()),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("HTTP_HOST", host.as_bytes()),
            ("CONTENT_LENGTH", length.as_bytes()),
        ]);
        if !length.is_empty() {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        for (name, value) in &fields {
            text.push_str(&format!("{name}: {value}\r\n"));
            let name = name.to_ascii_uppercase().replace('-', "_");
            pairs.push((format!("HTTP_{name}").into_bytes(), value.clone().into_bytes()));
        }
        text.push_str("\r\n");
        let (mut of_http, mut of_packet) = (RequestHead::default(), RequestHead::default());
        let http = RequestParser::new(Limits::default()).step(text.as_bytes(), &mut of_http).map(drop);
        let bytes = write_packet((0, 0), &pairs);
        let packet = RequestParser::of_uwsgi(Limits::default()).step(&bytes, &mut of_packet).map(drop);
        // An empty target is missing here, and a line of HTTP/1 with white space has other parts.
        if target.is_empty() || method.contains(' ') || method.is_empty() {
            prop_assert!(packet.is_err());
        } else {
            prop_assert_eq!(&http, &packet);
        }
        if http.is_ok() && packet.is_ok() {
            let parts = |head: &RequestHead| {
                let fields = head.headers().map(|(name, value)| (name.to_ascii_uppercase(), value.to_vec()));
                let mut fields: Vec<_> = fields.collect();
                fields.sort();
                let words = [head.method(), head.target(), head.path(), head.query()].map(<[u8]>::to_vec);
                (words, head.host().map(<[u8]>::to_vec), head.framing(), fields)
            };
            prop_assert_eq!(parts(&of_http), parts(&of_packet));
        }
    }

    #[test]
    fn any_bytes_give_the_same_wherever_they_are_cut(
        modifiers in (select(vec![0, 0, 0, 30, 5, 71]), select(vec![0, 0, 0, 1])),
        pairs in vec((
            select(vec![
                "REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "HTTP_HOST", "CONTENT_LENGTH",
                "HTTP_TRANSFER_ENCODING", "SERVER_PROTOCOL", "REMOTE_ADDR", "SERVER_PORT", "HTTPS", "HTTP_X", "HTTP_", "FOO", "",
            ]),
            select(vec!["", "GET", "/", "/a", "/a/b?c", "/%61", "HTTP/1.1", "HTTP/2.0", "1", "h", "1.2.3.4", "unix:", "on", "\0", "é"]),
        ), 0..8),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let mut bytes = write_packet(modifiers, &variables(&pairs));
        bytes.extend(b"body");
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let limits = Limits { fields: 6, head: 300, ..Limits::default() };
        let whole = play([&bytes[..]], limits);
        prop_assert_eq!(&play(bytes.chunks(1), limits), &whole);
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        prop_assert_eq!(&play([first, second], limits), &whole);
    }
}
