//! Requests, their fields and bodies (RFC 9113 §8).

use lockgate_http::http2::Http2Settings;
use lockgate_http::{Framing, Limits};

use crate::client::*;

/// A field in place of one of `GET`, or after them.
fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = GET
        .iter()
        .copied()
        .filter(|field| field.0 != name)
        .collect();
    let at = if name.starts_with(':') {
        0
    } else {
        fields.len()
    };
    fields.insert(at, (name, value));
    fields
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|field| field.0 != name).collect()
}

#[test]
fn a_malformed_request_is_reset() {
    let cases = [
        // §8.2.1: names and values.
        ("invalid_field_name", with("Accept", "a")),
        ("invalid_field_name", with("a(", "a")),
        ("whitespace_in_field_name", with("a b", "a")),
        ("empty_field_name", with("", "a")),
        ("forbidden_byte_in_field_value", with("a", "b\r\nc: d")),
        ("forbidden_byte_in_field_value", with("a", "b\0")),
        ("whitespace_around_field_value", with("a", " b")),
        ("whitespace_around_field_value", with("a", "b\t")),
        // §8.2.2: fields about the connection.
        (
            "connection_specific_field",
            with("connection", "keep-alive"),
        ),
        ("connection_specific_field", with("keep-alive", "5")),
        (
            "connection_specific_field",
            with("proxy-connection", "keep-alive"),
        ),
        (
            "connection_specific_field",
            with("transfer-encoding", "chunked"),
        ),
        ("connection_specific_field", with("upgrade", "h2c")),
        (
            "connection_specific_field",
            with("te", "trailers, deflate;q=0.5"),
        ),
        // §8.3: pseudo-header fields.
        ("unknown_pseudo_header", with(":test", "ok")),
        ("unknown_pseudo_header", with(":status", "200")),
        ("unknown_pseudo_header", with(":protocol", "websocket")),
        (
            "misplaced_pseudo_header",
            [&with("a", "b")[..], &[(":test", "ok")]].concat(),
        ),
        (
            "misplaced_pseudo_header",
            [&GET[..], &[("a", "b"), (":path", "/")]].concat(),
        ),
        (
            "repeated_pseudo_header",
            [&GET[..], &[(":method", "GET")]].concat(),
        ),
        (
            "repeated_pseudo_header",
            [&GET[..], &[(":scheme", "http")]].concat(),
        ),
        (
            "repeated_pseudo_header",
            [&GET[..], &[(":path", "/")]].concat(),
        ),
        (
            "repeated_pseudo_header",
            [&GET[..], &[(":authority", "h")]].concat(),
        ),
        // §8.3.1
        ("missing_pseudo_header", without(":method")),
        ("missing_pseudo_header", without(":scheme")),
        ("missing_pseudo_header", without(":path")),
        ("missing_pseudo_header", vec![]),
        ("missing_pseudo_header", vec![("a", "b")]),
        (
            "missing_pseudo_header",
            [&without(":path")[..], &[("a", "b"), (":path", "/")]].concat(),
        ),
        ("missing_pseudo_header", with(":scheme", "")),
        ("relative_target", with(":path", "")),
        ("relative_target", with(":path", "a")),
        ("relative_target", with(":path", "http://h/")),
        ("forbidden_byte_in_target", with(":path", "/a b")),
        ("forbidden_byte_in_target", with(":path", "/\r\na: b")),
        ("invalid_method", with(":method", "")),
        ("invalid_method", with(":method", "GET /")),
        // §8.5: CONNECT has neither scheme nor path.
        ("missing_pseudo_header", with(":method", "CONNECT")),
        ("missing_pseudo_header", vec![(":method", "CONNECT")]),
        // §8.1.1: Content-Length.
        ("truncated_body", with("content-length", "1")),
        ("invalid_content_length", with("content-length", "+0")),
        ("invalid_content_length", with("content-length", "0, 0")),
        (
            "repeated_content_length",
            [&with("content-length", "0")[..], &[("content-length", "0")]].concat(),
        ),
        (
            "content_length_overflow",
            with("content-length", "99999999999999999999"),
        ),
    ];
    for (reason, fields) in cases {
        let input = [headers(1, END_STREAM, &fields), get(3)].concat();
        let expected = format!("malformed 1 {reason}; request 3 GET / true | RST_STREAM 1 1");
        check(&format!("{fields:?}"), &input, &expected);
    }
}

