//! Tables of statuses and headers, and of edits.

use super::*;

#[test]
fn a_status_is_final_and_its_reason_cannot_split_the_response() {
    let cases: [(u16, &[u8], Result<(), BadResponse>); 8] = [
        (200, b"OK", Ok(())),
        (200, b"", Ok(())),
        (999, b"d\xe9j\xe0\tvu", Ok(())),
        (100, b"Continue", Err(BadResponse::InterimStatus(100))),
        (101, b"Switching", Err(BadResponse::InterimStatus(101))),
        (99, b"", Err(BadResponse::InvalidStatus(99))),
        (1000, b"", Err(BadResponse::InvalidStatus(1000))),
        (200, b"OK\r\nX: y", Err(BadResponse::ForbiddenByteInReason)),
    ];
    for (status, reason, answer) in cases {
        assert_eq!(ResponseHead::default().set_status(status, reason), answer);
    }
}

#[test]
fn a_bad_header_is_refused_and_changes_nothing() {
    let cases: [(&[u8], &[u8], BadResponse); 13] = [
        (b"", b"x", BadResponse::InvalidHeaderName),
        (b"X Y", b"x", BadResponse::InvalidHeaderName),
        (b"X:", b"x", BadResponse::InvalidHeaderName),
        (b"X\r\n", b"x", BadResponse::InvalidHeaderName),
        (b"X\xe9", b"x", BadResponse::InvalidHeaderName),
        (b"X", b"a\r\nY: b", BadResponse::ForbiddenByteInHeaderValue),
        (b"X", b"a\nb", BadResponse::ForbiddenByteInHeaderValue),
        (b"X", b"a\rb", BadResponse::ForbiddenByteInHeaderValue),
        (b"X", b"a\0b", BadResponse::ForbiddenByteInHeaderValue),
        (b"X", b"a\x7fb", BadResponse::ForbiddenByteInHeaderValue),
        (
            b"Connection",
            b"a\x0bb",
            BadResponse::ForbiddenByteInHeaderValue,
        ),
        (b"Content-Length", b"+3", BadResponse::InvalidContentLength),
        (
            b"Content-Length",
            b"4",
            BadResponse::ConflictingContentLength,
        ),
    ];
    let mut head = ResponseHead::default();
    head.push(b"content-length", b"3").unwrap();
    for (name, value, answer) in cases {
        assert_eq!(head.push(name, value), Err(answer), "{name:?} {value:?}");
    }
    assert_eq!(head.headers().count(), 1);
    assert_eq!(head.block, b"content-length: 3\r\n");
}

#[test]
fn hop_by_hop_fields_are_dropped() {
    let mut head = ResponseHead::default();
    let names = [
        "Connection",
        "keep-alive",
        "Proxy-Authenticate",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Trailers",
        "Transfer-Encoding",
        "UPGRADE",
    ];
    for name in names {
        head.push(name.as_bytes(), b"chunked").unwrap();
    }
    assert_eq!(head.headers().count(), 0);
    assert!(!head.wants_close());
    head.push(b"connection", b"x,  Close").unwrap();
    assert!(head.wants_close());
    head.clear();
    assert!(!head.wants_close());
}

#[test]
fn only_a_426_has_an_upgrade() {
    for (status, is_kept) in [(426, true), (200, false), (400, false), (505, false)] {
        let mut head = ResponseHead::default();
        head.set_status(status, b"").unwrap();
        head.push(b"Upgrade", b"HTTP/3.0, websocket").unwrap();
        let kept = head.header("upgrade") == Some(b"HTTP/3.0, websocket");
        assert_eq!((kept, head.has_upgrade), (is_kept, is_kept), "{status}");
    }
}

#[test]
fn a_content_length_may_have_white_space_around_it_only() {
    for (value, length) in [
        (" 5 ", Some(5)),
        ("\t5", Some(5)),
        ("1 5", None),
        (" ", None),
        ("", None),
    ] {
        let mut head = ResponseHead::default();
        let pushed = head.push(b"Content-Length", value.as_bytes());
        assert_eq!(pushed.is_ok(), length.is_some(), "{value:?}");
        assert_eq!(head.content_length(), length, "{value:?}");
        if length.is_some() {
            assert_eq!(head.block, b"Content-Length: 5\r\n");
        }
    }
}

#[test]
fn headers_are_kept_as_they_were_set() {
    let mut head = ResponseHead::default();
    head.push(b"Set-Cookie", b"a=1").unwrap();
    head.push(b"Set-Cookie", b"b=2").unwrap();
    head.push(b"Content-Length", b"007").unwrap();
    head.push(b"content-length", b"7").unwrap();
    let headers: Vec<_> = head.headers().collect();
    assert_eq!(headers.len(), 3);
    assert_eq!(headers[1], (&b"Set-Cookie"[..], &b"b=2"[..]));
    assert_eq!(head.header("set-cookie"), Some(&b"a=1"[..]));
    assert_eq!(head.content_length(), Some(7));
    assert_eq!(head.header("x"), None);
}

#[test]
fn a_cleared_head_is_empty() {
    let mut head = ResponseHead::default();
    head.set_status(426, b"Upgrade Required").unwrap();
    for name in ["Content-Length", "Date", "Server", "Upgrade"] {
        head.push(name.as_bytes(), b"3").unwrap();
    }
    head.clear();
    assert_eq!((head.status(), head.reason()), (0, &b""[..]));
    assert_eq!(head.headers().count(), 0);
    assert_eq!(head.content_length(), None);
    assert!(!head.has_date && !head.has_server && !head.has_upgrade);
    assert_eq!(head.push(b"Content-Length", b"4"), Ok(()));
}

