//! Tables of requests that are not HTTP/1 lines, with the expected heads and refusals.

use super::*;

const GET: ControlData<'_> = ControlData {
    method: b"GET",
    scheme: Some(b"https"),
    authority: Some(b"h:1"),
    target: b"/a?b",
    version: Version::Http2,
};

fn build(
    head: &mut RequestHead,
    control_data: &ControlData<'_>,
    fields: &[(&str, &str)],
    is_last: bool,
) -> Result<(), Refusal> {
    let limits = Limits::default();
    let mut builder = RequestHeadBuilder::new(head, control_data, &limits)?;
    for (name, value) in fields {
        builder.field(name.as_bytes(), value.as_bytes())?;
    }
    builder.finish_stream(is_last)
}

#[test]
fn a_stream_gives_a_head() {
    let mut head = RequestHead::default();
    let fields = [
        ("accept", "*/*"),
        ("te", "trailers"),
        ("x_y", "z"),
        ("host", "H:1"),
        ("e", ""),
    ];
    build(&mut head, &GET, &fields, true).unwrap();
    assert_eq!(
        String::from_utf8_lossy(head.head_bytes()),
        "GET /a?b HTTP/2.0\r\nhost: h:1\r\naccept: */*\r\nte: trailers\r\nx_y: z\r\ne: \r\n\r\n"
    );
    assert_eq!((head.method(), head.target()), (&b"GET"[..], &b"/a?b"[..]));
    assert_eq!((head.path(), head.query()), (&b"/a"[..], &b"b"[..]));
    assert_eq!(head.host(), Some(&b"h:1"[..]));
    assert_eq!(
        (head.version(), head.protocol()),
        (Version::Http2, &b"HTTP/2.0"[..])
    );
    assert_eq!((head.headers().len(), head.dropped_fields()), (4, 1));
    assert!(head.has_https_target() && head.keep_alive() && !head.is_server_wide_options());
    assert!(head.may_have_forwarding_headers());
}

#[test]
fn a_body_ends_with_its_length_or_with_its_stream() {
    let cases = [
        (None, true, Ok(Framing::None)),
        (None, false, Ok(Framing::EndOfStream)),
        (Some("0"), true, Ok(Framing::Length(0))),
        (Some("0"), false, Ok(Framing::Length(0))),
        (Some("5"), false, Ok(Framing::Length(5))),
        (Some("5"), true, Err(Refusal::TruncatedBody)),
        (Some("+5"), false, Err(Refusal::InvalidContentLength)),
        (
            Some("9999999999"),
            false,
            Err(Refusal::BodyTooLarge { limit: 1 << 30 }),
        ),
    ];
    for (length, is_last, expected) in cases {
        let mut head = RequestHead::default();
        let fields: Vec<_> = length
            .map(|length| ("content-length", length))
            .into_iter()
            .collect();
        let answer = build(&mut head, &GET, &fields, is_last);
        assert_eq!(
            answer.map(|()| head.framing()),
            expected,
            "{length:?} {is_last}"
        );
    }
    let mut head = RequestHead::default();
    build(&mut head, &GET, &[("expect", "100-continue")], false).unwrap();
    assert!(head.expects_continue());
}

#[test]
fn a_stream_is_refused_for_what_http2_forbids() {
    let no_host = ControlData {
        authority: None,
        ..GET
    };
    let with_target = |target| ControlData { target, ..GET };
    let with_authority = |authority| ControlData {
        authority: Some(authority),
        ..GET
    };
    let connect = ControlData {
        method: b"CONNECT",
        ..GET
    };
    let with_scheme = |scheme| ControlData {
        scheme: Some(scheme),
        ..GET
    };
    // control data, a field, the refusal, the field that it is about
    let cases = [
        (
            GET,
            ("connection", "close"),
            Refusal::ConnectionSpecificField,
            "connection",
        ),
        (
            GET,
            ("keep-alive", "1"),
            Refusal::ConnectionSpecificField,
            "keep-alive",
        ),
        (
            GET,
            ("proxy-connection", ""),
            Refusal::ConnectionSpecificField,
            "proxy-connection",
        ),
        (
            GET,
            ("transfer-encoding", "chunked"),
            Refusal::ConnectionSpecificField,
            "transfer-encoding",
        ),
        (
            GET,
            ("upgrade", "h2c"),
            Refusal::ConnectionSpecificField,
            "upgrade",
        ),
        (GET, ("te", "gzip"), Refusal::ConnectionSpecificField, "te"),
        (GET, ("Accept", "a"), Refusal::InvalidFieldName, "Accept"),
        (GET, ("a b", "a"), Refusal::WhitespaceInFieldName, ""),
        (GET, (":path", "/"), Refusal::InvalidFieldName, ""),
        (GET, ("", "a"), Refusal::EmptyFieldName, ""),
        (
            GET,
            ("accept", " a"),
            Refusal::WhitespaceAroundFieldValue,
            "accept",
        ),
        (
            GET,
            ("accept", "a\t"),
            Refusal::WhitespaceAroundFieldValue,
            "accept",
        ),
        (
            GET,
            ("accept", "a\r\nb: c"),
            Refusal::ForbiddenByteInFieldValue,
            "accept",
        ),
        (
            GET,
            ("accept", "a\0"),
            Refusal::ForbiddenByteInFieldValue,
            "accept",
        ),
        (GET, ("host", "other"), Refusal::ContradictoryHost, "host"),
        (no_host, ("accept", "a"), Refusal::MissingHost, ""),
        (no_host, ("host", "a b"), Refusal::InvalidHost, "host"),
        (
            with_authority(b"user@h"),
            ("accept", "a"),
            Refusal::InvalidHost,
            "host",
        ),
        (
            with_authority(b""),
            ("accept", "a"),
            Refusal::InvalidHost,
            "host",
        ),
        (
            with_target(b""),
            ("accept", "a"),
            Refusal::RelativeTarget,
            "",
        ),
        (
            with_target(b"a"),
            ("accept", "a"),
            Refusal::RelativeTarget,
            "",
        ),
        (
            with_target(b"http://h/"),
            ("accept", "a"),
            Refusal::RelativeTarget,
            "",
        ),
        (
            with_target(b"/a b"),
            ("accept", "a"),
            Refusal::ForbiddenByteInTarget,
            "",
        ),
        (
            with_target(b"/#"),
            ("accept", "a"),
            Refusal::FragmentInTarget,
            "",
        ),
        (
            with_target(b"*"),
            ("accept", "a"),
            Refusal::AsteriskWithoutOptions,
            "",
        ),
        (connect, ("accept", "a"), Refusal::MethodNotImplemented, ""),
        (
            with_scheme(b"ftp"),
            ("accept", "a"),
            Refusal::UnknownScheme,
            "",
        ),
    ];
    for (control_data, field, refusal, faulty) in cases {
        let mut head = RequestHead::default();
        let answer = build(&mut head, &control_data, &[field], true);
        assert_eq!(answer, Err(refusal), "{control_data:?} {field:?}");
        let found = head.faulty_field().map_or(&b""[..], |(name, _)| name);
        assert_eq!(found, faulty.as_bytes(), "{control_data:?} {field:?}");
    }
    let mut head = RequestHead::default();
    let twice = build(&mut head, &GET, &[("host", "h:1"), ("host", "h:1")], true);
    assert_eq!(twice, Err(Refusal::RepeatedHost));
}