#[test]
fn other_faults_are_answered() {
    let long = "a".repeat(9000);
    let cases = [
        ("missing_host", without(":authority")),
        ("contradictory_host", with("host", "other")),
        ("invalid_host", with(":authority", "user@h")),
        ("invalid_host", with(":authority", "")),
        ("invalid_host", with(":authority", "a,b")),
        (
            "repeated_host",
            [&with("host", "h")[..], &[("host", "h")]].concat(),
        ),
        (
            "repeated_content_type",
            [&with("content-type", "a/b")[..], &[("content-type", "a/b")]].concat(),
        ),
        ("unknown_scheme", with(":scheme", "ftp")),
        ("asterisk_without_options", with(":path", "*")),
        ("fragment_in_target", with(":path", "/#a")),
        ("non_ascii_in_target", with(":path", "/é")),
        ("method_not_implemented", with(":method", "TRACE")),
        (
            "method_not_implemented",
            vec![(":method", "CONNECT"), (":authority", "h:1")],
        ),
        ("method_too_long", with(":method", &long[..33])),
        ("request_line_too_long", with(":path", concat_path(&long))),
        ("field_too_large", with("a", &long)),
        ("too_many_fields", [&GET[..], &[("a", "b"); 100]].concat()),
        (
            "head_too_large",
            [&GET[..], &[("a", &long[..8000]); 9]].concat(),
        ),
        ("unknown_expectation", with("expect", "200-ok")),
        ("body_too_large", with("content-length", "1073741825")),
    ];
    for (reason, fields) in cases {
        let block = block(&fields);
        let parts: Vec<_> = block.chunks(16_384).collect();
        let mut input = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let kind = if index == 0 { HEADERS } else { CONTINUATION };
            let end = if index + 1 == parts.len() {
                END_HEADERS
            } else {
                0
            };
            input.extend(frame(kind, end, 1, part));
        }
        // The rest of the body is dropped, and trailers, too.
        input.extend(frame(DATA, 0, 1, b"abc"));
        input.extend(headers(1, END_STREAM, &[("a", "b")]));
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        assert_eq!(client.outcome(&input), format!("refused 1 {reason} | "));
        assert_eq!(client.connection.open_streams(), 1);
        assert_eq!(client.outcome(&get(3)), "request 3 GET / true | ");
    }
}

fn concat_path(long: &str) -> &'static str {
    String::leak(format!("/{long}"))
}

#[test]
fn a_refused_head_has_what_was_read() {
    for (fields, method, target, faulty) in [
        (with("host", "other"), "GET", "/", Some("host")),
        (with("expect", "a"), "GET", "/", None),
        (with(":authority", "a b"), "GET", "/", Some("host")),
        (
            vec![(":method", "CONNECT"), (":authority", "h:1")],
            "CONNECT",
            "h:1",
            None,
        ),
        (without(":path"), "", "", None),
        (with("Accept", "a"), "GET", "/", Some("Accept")),
    ] {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&get(1)).unwrap();
        client.send(&headers(3, END_STREAM, &fields)).unwrap();
        let head = &client.head;
        assert_eq!(
            (head.method(), head.target()),
            (method.as_bytes(), target.as_bytes())
        );
        let name = head.faulty_field().map(|(name, _)| name);
        assert_eq!(name, faulty.map(str::as_bytes), "{fields:?}");
    }
}

