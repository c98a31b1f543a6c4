//! Packets of the uwsgi protocol: writes them, feeds them to a parser in pieces, and describes what they say.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs)]

use lockgate_http::uwsgi::{Packet, RemoteAddress};
use lockgate_http::{Event, Framing, Limits, RequestHead, RequestParser};

/// The bytes of a packet with these variables.
pub fn write_packet(modifiers: (u8, u8), variables: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for part in variables.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
        block.extend_from_slice(part);
    }
    let [low, high] = u16::try_from(block.len()).unwrap().to_le_bytes();
    [&[modifiers.0, low, high, modifiers.1][..], &block].concat()
}

/// Feeds `pieces` one after another, then the end of the input. The description is that of `corpus/README.md`.
pub fn play<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> String {
    let mut parser = RequestParser::of_uwsgi(limits);
    let mut head = RequestHead::default();
    let mut body = Vec::new();
    let mut text = String::new();
    for piece in pieces {
        let mut rest = piece;
        loop {
            assert!(!parser.is_idle() || parser.buffered() == 0);
            let (used, event) = match parser.step(rest, &mut head) {
                Ok(step) => step,
                Err(refusal) => {
                    let again = parser.step(b"\0\0\0\0", &mut head);
                    assert_eq!(again, Err(refusal), "a refusal is final");
                    return with_refusal(text, refusal);
                }
            };
            assert!(parser.buffered() <= limits.head + 4);
            rest = &rest[used..];
            match event {
                Event::NeedMore => break assert!(rest.is_empty()),
                Event::Head => {
                    let packet = parser.take_packet().unwrap();
                    text = describe(&head, &packet);
                    check(&head, &limits);
                }
                Event::Body(bytes) => body.extend_from_slice(bytes),
                Event::End => parser.next_message(),
                Event::Paused => break,
            }
            if parser.is_idle() {
                // A second packet would be read as HTTP: the connection closes instead.
                break;
            }
        }
        if parser.is_idle() && !text.is_empty() {
            break;
        }
    }
    if !body.is_empty() {
        text.push_str(&format!(" {:?}", String::from_utf8_lossy(&body)));
    }
    match parser.receive_eof() {
        Ok(()) => text,
        Err(refusal) => with_refusal(text, refusal),
    }
}

fn with_refusal(text: String, refusal: lockgate_http::Refusal) -> String {
    let variant = format!("{refusal:?}");
    let variant = variant.strip_prefix("Packet(").unwrap_or(&variant);
    let variant = variant.split([' ', ')']).next().unwrap();
    let refused = format!("{} {variant}", refusal.status());
    match text.as_str() {
        "" => refused,
        text => format!("{text} + {refused}"),
    }
}

fn describe(head: &RequestHead, packet: &Packet) -> String {
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let framing = match head.framing() {
        Framing::None => "none".to_owned(),
        Framing::Length(length) => length.to_string(),
        other => panic!("{other:?}"),
    };
    let mut words = vec![shown(head.method()), shown(head.target()), framing];
    let mut add = |condition: bool, word: String| {
        if condition {
            words.push(word);
        }
    };
    let (path, query) = match head.target().iter().position(|&byte| byte == b'?') {
        Some(at) => (&head.target()[..at], &head.target()[at + 1..]),
        None => (head.target(), &b""[..]),
    };
    add(head.path() != path, format!("path={}", shown(head.path())));
    add(
        head.query() != query,
        format!("query={}", shown(head.query())),
    );
    let mount = head.script_name();
    add(!mount.is_empty(), format!("mount={}", shown(mount)));
    let host = head.host().map(shown);
    add(
        host.as_deref() != Some("h"),
        format!("host={}", host.unwrap_or_default()),
    );
    let version = head.version().as_str();
    assert_eq!(head.protocol(), version.as_bytes());
    add(version != "HTTP/1.1", version.to_owned());
    add(packet.is_https(), "https".to_owned());
    match packet.remote_address() {
        RemoteAddress::Absent => {}
        RemoteAddress::Unix => add(true, "remote=unix".to_owned()),
        RemoteAddress::Network(address, port) => add(true, format!("remote={address},{port}")),
    }
    let (name, port) = (packet.server_name(), packet.server_port());
    add(
        name != "h" || port.is_some(),
        format!("server={name},{}", port.unwrap_or_default()),
    );
    for (name, value) in head.headers().filter(|(name, _)| *name != b"HOST") {
        add(true, format!("{}:{}", shown(name), shown(value)));
    }
    for (name, value) in packet.parameters() {
        add(true, format!("{}={}", shown(name), shown(value)));
    }
    format!("200 {}", words.join(" "))
}

/// What holds for every request.
fn check(head: &RequestHead, limits: &Limits) {
    assert!(!head.expects_continue() && head.dropped_fields() == 0);
    assert!(head.may_have_forwarding_headers());
    assert!(head.headers().len() <= limits.fields);
    for (name, value) in head.headers() {
        assert!(!name.contains(&b'_'));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    let is_path = matches!(head.path(), [] | [b'/', ..] | b"*");
    assert!(is_path && head.path().iter().all(u8::is_ascii_graphic));
}
