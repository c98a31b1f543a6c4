//! Tables of publish requests and of the errors that wrong ones get.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::message::ResponseFormat;

const LIMITS: ItemLimits = ItemLimits {
    bytes: 1000,
    items: 3,
};

fn parsed(items: &Value) -> Result<Vec<Message>, ItemError> {
    let body = json!({ "items": items }).to_string();
    parse_items(body.as_bytes(), &LIMITS)
}

/// The message of one item with this channel and these keys.
fn one(item: &Value) -> Result<Message, String> {
    let mut item = item.clone();
    item["channel"] = "news".into();
    match parsed(&json!([item])) {
        Ok(mut messages) => Ok(messages.remove(0)),
        Err(error) => Err(error.to_string()),
    }
}

fn stream_of(text: &str) -> Option<StreamFormat> {
    Some(StreamFormat::Content(text.into()))
}

#[test]
fn an_item_has_a_channel_ids_and_a_sender() {
    let message = one(&json!({
        "id": "2",
        "prev-id": "1",
        "meta": {"sender": "alice", "x": 1},
        "no-seq": true,
        "formats": {"http-stream": {"content": "a"}, "unknown": 1},
    }));
    let expected = Message {
        channel: "news".to_owned(),
        id: Some("2".to_owned()),
        prev_id: Some("1".to_owned()),
        formats: Formats {
            http_stream: stream_of("a"),
            ..Formats::default()
        },
        sender: Some("alice".to_owned()),
        ..Message::default()
    };
    assert_eq!(message, Ok(expected));
}

#[test]
fn an_item_of_django_eventstream_has_filters() {
    let format = json!({"content": "id: %I\n\n", "content-filters": ["build-id"]});
    let meta = json!({"skip_users": "1,2", "require_sub": "events-a"});
    let expected = Message {
        channel: "news".to_owned(),
        formats: Formats {
            http_stream: stream_of("id: %I\n\n"),
            ..Formats::default()
        },
        skip_users: Some("1,2".to_owned()),
        require_sub: Some("events-a".to_owned()),
        builds_id: true,
        ..Message::default()
    };
    for item in [
        json!({"meta": meta, "http-stream": format}),
        json!({"meta": meta, "formats": {"http-stream": format}}),
    ] {
        assert_eq!(one(&item), Ok(expected.clone()), "{item}");
    }
}

#[test]
fn formats_may_stand_in_the_item_itself() {
    let message = one(&json!({
        "id": null,
        "http-stream": {"content": "outer"},
        "ws-message": {"content": "outer"},
        "formats": {"http-stream": {"content": "inner"}, "ws-message": null},
    }));
    let formats = message.unwrap().formats;
    assert_eq!(formats.http_stream, stream_of("inner"));
    let text = WebSocketFormat::Text("outer".to_owned());
    assert_eq!(formats.ws_message, Some(text));
}

#[test]
fn an_item_may_have_content_and_leave_the_formats_to_the_server() {
    for (item, content, event) in [
        (
            json!({"content": "a", "event": "e"}),
            Content::Text("a".to_owned()),
            Some("e".to_owned()),
        ),
        (
            json!({"content-bin": "/w==", "formats": {}}),
            Content::Binary(vec![0xff]),
            None,
        ),
    ] {
        let expected = Message {
            channel: "news".to_owned(),
            content: Some(content),
            event,
            ..Message::default()
        };
        assert_eq!(one(&item), Ok(expected), "{item}");
    }
}

#[test]
fn a_stream_gets_text_bytes_or_its_end() {
    for (format, expected) in [
        (json!({"content": "a\n"}), b"a\n".to_vec()),
        (json!({"content": ""}), vec![]),
        (json!({"content-bin": "/wA="}), vec![0xff, 0]),
        (
            json!({"content": "a", "content-bin": "Yg=="}),
            b"b".to_vec(),
        ),
        (json!({"action": "send", "content": "a"}), b"a".to_vec()),
        (
            json!({"content": "a", "content-filters": []}),
            b"a".to_vec(),
        ),
    ] {
        let message = one(&json!({ "http-stream": format })).unwrap();
        let expected = StreamFormat::Content(expected);
        assert_eq!(message.formats.http_stream, Some(expected), "{format}");
    }
    for format in [
        json!({"action": "close"}),
        json!({"action": "close", "content": ""}),
    ] {
        let message = one(&json!({ "http-stream": format })).unwrap();
        let got = message.formats.http_stream;
        assert_eq!(got, Some(StreamFormat::Close), "{format}");
    }
}

#[test]
fn a_websocket_gets_a_message_of_its_kind_or_a_close_frame() {
    for (format, expected) in [
        (
            json!({"content": "a"}),
            WebSocketFormat::Text("a".to_owned()),
        ),
        (
            json!({"content-bin": "/w=="}),
            WebSocketFormat::Binary(vec![0xff]),
        ),
        (json!({"action": "close"}), WebSocketFormat::Close(None)),
        (
            json!({"action": "close", "code": 4000}),
            WebSocketFormat::Close(Some(4000)),
        ),
    ] {
        let message = one(&json!({ "ws-message": format })).unwrap();
        assert_eq!(message.formats.ws_message, Some(expected), "{format}");
    }
}

