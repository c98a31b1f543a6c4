//! What the client libraries of GRIP write is read: the texts here are those of gripcontrol 4.4.0, pubcontrol 3.5.0,
//! django-grip 3.5.2 and PyJWT 2.15.1.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use lockgate_push::signature::{self, Claims};
use lockgate_push::websocket_control::Control;
use lockgate_push::{
    Filters, Formats, HeldChannel, HoldMode, Instruction, InstructionLimits, ItemLimits, KeepAlive,
    KeepAliveMode, Message, NextLink, ResponseFormat, StreamFormat, WebSocketFormat, builds_ids,
    parse_items,
};

const LIMITS: InstructionLimits = InstructionLimits { channels: 10 };

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn channel(name: &str) -> HeldChannel {
    HeldChannel {
        name: name.to_owned(),
        ..HeldChannel::default()
    }
}

#[test]
fn the_fields_of_django_grip_are_an_instruction() {
    let stream: &[(&str, &str)] = &[
        ("Grip-Hold", "stream"),
        ("Grip-Channel", "news; prev-id=7; filter=skip-self, all"),
        (
            "Grip-Keep-Alive",
            "event: keep-alive\\ndata:\\n\\n; format=cstring; timeout=20",
        ),
    ];
    let held_stream = Instruction {
        mode: HoldMode::Stream,
        channels: vec![
            HeldChannel {
                prev_id: text("7"),
                filters: Filters::SKIP_SELF,
                ..channel("news")
            },
            channel("all"),
        ],
        timeout: None,
        keep_alive: Some(KeepAlive {
            content: b"event: keep-alive\ndata:\n\n".to_vec(),
            timeout: Duration::from_secs(20),
            mode: KeepAliveMode::Idle,
        }),
        next: None,
        meta: Vec::new(),
        status: None,
    };
    let response: &[(&str, &str)] = &[
        ("Grip-Status", "304"),
        ("Grip-Hold", "response"),
        ("Grip-Channel", "test"),
        ("Grip-Timeout", "30"),
        ("Grip-Set-Meta", "user=\"a \\\"b\\\", c\""),
        ("Grip-Link", "</next?a=b>; rel=next; timeout=120"),
    ];
    let held_response = Instruction {
        mode: HoldMode::Response,
        channels: vec![channel("test")],
        timeout: Some(Duration::from_secs(30)),
        keep_alive: None,
        next: Some(NextLink {
            uri: "/next?a=b".to_owned(),
            timeout: Some(Duration::from_secs(120)),
        }),
        meta: vec![("user".to_owned(), "a \"b\", c".to_owned())],
        status: Some(304),
    };
    for (fields, expected) in [(stream, held_stream), (response, held_response)] {
        let bytes = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let got = Instruction::from_fields(bytes, &LIMITS);
        assert_eq!(got, Ok(Some(expected)), "{fields:?}");
    }
}

#[test]
fn the_channels_of_django_eventstream_have_filters() {
    let fields = [
        ("Grip-Hold", "stream"),
        (
            "Grip-Channel",
            "events-a; prev-id=7; filter=build-id; filter=skip-users, user-1; filter=require-sub",
        ),
    ];
    let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let instruction = Instruction::from_fields(fields, &LIMITS).unwrap().unwrap();
    let channels = [
        HeldChannel {
            prev_id: text("7"),
            filters: Filters::BUILD_ID.with(Filters::SKIP_USERS),
            ..channel("events-a")
        },
        HeldChannel {
            filters: Filters::REQUIRE_SUB,
            ..channel("user-1")
        },
    ];
    assert_eq!(instruction.channels, channels);
    assert!(builds_ids(fields));
    assert!(builds_ids([fields[1]]), "without a hold, too");
    assert!(!builds_ids([fields[0]]));
}

#[test]
fn a_hold_of_gripcontrol_is_an_instruction_with_its_response() {
    let of_hold = r#"{"hold": {"mode": "response", "channels": [{"name": "a", "prev-id": "1"}, {"name": "b"}], "timeout": 20}, "response": {"code": 200, "reason": "OK", "headers": {"X-A": "b"}, "body": "hi"}}"#;
    let of_bytes = r#"{"hold": {"mode": "stream", "channels": [{"name": "a"}]}, "response": {"body-bin": "/w=="}}"#;
    let instruction = |mode, channels, timeout| Instruction {
        mode,
        channels,
        timeout,
        keep_alive: None,
        next: None,
        meta: Vec::new(),
        status: None,
    };
    let channels = vec![
        HeldChannel {
            prev_id: text("1"),
            ..channel("a")
        },
        channel("b"),
    ];
    for (body, held, response) in [
        (
            of_hold,
            instruction(HoldMode::Response, channels, Some(Duration::from_secs(20))),
            ResponseFormat {
                code: 200,
                reason: "OK".to_owned(),
                headers: vec![("X-A".to_owned(), "b".to_owned())],
                body: b"hi".to_vec(),
            },
        ),
        (
            of_bytes,
            instruction(HoldMode::Stream, vec![channel("a")], None),
            ResponseFormat {
                body: vec![0xff],
                ..ResponseFormat::default()
            },
        ),
    ] {
        let got = Instruction::from_body(body.as_bytes(), &LIMITS);
        assert_eq!(got, Ok((held, Some(response))), "{body}");
    }
}

