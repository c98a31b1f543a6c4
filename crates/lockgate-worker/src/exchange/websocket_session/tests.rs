//! What reaches the client and the application of a held WebSocket, and in which order it ends.

use super::*;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use lockgate_http::ResponseHead;
use lockgate_http::websocket::events;
use lockgate_push::{Content, Formats, InstructionLimits, WebSocketFormat};
use lockgate_shm::{Log, LogPlan};

use crate::exchange::subscribed_channels::Rules;

const RATE: MinimumRate = MinimumRate {
    bytes_per_second: 100,
    grace: Duration::from_secs(30),
};

fn log() -> Log {
    let plan = LogPlan {
        size: 1 << 16,
        channels: 16,
    };
    let lock_words = (0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect();
    let words = (0..plan.words()).map(|_| AtomicU64::new(0)).collect();
    Log::new(Vec::leak(lock_words), Vec::leak(words), plan, (1, 2)).unwrap()
}

/// A session, the moment of its beginning, and the frames that the client was sent.
struct Held {
    session: Session,
    log: Log,
    start: Instant,
    now: Instant,
    out: Vec<u8>,
}

impl Held {
    fn new() -> Self {
        let log = log();
        let rules = Rules {
            log,
            limits: InstructionLimits { channels: 2 },
        };
        let start = Instant::now();
        let channels = SubscribedChannels::new(&[], None, None, rules);
        let rules = SessionRules {
            message_limit: 1000,
            rate: RATE,
        };
        Self {
            session: Session::new(channels, Some(GripExtension::default()), rules, start),
            log,
            start,
            now: start,
            out: Vec::new(),
        }
    }

    fn at(&mut self, seconds: u64) {
        self.now = self.start + Duration::from_secs(seconds);
        self.session.on_time(self.now, &mut self.out);
    }

    fn input(&mut self, bytes: &[u8]) {
        let _problem = self.session.on_input(bytes, self.now, &mut self.out);
    }

    /// The client sends a frame.
    fn receive(&mut self, opcode: u8, payload: &[u8]) {
        self.input(&frame(opcode, payload));
    }

    /// The events of the next request.
    fn asked(&mut self) -> Option<String> {
        let content = self.session.next_request(self.now)?;
        Some(String::from_utf8_lossy(&content).replace("\r\n", " "))
    }

    fn answer(&mut self, events: &[WebSocketEvent]) {
        self.answer_with(&[], events);
    }

    fn answer_with(&mut self, fields: &[(&str, &str)], events: &[WebSocketEvent]) {
        let response = response(200, fields, events);
        let outcome = (self.session).on_answer(Some(&response), self.now, &mut self.out);
        assert_eq!(outcome, Ok(()));
    }

    fn publish(&mut self, channel: &str, formats: Formats) {
        let message = lockgate_push::Message {
            channel: channel.to_owned(),
            content: Some(Content::Text("news".to_owned())),
            formats,
            ..lockgate_push::Message::default()
        };
        let mut record = Vec::new();
        message.encode(&mut record);
        let mut cursor = self.log.head();
        let begin = cursor;
        self.log
            .append(channel.as_bytes(), b"", &record, 0)
            .unwrap();
        self.log.read(&mut cursor, &mut record);
        let publication = Publication::new(message, begin, cursor);
        (self.session).on_publication(&publication, self.now, &mut self.out);
    }

    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// A frame of a client, masked with zero.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let head = [
        0x80 | opcode,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    [&head, payload].concat()
}

fn response(status: u16, fields: &[(&str, &str)], events: &[WebSocketEvent]) -> StoredResponse {
    let mut head = ResponseHead::default();
    head.set_status(status, b"").unwrap();
    head.push(b"Content-Type", answer::MEDIA_TYPE.as_bytes())
        .unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let mut body = Vec::new();
    for event in events {
        events::encode(event, &mut body);
    }
    StoredResponse { head, body }
}

fn text(text: &str) -> WebSocketEvent {
    WebSocketEvent::Text(text.to_owned())
}

fn close(code: u16) -> WebSocketEvent {
    WebSocketEvent::Close(Some((CloseCode(code), String::new())))
}

#[test]
fn messages_wait_for_the_answer_to_those_before_them() {
    let mut held = Held::new();
    held.receive(1, b"one");
    assert_eq!(held.asked().as_deref(), Some("TEXT 3 one "));
    held.receive(1, b"two");
    held.receive(2, b"\x01");
    assert_eq!(held.asked(), None, "one request at a time");
    held.answer(&[text("m:ONE"), text("no prefix")]);
    assert_eq!(held.sent(), b"\x81\x03ONE");
    assert_eq!(held.asked().as_deref(), Some("TEXT 3 two BINARY 1 \u{1} "));
    held.answer(&[WebSocketEvent::Binary(b"m:\xff".to_vec())]);
    assert_eq!(held.sent(), b"\x82\x01\xff");
    assert_eq!(held.asked(), None);
}

#[test]
fn the_server_answers_pings_itself() {
    let mut held = Held::new();
    held.receive(9, b"?");
    held.receive(10, b"!");
    assert_eq!((held.sent(), held.asked()), (b"\x8a\x01?".to_vec(), None));
}

#[test]
fn input_beyond_a_bound_waits_in_the_socket() {
    let mut held = Held::new();
    while held.session.wants_input() {
        held.receive(1, &[b'x'; 100]);
    }
    assert!(held.asked().unwrap().len() < 66_000);
    assert!(held.session.wants_input());
}

#[test]
fn the_client_closes_when_the_application_knows() {
    let bare = WebSocketEvent::Close(Some((CloseCode(0), String::new())));
    for (answered, expected) in [
        (vec![close(3000)], &b"\x88\x02\x0b\xb8"[..]),
        (vec![bare], b"\x88\x00"),
        (vec![], b"\x88\x02\x03\xe9"),
        (vec![text("m:bye")], b"\x81\x03bye\x88\x02\x03\xe9"),
        (vec![WebSocketEvent::Disconnect], b""),
    ] {
        let mut held = Held::new();
        held.receive(8, b"\x03\xe9reason");
        assert!(!held.session.wants_input() && held.sent().is_empty());
        assert_eq!(held.asked().as_deref(), Some("CLOSE 2 \u{3}\u{fffd} "));
        held.answer(&answered);
        assert_eq!(held.sent(), expected, "{answered:?}");
        assert!(held.session.is_finished());
    }
}

#[test]
fn the_application_closes_and_hears_no_more() {
    let mut held = Held::new();
    held.receive(1, b"x");
    assert!(held.asked().is_some());
    held.receive(1, b"late");
    held.answer(&[text("m:last"), close(1000), text("m:dropped")]);
    assert_eq!(held.sent(), b"\x81\x04last\x88\x02\x03\xe8");
    held.receive(1, b"later");
    assert!(held.session.wants_input() && !held.session.is_finished());
    held.receive(8, b"\x03\xe8");
    assert!(held.session.is_finished());
    assert_eq!((held.asked(), held.sent()), (None, Vec::new()));
}

#[test]
fn an_end_that_the_application_has_not_made_is_an_event() {
    type Act = fn(&mut Held);
    let rows: [(&str, Act, &[u8]); 4] = [
        ("lost", |held| held.session.on_lost(), b""),
        (
            "invalid",
            |held| held.receive(3, b""),
            b"\x88\x10\x03\xeaunknown opcode",
        ),
        (
            "silent",
            |held| {
                held.at(44);
                assert!(held.sent().is_empty());
                held.at(45);
                assert_eq!(held.sent(), b"\x89\x00");
                held.at(75);
            },
            b"",
        ),
        (
            "slow",
            |held| {
                held.input(b"\x81\x85\0\0\0\0x");
                held.at(29);
                held.input(b"x");
                assert!(held.sent().is_empty());
                held.at(31);
            },
            b"\x88\x15\x03\xf0message is too slow",
        ),
    ];
    for (name, act, sent) in rows {
        let mut held = Held::new();
        act(&mut held);
        assert_eq!(held.sent(), sent, "{name}");
        assert_eq!(held.asked().as_deref(), Some("DISCONNECT "), "{name}");
        assert!(!held.session.is_finished());
        held.answer(&[text("m:late")]);
        assert!(
            held.session.is_finished() && held.sent().is_empty(),
            "{name}"
        );
    }
}

#[test]
fn control_messages_change_what_the_connection_gets() {
    let mut held = Held::new();
    let control = |json: &str| text(&format!("c:{json}"));
    held.answer(&[control(r#"{"type": "subscribe", "channel": "a"}"#)]);
    assert!(held.session.channels.take_change());
    held.publish("b", Formats::default());
    held.publish("a", Formats::default());
    assert_eq!(held.sent(), b"\x81\x04news");
    held.answer(&[control(
        r#"{"type": "keep-alive", "content": "k", "timeout": 20}"#,
    )]);
    held.at(20);
    assert_eq!(held.sent(), b"\x81\x01k");
    held.answer(&[control(r#"{"type": "keep-alive"}"#)]);
    held.at(40);
    assert!(held.sent().is_empty());
    held.answer(&[control(r#"{"type": "unsubscribe", "channel": "a"}"#)]);
    held.publish("a", Formats::default());
    assert!(held.sent().is_empty());
    held.answer(&[
        control(r#"{"type": "subscribe", "channel": "c"}"#),
        control(r#"{"type": "detach"}"#),
    ]);
    held.receive(1, b"unheard");
    assert_eq!(held.asked(), None);
    let formats = Formats {
        ws_message: Some(WebSocketFormat::Close(Some(4000))),
        ..Formats::default()
    };
    held.publish("c", formats);
    assert_eq!(held.sent(), b"\x88\x02\x0f\xa0");
    held.receive(8, b"\x0f\xa0");
    assert!(held.session.is_finished() && held.asked().is_none());
}

#[test]
fn an_answer_that_cannot_be_followed_closes_the_connection() {
    let many: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            text(&format!(
                r#"c:{{"type": "subscribe", "channel": "{name}"}}"#
            ))
        })
        .into();
    let long = "x".repeat(9000);
    for (response, code) in [
        (None, 1011),
        (Some(response(500, &[], &[])), 1011),
        (Some(response(503, &[], &[])), 1013),
        (Some(response(200, &[], &many)), 1011),
        (Some(response(200, &[], &[text("c:{}")])), 1011),
        (Some(response(200, &[], &[close(1005)])), 1011),
        (
            Some(response(200, &[("Keep-Alive-Interval", "soon")], &[])),
            1011,
        ),
        (Some(response(200, &[("Set-Meta-A", &long)], &[])), 1011),
        (Some(response(200, &[], &[text(&"x".repeat(1001))])), 1011),
    ] {
        let mut held = Held::new();
        held.receive(1, b"x");
        assert!(held.asked().is_some());
        let now = held.now;
        let outcome = (held.session).on_answer(response.as_ref(), now, &mut held.out);
        assert!(outcome.is_err(), "{response:?}");
        let [high, low] = u16::to_be_bytes(code);
        assert_eq!(held.sent(), [0x88, 2, high, low], "{response:?}");
        // A client that does not answer the Close frame has gone.
        held.at(10);
        assert_eq!(held.asked().as_deref(), Some("DISCONNECT "));
    }
}

#[test]
fn values_go_with_each_request_until_they_are_removed() {
    let mut held = Held::new();
    let meta = |held: &Held| {
        let meta = held.session.meta();
        meta.map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    held.answer_with(&[("Set-Meta-User", "alice"), ("set-meta-a", "1")], &[]);
    assert_eq!(meta(&held), ["User=alice", "a=1"]);
    held.answer_with(&[("Set-Meta-user", "bob"), ("Set-Meta-A", "")], &[]);
    assert_eq!(meta(&held), ["user=bob"]);
}

#[test]
fn an_application_can_ask_for_requests_without_events() {
    let mut held = Held::new();
    held.answer_with(&[("Keep-Alive-Interval", "20")], &[]);
    held.at(19);
    assert_eq!(held.asked(), None);
    assert_eq!(
        held.session.next_time(held.now),
        held.start + Duration::from_secs(20)
    );
    held.at(20);
    assert_eq!(held.asked().as_deref(), Some(""));
    held.answer(&[]);
    assert_eq!(held.asked(), None);
    held.at(39);
    held.receive(1, b"x");
    assert!(held.asked().is_some());
    held.answer_with(&[("Keep-Alive-Interval", "0")], &[]);
    held.at(60);
    assert_eq!(held.asked(), None);
}

#[test]
fn a_worker_that_ends_says_so() {
    let mut held = Held::new();
    let subscriber = Subscriber {
        token: 7,
        stream: 0,
    };
    let by = held.start + Duration::from_secs(1);
    held.session.end_by(subscriber, by, held.start);
    assert!(held.session.next_time(held.start) <= by);
    held.at(1);
    assert_eq!(held.sent(), b"\x88\x02\x03\xe9");
    held.receive(8, b"\x03\xe9");
    assert!(
        held.session
            .next_request(held.now)
            .unwrap()
            .starts_with(b"CLOSE 2\r\n")
    );
    held.answer(&[close(1001)]);
    assert!(held.session.is_finished() && held.sent().is_empty());
}
