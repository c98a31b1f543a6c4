//! Events of WebSocket-over-HTTP: the content of `application/websocket-events`.

use lockgate_http::websocket::CloseCode;
use lockgate_http::websocket::events::{
    EventLimits, InvalidEvents, WebSocketEvent, decode, encode,
};
use proptest::prelude::*;

const LIMITS: EventLimits = EventLimits {
    events: 8,
    size: 32,
};

fn encode_all(events: &[WebSocketEvent]) -> Vec<u8> {
    let mut out = Vec::new();
    events.iter().for_each(|event| encode(event, &mut out));
    out
}

#[test]
fn each_type_has_its_form() {
    let close =
        |code: u16, reason: &str| WebSocketEvent::Close(Some((CloseCode(code), reason.to_owned())));
    let cases: [(&[u8], WebSocketEvent); 9] = [
        (b"OPEN\r\n", WebSocketEvent::Open),
        (
            b"TEXT b\r\nhello world\r\n",
            WebSocketEvent::Text("hello world".to_owned()),
        ),
        (b"TEXT 0\r\n\r\n", WebSocketEvent::Text(String::new())),
        (
            b"BINARY 4\r\n\0\r\n\xff\r\n",
            WebSocketEvent::Binary(b"\0\r\n\xff".to_vec()),
        ),
        (b"PING 1\r\np\r\n", WebSocketEvent::Ping(b"p".to_vec())),
        (b"PONG 0\r\n\r\n", WebSocketEvent::Pong(Vec::new())),
        (b"CLOSE\r\n", WebSocketEvent::Close(None)),
        (b"CLOSE 5\r\n\x03\xe8bye\r\n", close(1000, "bye")),
        (b"DISCONNECT\r\n", WebSocketEvent::Disconnect),
    ];
    for (content, event) in &cases {
        assert_eq!(
            decode(content, LIMITS).as_deref(),
            Ok(std::slice::from_ref(event))
        );
        assert_eq!(encode_all(std::slice::from_ref(event)), *content);
    }
    let all: Vec<u8> = cases[1..]
        .iter()
        .flat_map(|(content, _)| content.iter().copied())
        .collect();
    let events: Vec<WebSocketEvent> = cases[1..].iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(decode(&all, LIMITS), Ok(events));
}

#[test]
fn other_forms_of_the_same_event_are_decoded() {
    let cases: [(&[u8], WebSocketEvent); 6] = [
        (
            b"TEXT B\r\nhello world\r\n",
            WebSocketEvent::Text("hello world".to_owned()),
        ),
        (b"TEXT 0001\r\nx\r\n", WebSocketEvent::Text("x".to_owned())),
        (b"TEXT\r\n", WebSocketEvent::Text(String::new())),
        (b"PING\r\n", WebSocketEvent::Ping(Vec::new())),
        (b"OPEN 0\r\n\r\n", WebSocketEvent::Open),
        (b"CLOSE 0\r\n\r\n", WebSocketEvent::Close(None)),
    ];
    for (content, event) in cases {
        assert_eq!(decode(content, LIMITS), Ok(vec![event]));
    }
    assert_eq!(decode(b"", LIMITS), Ok(Vec::new()));
}

#[test]
fn a_content_that_is_no_list_of_events_is_refused() {
    let many = b"OPEN\r\n".repeat(9);
    let cases: [(&[u8], InvalidEvents); 19] = [
        (b"OPEN", InvalidEvents::Truncated),
        (b"OPEN\r", InvalidEvents::Truncated),
        (b"TEXT 5\r\nhell", InvalidEvents::Truncated),
        (b"TEXT 5\r\nhello", InvalidEvents::Truncated),
        (b"TEXT 5\r\nhello\r", InvalidEvents::Truncated),
        (b"TEXT 1\r\nxyz", InvalidEvents::LineEnd),
        (b"TEXT g\r\n", InvalidEvents::Length),
        (b"TEXT \r\n", InvalidEvents::Length),
        (b"TEXT -1\r\n", InvalidEvents::Length),
        (b"TEXT  1\r\nx\r\n", InvalidEvents::Length),
        (b"TEXT 21\r\n", InvalidEvents::TooBig),
        (b"TEXT ffffffffffffffff\r\n", InvalidEvents::TooBig),
        (b"TEXT 10000000000000000\r\n", InvalidEvents::TooBig),
        (b"SHUT\r\n", InvalidEvents::Type),
        (b"text 1\r\nx\r\n", InvalidEvents::Type),
        (b"<!doctype html><html><head><title>", InvalidEvents::Type),
        (b"TEXT 1\r\n\xff\r\n", InvalidEvents::Utf8),
        (b"CLOSE 1\r\n\x03\r\n", InvalidEvents::CloseCode),
        (&many, InvalidEvents::TooMany),
    ];
    for (content, fault) in cases {
        let name = content.escape_ascii();
        assert_eq!(decode(content, LIMITS), Err(fault), "{name}");
    }
}

fn event() -> impl Strategy<Value = WebSocketEvent> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..=32);
    let close = (any::<u16>().prop_map(CloseCode), ".{0,7}");
    prop_oneof![
        Just(WebSocketEvent::Open),
        ".{0,8}".prop_map(WebSocketEvent::Text),
        bytes().prop_map(WebSocketEvent::Binary),
        bytes().prop_map(WebSocketEvent::Ping),
        bytes().prop_map(WebSocketEvent::Pong),
        prop::option::of(close).prop_map(WebSocketEvent::Close),
        Just(WebSocketEvent::Disconnect),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(events in prop::collection::vec(event(), 0..=8)) {
        prop_assert_eq!(decode(&encode_all(&events), LIMITS), Ok(events));
    }

    #[test]
    fn any_content_is_decoded_or_refused(content in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(events) = decode(&content, LIMITS) {
            prop_assert_eq!(decode(&encode_all(&events), LIMITS), Ok(events));
        }
    }

    #[test]
    fn a_list_that_is_cut_is_truncated_or_shorter(events in prop::collection::vec(event(), 1..=8), cut in any::<prop::sample::Index>()) {
        let content = encode_all(&events);
        let cut = cut.index(content.len());
        match decode(&content[..cut], LIMITS) {
            Ok(decoded) => prop_assert_eq!(&decoded[..], &events[..decoded.len()]),
            Err(error) => prop_assert_eq!(error, InvalidEvents::Truncated),
        }
    }
}