#[test]
fn items_of_pubcontrol_are_messages() {
    let all = Message {
        id: text("2"),
        prev_id: text("1"),
        formats: Formats {
            http_stream: Some(StreamFormat::Content(b"a\n".to_vec())),
            http_response: Some(ResponseFormat {
                headers: vec![("A".to_owned(), "b".to_owned())],
                body: b"x".to_vec(),
                ..ResponseFormat::default()
            }),
            ws_message: Some(WebSocketFormat::Text("w".to_owned())),
        },
        sender: text("alice"),
        ..Message::default()
    };
    let of_stream = |format| Message {
        formats: Formats {
            http_stream: Some(format),
            ..Formats::default()
        },
        ..Message::default()
    };
    let of_websocket = |format| Message {
        formats: Formats {
            ws_message: Some(format),
            ..Formats::default()
        },
        ..Message::default()
    };
    let of_response = Message {
        formats: Formats {
            http_response: Some(ResponseFormat {
                body: b"z".to_vec(),
                ..ResponseFormat::default()
            }),
            ..Formats::default()
        },
        ..Message::default()
    };
    let limits = ItemLimits {
        bytes: 10_000,
        items: 10,
    };
    for (body, expected) in [
        (
            r#"{"items": [{"id": "2", "prev-id": "1", "meta": {"sender": "alice"}, "http-stream": {"content": "a\n"}, "http-response": {"code": 200, "headers": {"A": "b"}, "body": "x"}, "ws-message": {"content": "w"}, "channel": "news"}]}"#,
            all.clone(),
        ),
        (
            r#"{"items": [{"id": "2", "prev-id": "1", "meta": {"sender": "alice"}, "formats": {"http-stream": {"content": "a\n"}, "http-response": {"code": 200, "headers": {"A": "b"}, "body": "x"}, "ws-message": {"content": "w"}}, "channel": "news"}]}"#,
            all,
        ),
        (
            r#"{"items": [{"formats": {"http-stream": {"content-bin": "/w=="}}, "channel": "news"}]}"#,
            of_stream(StreamFormat::Content(vec![0xff])),
        ),
        (
            r#"{"items": [{"http-stream": {"action": "close"}, "channel": "news"}]}"#,
            of_stream(StreamFormat::Close),
        ),
        (
            r#"{"items": [{"ws-message": {"content-bin": "/w=="}, "channel": "news"}]}"#,
            of_websocket(WebSocketFormat::Binary(vec![0xff])),
        ),
        (
            r#"{"items": [{"http-response": {"content-filters": [], "body": "z"}, "channel": "news"}]}"#,
            of_response,
        ),
    ] {
        let expected = Message {
            channel: "news".to_owned(),
            ..expected
        };
        let got = parse_items(body.as_bytes(), &limits);
        assert_eq!(got, Ok(vec![expected]), "{body}");
    }
}

#[test]
fn control_messages_of_gripcontrol_are_read() {
    let subscribe = Control::parse(br#"{"channel": "a", "type": "subscribe"}"#);
    assert_eq!(subscribe, Ok(Control::Subscribe(channel("a"))));
    let detach = Control::parse(br#"{"type": "detach"}"#);
    assert_eq!(detach, Ok(Control::Detach));
}

#[test]
fn a_token_of_pyjwt_is_verified() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\
        .eyJpc3MiOiJhbGljZSIsImV4cCI6MjAwMDAwMDAwMH0\
        .cUm8ARzdaPDel215PXXHWsCHqk0EMqeFLfcaSEJQexk";
    let key = b"secret-secret-secret-secret-secret";
    let claims = Claims {
        iss: text("alice"),
        exp: 2_000_000_000,
    };
    assert_eq!(signature::verify(token, key, 0), Ok(claims));
}

#[test]
fn gripcontrol_verifies_this_token() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\
        .eyJleHAiOjIwMDAwMDAwMDAsImlzcyI6ImFsaWNlIn0\
        .nMscTjfY9i-Vvbe_PKarFtlpZDHd6l623CqQwxkKyRw";
    let key = b"secret-secret-secret-secret-secret";
    assert_eq!(signature::sign("alice", 2_000_000_000, key), token);
}