#[test]
fn a_head_is_that_of_http1() {
    let fields = [
        (":path", "/a?b"),
        (":method", "POST"),
        (":authority", "H:1"),
        (":scheme", "http"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("host", "h:1"),
        ("cookie", ""),
        ("te", "trailers"),
        ("x_y", "z"),
        ("content-length", "5"),
    ];
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    client.send(&headers(1, 0, &fields)).unwrap();
    let head = &client.head;
    assert_eq!(
        String::from_utf8_lossy(head.head_bytes()),
        "POST /a?b HTTP/2.0\r\nhost: H:1\r\ncookie: a=b; c=d; \r\nte: trailers\r\nx_y: z\r\n\
         content-length: 5\r\n\r\n"
    );
    assert_eq!(
        (head.dropped_fields(), head.framing()),
        (1, Framing::Length(5))
    );
    assert!(head.may_have_forwarding_headers() && !head.has_https_target());
}

#[test]
fn cookies_are_one_field_in_the_limits() {
    let limits = Limits {
        fields: 2,
        field_size: 40,
        ..Limits::default()
    };
    let crumbs = |count, last| {
        let mut fields = GET.to_vec();
        fields.extend(std::iter::repeat_n(("cookie", "a=b"), count));
        fields.push(("cookie", last));
        fields
    };
    for (fields, expected) in [
        // `cookie: ` and CRLF leave 30 bytes.
        (crumbs(6, ""), "request 1 GET / true"),
        (crumbs(6, "a"), "refused 1 field_too_large"),
        (
            crumbs(5, "a\0"),
            "malformed 1 forbidden_byte_in_field_value",
        ),
        (crumbs(5, " a"), "malformed 1 whitespace_around_field_value"),
    ] {
        let mut client = Client::connected(Http2Settings::default(), limits);
        let events = client.send(&headers(1, END_STREAM, &fields)).unwrap();
        assert_eq!(events, [expected]);
    }
}

#[test]
fn a_scheme_that_is_not_the_connections_is_that_of_the_target() {
    for (scheme, is_https) in [("http", false), ("HTTP", false), ("https", true)] {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client
            .send(&headers(1, 1, &with(":scheme", scheme)))
            .unwrap();
        assert_eq!(client.head.has_https_target(), is_https);
        assert_eq!(client.head.may_have_forwarding_headers(), is_https);
        assert_eq!(client.head.header("host"), Some(&b"h"[..]));
    }
}

#[test]
fn a_body_without_a_length_is_limited() {
    let data = |flags: u8, length: usize| frame(DATA, flags, 1, &vec![0; length]);
    let limits = Limits {
        body: 10,
        ..Limits::default()
    };
    for (last, expected) in [(7, "data 1 7 7 true"), (8, "refused 1 body_too_large")] {
        let mut client = Client::connected(Http2Settings::default(), limits);
        let input = [headers(1, 0, &POST), data(0, 3), data(1, last), get(3)].concat();
        assert_eq!(
            client.send(&input).unwrap(),
            [
                "request 1 POST / false",
                "data 1 3 3 false",
                expected,
                "request 3 GET / true"
            ]
        );
    }
}

#[test]
fn a_body_may_have_another_limit_than_that_of_the_connection() {
    let data = |flags: u8, length: usize| frame(DATA, flags, 1, &vec![0; length]);
    let limits = Limits {
        body: 10,
        ..Limits::default()
    };
    let with_length = [&POST[..], &[("content-length", "6")]].concat();
    for (fields, limit, outcome, then) in [
        (&POST[..], 6, true, "data 1 3 3 true"),
        (&POST, 5, true, "refused 1 body_too_large"),
        (&POST, 0, true, "data 1 3 3 true"),
        (&with_length, 6, true, "data 1 3 3 true"),
        (&with_length, 0, true, "data 1 3 3 true"),
        (&with_length, 5, false, ""),
    ] {
        let mut client = Client::connected(Http2Settings::default(), limits);
        client.send(&headers(1, 0, fields)).unwrap();
        let stream = client.streams[&1];
        let limited = client.connection.limit_body(stream, limit);
        assert_eq!(limited.is_ok(), outcome, "{limit}");
        let events = client.send(&[data(0, 3), data(1, 3)].concat()).unwrap();
        let expected = if outcome {
            vec!["data 1 3 3 false", then]
        } else {
            vec![]
        };
        assert_eq!(events, expected, "{limit}");
    }
}

#[test]
fn trailers_are_checked() {
    let limits = Limits {
        fields: 3,
        field_size: 30,
        trailers: 50,
        ..Limits::default()
    };
    let value = "v".repeat(25);
    let cases = [
        (1, vec![("a", "b")], "trailers 1 | "),
        (1, vec![], "trailers 1 | "),
        (
            0,
            vec![("a", "b")],
            "malformed 1 trailers_without_end | RST_STREAM 1 1",
        ),
        (
            1,
            vec![(":path", "/")],
            "malformed 1 misplaced_pseudo_header | RST_STREAM 1 1",
        ),
        (
            1,
            vec![("A", "b")],
            "malformed 1 invalid_field_name | RST_STREAM 1 1",
        ),
        (
            1,
            vec![("a", "b\n")],
            "malformed 1 forbidden_byte_in_field_value | RST_STREAM 1 1",
        ),
        (
            1,
            vec![("connection", "a")],
            "malformed 1 connection_specific_field | RST_STREAM 1 1",
        ),
        (1, vec![("host", "a")], "refused 1 forbidden_trailer | "),
        (
            1,
            vec![("content-length", "3")],
            "refused 1 forbidden_trailer | ",
        ),
        (1, vec![("a", "b"); 4], "refused 1 too_many_fields | "),
        (1, vec![("a", &value)], "trailers 1 | "),
        (1, vec![("ab", &value)], "refused 1 field_too_large | "),
        (1, vec![("a", &value); 2], "refused 1 trailers_too_large | "),
    ];
    for (flags, fields, expected) in cases {
        let mut client = Client::connected(Http2Settings::default(), limits);
        let input = [
            post(1),
            frame(DATA, 0, 1, b"abc"),
            headers(1, flags, &fields),
        ]
        .concat();
        let expected = format!("request 1 POST / false; data 1 3 3 false; {expected}");
        assert_eq!(client.outcome(&input), expected, "{fields:?}");
    }
}
