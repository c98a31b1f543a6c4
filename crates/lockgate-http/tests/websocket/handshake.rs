//! The opening handshake: what a client's request must have, and the fields of the answer.

use lockgate_http::websocket::{Acceptance, HandshakeRefusal};
use lockgate_http::{Event, Limits, RequestHead, RequestParser};
use proptest::prelude::*;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// The request of RFC 6455 §1.3.
const REQUEST: &str = "GET /chat HTTP/1.1\r
Host: server.example.com\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Protocol: chat, superchat\r
Sec-WebSocket-Version: 13\r
\r
";

fn read(request: &str) -> Result<Acceptance, HandshakeRefusal> {
    let mut head = RequestHead::default();
    let mut parser = RequestParser::new(Limits::default());
    let (_, event) = parser.step(request.as_bytes(), &mut head).unwrap();
    assert!(matches!(event, Event::Head));
    Acceptance::of(&head)
}

#[test]
fn the_answer_is_that_of_the_rfc() {
    let acceptance = read(REQUEST).unwrap();
    assert!(acceptance.protocols().eq(["chat", "superchat"]));
    let mut expected = vec![
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ];
    assert_eq!(acceptance.fields(None), expected);
    assert_eq!(acceptance.fields(Some("other")), expected, "not offered");
    expected.push(("Sec-WebSocket-Protocol", "superchat"));
    assert_eq!(acceptance.fields(Some("superchat")), expected);
}

#[test]
fn a_request_opens_a_websocket_or_is_refused_for_its_fault() {
    use HandshakeRefusal as Refusal;
    // Each replaces a part of the request.
    let cases = [
        ("Upgrade: websocket", "Upgrade: h2c, WebSocket", None),
        (
            "Connection: Upgrade",
            "Connection: keep-alive, upgrade",
            None,
        ),
        (
            "Connection: Upgrade",
            "Connection: keep-alive\r\nConnection: Upgrade",
            None,
        ),
        (
            "chat, superchat",
            "chat\r\nSec-WebSocket-Protocol: superchat",
            None,
        ),
        ("Sec-WebSocket-Protocol: chat, superchat\r\n", "", None),
        ("ub25jZQ==", "ub25jZR==", None),
        ("Host:", "Content-Length: 0\r\nHost:", None),
        ("GET /chat", "POST /chat", Some(Refusal::Method)),
        ("HTTP/1.1", "HTTP/1.0", Some(Refusal::HttpVersion)),
        ("Host:", "Content-Length: 1\r\nHost:", Some(Refusal::Body)),
        (
            "Host:",
            "Transfer-Encoding: chunked\r\nHost:",
            Some(Refusal::Body),
        ),
        ("Upgrade: websocket\r\n", "", Some(Refusal::Upgrade)),
        (
            "Upgrade: websocket",
            "Upgrade: websocket2",
            Some(Refusal::Upgrade),
        ),
        ("Connection: Upgrade\r\n", "", Some(Refusal::Connection)),
        (
            "Connection: Upgrade",
            "Connection: close",
            Some(Refusal::Connection),
        ),
        ("Version: 13", "Version: 8", Some(Refusal::Version)),
        ("Version: 13", "Version: 013", Some(Refusal::Version)),
        (
            "Version: 13",
            "Version: 13\r\nSec-WebSocket-Version: 13",
            Some(Refusal::Version),
        ),
        ("Sec-WebSocket-Version: 13\r\n", "", Some(Refusal::Version)),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            Some(Refusal::Key),
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", Some(Refusal::Key)),
        ("dGhlIHNhbXBsZSBub25jZQ==", "==", Some(Refusal::Key)),
        ("jZQ==", "jZQjZQ==", Some(Refusal::Key)),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25j",
            Some(Refusal::Key),
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQA=",
            Some(Refusal::Key),
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZ===",
            Some(Refusal::Key),
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub_5jZQ==",
            Some(Refusal::Key),
        ),
        ("chat, superchat", "chat, chat", Some(Refusal::Protocol)),
        ("chat, superchat", "chat room", Some(Refusal::Protocol)),
    ];
    for (from, to, refusal) in cases {
        assert_eq!(REQUEST.matches(from).count(), 1, "{from}");
        let outcome = read(&REQUEST.replace(from, to));
        assert_eq!(outcome.err(), refusal, "{from} -> {to}");
    }
}

#[test]
fn a_refusal_says_what_the_client_can_do() {
    use HandshakeRefusal as Refusal;
    for (refusal, status, field) in [
        (Refusal::Method, 405, Some(("Allow", "GET"))),
        (Refusal::Version, 426, Some(("Sec-WebSocket-Version", "13"))),
        (Refusal::Upgrade, 426, Some(("Upgrade", "websocket"))),
        (Refusal::Key, 400, None),
        (Refusal::Body, 400, None),
    ] {
        assert_eq!(refusal.status(), status);
        let fields = refusal.fields();
        match field {
            Some(field) => assert!(fields.contains(&field), "{refusal}"),
            None => assert!(fields.is_empty(), "{refusal}"),
        }
    }
}

proptest! {
    #[test]
    fn the_answer_is_the_one_that_tungstenite_expects(_ in any::<bool>()) {
        let key = generate_key();
        let acceptance = read(&REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", &key)).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        prop_assert!(acceptance.fields(None).contains(&("Sec-WebSocket-Accept", &accept)));
    }
}