/// The headers, one a line.
fn lines(head: &ResponseHead) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let line = |(name, value): (&[u8], &[u8])| format!("{}: {}\r\n", text(name), text(value));
    let lines: String = head.headers().map(line).collect();
    assert_eq!(lines.as_bytes(), head.block());
    lines
}

#[test]
fn a_head_can_be_edited() {
    type Edit = fn(&mut ResponseHead) -> Result<(), BadResponse>;
    let cases: [(&str, Edit, &str); 12] = [
        (
            "set the first of two",
            |head| head.set(b"set-cookie", b"c=345"),
            "ETag: x\r\nSet-Cookie: c=345\r\nContent-Length: 3\r\nVary: Cookie\r\n",
        ),
        (
            "set a new one",
            |head| head.set(b"Age", b"1"),
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie\r\nAge: 1\r\n",
        ),
        (
            "set a length",
            |head| head.set(b"Content-Length", b" 1234 "),
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 1234\r\nSet-Cookie: b=2\r\nVary: Cookie\r\n",
        ),
        (
            "set nothing",
            |head| head.set(b"ETag", b""),
            "ETag: \r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie\r\n",
        ),
        (
            "remove two",
            |head| {
                assert!(head.remove(b"SET-COOKIE"));
                Ok(())
            },
            "ETag: x\r\nContent-Length: 3\r\nVary: Cookie\r\n",
        ),
        (
            "remove the first and the last",
            |head| {
                assert!(head.remove(b"etag") && head.remove(b"vary"));
                Ok(())
            },
            "Set-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\n",
        ),
        (
            "remove a length and push another",
            |head| {
                assert!(head.remove(b"content-length") && head.content_length().is_none());
                head.push(b"Content-Length", b"44")
            },
            "ETag: x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nVary: Cookie\r\nContent-Length: 44\r\n",
        ),
        (
            "remove what is not there",
            |head| {
                assert!(!head.remove(b"Age"));
                Ok(())
            },
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie\r\n",
        ),
        (
            "add to a list",
            |head| head.add_to_list(b"vary", b"Accept-Encoding"),
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie, Accept-Encoding\r\n",
        ),
        (
            "add what a list has",
            |head| head.add_to_list(b"Vary", b"cookie"),
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie\r\n",
        ),
        (
            "add to a list that has everything",
            |head| {
                head.set(b"Vary", b"*")?;
                head.add_to_list(b"Vary", b"Cookie")
            },
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: *\r\n",
        ),
        (
            "add to no list",
            |head| head.add_to_list(b"Allow", b"GET"),
            "ETag: x\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\nSet-Cookie: b=2\r\nVary: Cookie\r\nAllow: GET\r\n",
        ),
    ];
    for (what, edit, expected) in cases {
        let mut head = ResponseHead::default();
        head.set_status(200, b"OK").unwrap();
        for (name, value) in [
            ("ETag", "x"),
            ("Set-Cookie", "a=1"),
            ("Content-Length", "3"),
            ("Set-Cookie", "b=2"),
            ("Vary", "Cookie"),
        ] {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        edit(&mut head).unwrap();
        assert_eq!(lines(&head), expected, "{what}");
        let length = head.header("content-length").map(<[u8]>::to_vec);
        let length = length.map(|digits| String::from_utf8(digits).unwrap().parse().unwrap());
        assert_eq!(head.content_length(), length, "{what}");
    }
}

#[test]
fn an_edit_that_is_refused_changes_nothing() {
    let mut head = ResponseHead::default();
    head.push(b"Content-Length", b"3").unwrap();
    head.push(b"Vary", b"Cookie").unwrap();
    for (answer, fault) in [
        (
            head.set(b"Vary", b"a\0"),
            BadResponse::ForbiddenByteInHeaderValue,
        ),
        (head.set(b"V ary", b"a"), BadResponse::InvalidHeaderName),
        (
            head.set(b"Content-Length", b"x"),
            BadResponse::InvalidContentLength,
        ),
        (
            head.add_to_list(b"Vary", b"a\n"),
            BadResponse::ForbiddenByteInHeaderValue,
        ),
        (head.set_status(100, b""), BadResponse::InterimStatus(100)),
    ] {
        assert_eq!(answer, Err(fault));
    }
    assert_eq!(lines(&head), "Content-Length: 3\r\nVary: Cookie\r\n");
    assert_eq!(head.content_length(), Some(3));
}

#[test]
fn fields_that_the_server_writes_follow_edits() {
    let mut head = ResponseHead::default();
    head.set_status(426, b"Upgrade Required").unwrap();
    for name in [&b"Date"[..], b"Server", b"Upgrade"] {
        head.push(name, b"x").unwrap();
        assert!(head.remove(name));
        head.set(name, b"y").unwrap();
    }
    assert!(head.has_date() && head.has_server() && head.has_upgrade());
    head.set_status(200, b"OK").unwrap();
    assert_eq!(lines(&head), "Date: y\r\nServer: y\r\n");
    assert!(!head.has_upgrade());
    head.set(b"Connection", b"close").unwrap();
    assert!(head.wants_close());
    head.set(b"Connection", b"keep-alive").unwrap();
    assert!(!head.wants_close());
}