#[test]
fn a_response_has_a_status_headers_and_a_body() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    for (format, expected) in [
        (json!({}), ResponseFormat::default()),
        (
            json!({"code": 404, "reason": "Gone", "headers": {"X-A": "b"}, "body": "c"}),
            ResponseFormat {
                code: 404,
                reason: "Gone".to_owned(),
                headers: vec![header("X-A", "b")],
                body: b"c".to_vec(),
            },
        ),
        (
            json!({"code": "201", "headers": [["X-A", "1"], ["X-A", "2"]], "body-bin": "/w=="}),
            ResponseFormat {
                code: 201,
                headers: vec![header("X-A", "1"), header("X-A", "2")],
                body: vec![0xff],
                ..ResponseFormat::default()
            },
        ),
    ] {
        let message = one(&json!({ "http-response": format })).unwrap();
        assert_eq!(message.formats.http_response, Some(expected), "{format}");
    }
}

#[test]
fn an_error_names_the_item_and_the_key() {
    for (item, expected) in [
        (json!({"id": 1}), "item 1: id must be a string"),
        (json!({"content": 1}), "item 1: content must be a string"),
        (
            json!({"content": "a", "event": "a\n"}),
            "item 1: the event must not contain CR, LF or NUL",
        ),
        (json!({"formats": []}), "item 1: formats must be an object"),
        (
            json!({"formats": {"http-stream": "a"}}),
            "item 1: formats.http-stream must be an object",
        ),
        (
            json!({"formats": {"http-stream": {}}}),
            "item 1: formats.http-stream.content is missing",
        ),
        (
            json!({"http-stream": {"content": 1}}),
            "item 1: http-stream.content must be a string",
        ),
        (
            json!({"http-stream": {"content-bin": "a"}}),
            "item 1: http-stream.content-bin must be base64",
        ),
        (
            json!({"http-stream": {"action": "hint"}}),
            "item 1: http-stream.action must be send or close",
        ),
        (
            json!({"http-stream": {"content": "a", "content-filters": ["x"]}}),
            "item 1: http-stream.content-filters must be build-id",
        ),
        (
            json!({"http-response": {"body-patch": [{}]}}),
            "item 1: http-response.body-patch is not supported",
        ),
        (
            json!({"http-response": {"code": 70000}}),
            "item 1: http-response.code must be a status code",
        ),
        (
            json!({"http-response": {"headers": {"a": 1}}}),
            "item 1: http-response.headers must be an object of strings or an array of pairs of strings",
        ),
        (
            json!({"http-response": {"headers": [["a"]]}}),
            "item 1: http-response.headers must be an object of strings or an array of pairs of strings",
        ),
        (
            json!({"ws-message": {"action": "close", "code": -1}}),
            "item 1: ws-message.code must be a close code",
        ),
        (
            json!({"meta": {"sender": 1}, "http-stream": {"content": "a"}}),
            "item 1: meta.sender must be a string",
        ),
        (
            json!({"formats": {"unknown": {}}}),
            "item 1: there must be content, or formats with http-stream, http-response or ws-message",
        ),
        (
            json!({"http-response": {"code": 99}}),
            "item 1: the status code 99 must be between 200 and 599",
        ),
        (
            json!({"id": "a\n", "http-stream": {"content": "a"}}),
            "item 1: the id must not contain CR, LF or NUL",
        ),
    ] {
        assert_eq!(one(&item), Err(expected.to_owned()), "{item}");
    }
    let good = json!({"channel": "a", "http-stream": {"content": "a"}});
    for (items, expected) in [
        (json!([good, 1]), "item 2: the item must be an object"),
        (json!([good, good, {}]), "item 3: channel is missing"),
        (
            json!([good, good, good, good]),
            "items has 4 items, more than the 3 that are allowed",
        ),
        (json!({}), "items must be an array"),
        (json!(null), "items must be an array"),
    ] {
        let error = parsed(&items).unwrap_err().to_string();
        assert_eq!(error, expected, "{items}");
    }
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    for (body, expected) in [
        ("", "no JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "no JSON: must be an object"),
        ("{}", "items must be an array"),
        (
            "{\"items\": [}",
            "no JSON: expected value at line 1 column 12",
        ),
    ] {
        let error = parse_items(body.as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(error.to_string(), expected, "{body}");
    }
    assert_eq!(parse_items(b"{\"items\": []}", &LIMITS), Ok(Vec::new()));
    let deep = "[".repeat(100_000);
    assert!(parse_items(deep.as_bytes(), &LIMITS).is_err());
}

/// JSON with the keys of items, in wrong places too.
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "items",
        "channel",
        "id",
        "prev-id",
        "meta",
        "sender",
        "formats",
        "http-stream",
        "http-response",
        "ws-message",
        "content",
        "content-bin",
        "action",
        "code",
        "headers",
        "body",
        "body-bin",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["close", "send", "news", "/w=="]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let entry = (key.clone().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(entry, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = parse_items(&bytes, &LIMITS);
    }

    #[test]
    fn what_is_accepted_can_be_published(mut item in any_json()) {
        if item.is_object() {
            item["channel"] = "news".into();
        }
        for message in parsed(&json!([item])).unwrap_or_default() {
            prop_assert_eq!(message.check(LIMITS.bytes), Ok(()));
        }
    }
}
