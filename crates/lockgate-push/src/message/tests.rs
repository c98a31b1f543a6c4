//! Tables of what subscribers get, and of the messages that are refused.

use super::*;

fn message() -> Message {
    Message {
        channel: "news".to_owned(),
        ..Message::default()
    }
}

fn with(content: Option<Content>, formats: Formats) -> Message {
    Message {
        id: Some("7".to_owned()),
        event: Some("saved".to_owned()),
        content,
        formats,
        ..message()
    }
}

#[test]
fn a_stream_gets_its_format_or_the_content() {
    let text = || Some(Content::Text("a\nb".to_owned()));
    let format = |format: &StreamFormat| Formats {
        http_stream: Some(format.clone()),
        ..Formats::default()
    };
    let bytes = |bytes: &'static [u8]| ForStream::Bytes(Cow::Borrowed(bytes));
    let raw = StreamFormat::Content(b"raw".to_vec());
    let event = b"event: saved\nid: 7\ndata: a\ndata: b\n\n";
    let binary_event = b"event: saved\nid: 7\ndata: \xff\n\n";
    for (content, formats, is_event_stream, expected) in [
        (text(), Formats::default(), false, bytes(b"a\nb")),
        (text(), Formats::default(), true, bytes(event)),
        (
            Some(Content::Binary(vec![0xff])),
            Formats::default(),
            true,
            bytes(binary_event),
        ),
        (text(), format(&raw), true, bytes(b"raw")),
        (None, format(&raw), false, bytes(b"raw")),
        (text(), format(&StreamFormat::Close), true, ForStream::Close),
        (None, Formats::default(), true, ForStream::Nothing),
    ] {
        let message = with(content, formats);
        assert_eq!(
            message.to_stream(is_event_stream),
            expected,
            "{message:?} {is_event_stream}"
        );
    }
}

#[test]
fn a_response_gets_its_format_or_the_content_with_its_type() {
    let format = ResponseFormat {
        code: 204,
        ..ResponseFormat::default()
    };
    let of_content = |content_type: &str, body: &[u8]| ResponseFormat {
        code: 200,
        reason: "OK".to_owned(),
        headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
        body: body.to_vec(),
    };
    let formats = Formats {
        http_response: Some(format.clone()),
        ..Formats::default()
    };
    for (content, formats, expected) in [
        (
            Some(Content::Text("a".to_owned())),
            Formats::default(),
            Some(of_content("text/plain; charset=utf-8", b"a")),
        ),
        (
            Some(Content::Binary(vec![0xff])),
            Formats::default(),
            Some(of_content("application/octet-stream", &[0xff])),
        ),
        (
            Some(Content::Text("a".to_owned())),
            formats.clone(),
            Some(format.clone()),
        ),
        (None, formats, Some(format)),
        (None, Formats::default(), None),
    ] {
        let message = with(content, formats);
        let got = message.to_response().map(Cow::into_owned);
        assert_eq!(got, expected, "{message:?}");
    }
}

#[test]
fn a_websocket_gets_its_format_or_the_content() {
    let formats = Formats {
        ws_message: Some(WebSocketFormat::Close(Some(1000))),
        ..Formats::default()
    };
    for (content, formats, expected) in [
        (
            Some(Content::Text("a".to_owned())),
            Formats::default(),
            Some(WebSocketFormat::Text("a".to_owned())),
        ),
        (
            Some(Content::Binary(vec![1])),
            Formats::default(),
            Some(WebSocketFormat::Binary(vec![1])),
        ),
        (
            Some(Content::Text("a".to_owned())),
            formats,
            Some(WebSocketFormat::Close(Some(1000))),
        ),
        (None, Formats::default(), None),
    ] {
        let message = with(content, formats);
        let got = message.to_websocket().map(Cow::into_owned);
        assert_eq!(got, expected, "{message:?}");
    }
}

#[test]
fn a_message_with_parts_that_are_not_allowed_is_refused() {
    let text = |text: &str| Some(text.to_owned());
    let response = |response: ResponseFormat| Message {
        formats: Formats {
            http_response: Some(response),
            ..Formats::default()
        },
        ..message()
    };
    let header = |name: &str, value: &str| {
        response(ResponseFormat {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..ResponseFormat::default()
        })
    };
    let status = |code| {
        response(ResponseFormat {
            code,
            ..ResponseFormat::default()
        })
    };
    let close = |code| Message {
        formats: Formats {
            ws_message: Some(WebSocketFormat::Close(Some(code))),
            ..Formats::default()
        },
        ..message()
    };
    let header_error = |name: &str| {
        Err(MessageError::Header {
            name: name.to_owned(),
        })
    };
    let table = [
        (message(), Ok(())),
        (
            Message::default(),
            Err(MessageError::Channel(ChannelError::Empty)),
        ),
        (
            Message {
                id: text("1\n"),
                ..message()
            },
            Err(MessageError::LineBreak { field: "id" }),
        ),
        (
            Message {
                prev_id: text("1\0"),
                ..message()
            },
            Err(MessageError::LineBreak { field: "prev-id" }),
        ),
        (
            Message {
                event: text("a\r"),
                ..message()
            },
            Err(MessageError::LineBreak { field: "event" }),
        ),
        (status(199), Err(MessageError::Status(199))),
        (status(200), Ok(())),
        (status(599), Ok(())),
        (status(600), Err(MessageError::Status(600))),
        (
            response(ResponseFormat {
                reason: "a\r\nb".to_owned(),
                ..ResponseFormat::default()
            }),
            Err(MessageError::Reason),
        ),
        (header("X-A", "b c"), Ok(())),
        (header("X A", "b"), header_error("X A")),
        (header("", "b"), header_error("")),
        (header("X-A", "b\r\nX-B: c"), header_error("X-A")),
        (close(1000), Ok(())),
        (close(4999), Ok(())),
        (close(999), Err(MessageError::CloseCode(999))),
        (close(1005), Err(MessageError::CloseCode(1005))),
        (close(1015), Err(MessageError::CloseCode(1015))),
        (close(5000), Err(MessageError::CloseCode(5000))),
    ];
    for (message, expected) in table {
        assert_eq!(message.check(1000), expected, "{message:?}");
    }
}

#[test]
fn the_limit_is_for_the_encoded_message() {
    let message = Message {
        content: Some(Content::Text("x".repeat(100))),
        ..message()
    };
    let mut record = Vec::new();
    message.encode(&mut record);
    let size = record.len();
    assert_eq!(message.check(size), Ok(()));
    let limit = size - 1;
    let error = message.check(limit).unwrap_err();
    assert_eq!(error, MessageError::TooLarge { size, limit });
    assert_eq!(
        error.to_string(),
        "the message has 109 bytes, more than the 108 that are allowed"
    );
}
