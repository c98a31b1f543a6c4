//! Requests and their responses.

use lockgate_http::http2::{Connection, Http2Settings};
use lockgate_http::{BadResponse, BodyLength, Limits, ResponseContext, ResponseHead, Version};

use crate::client::*;

pub const CONTEXT: ResponseContext<'static> = ResponseContext {
    version: Version::Http2,
    is_head: false,
    keep_alive: true,
    omits_connection: false,
    date: b"Sun, 22 Nov 2026 14:32:23 GMT",
    server: Some(b"lockgate"),
    hsts: None,
    request_id: None,
};

#[test]
fn a_request_is_answered() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    assert_eq!(client.send(&get(1)).unwrap(), ["request 1 GET / true"]);
    let stream = client.connection.last_stream();
    let mut head = ResponseHead::default();
    head.set_status(200, b"OK").unwrap();
    head.push(b"Content-Type", b"text/plain").unwrap();
    let mut out = Vec::new();
    let body = client
        .connection
        .send_head(stream, &head, BodyLength::Known(2), &CONTEXT, &mut out)
        .unwrap();
    assert!(!body.is_complete());
    assert!(client.connection.send_data_head(stream, 2, true, &mut out));
    out.extend_from_slice(b"ok");
    let sent = frames(&mut out);
    let fields = client.fields(&sent[0].payload);
    assert_eq!(
        fields,
        [
            ":status: 200",
            "content-type: text/plain",
            "date: Sun, 22 Nov 2026 14:32:23 GMT",
            "server: lockgate",
            "content-length: 2",
        ]
    );
    assert_eq!(
        (sent[1].flags, &sent[1].payload[..]),
        (END_STREAM, &b"ok"[..])
    );
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Connection>();
    assert!(size <= 512, "{size} bytes without heap memory");
}

/// Status, headers, length and whether it was HEAD; the fields, and what follows.
type Case<'a> = (
    u16,
    &'a [(&'a str, &'a str)],
    BodyLength,
    bool,
    &'a str,
    Option<u64>,
);

#[test]
fn a_response_has_the_fields_of_http1() {
    use BodyLength::{Known, Unknown};
    let cases: [Case<'_>; 9] = [
        (200, &[], Unknown, false, "", None),
        (200, &[], Known(3), false, "content-length: 3", None),
        (
            200,
            &[("Content-Length", "5")],
            Unknown,
            false,
            "content-length: 5",
            None,
        ),
        (200, &[], Known(3), true, "content-length: 3", Some(0)),
        (200, &[], Known(0), false, "content-length: 0", Some(0)),
        (
            204,
            &[("Content-Length", "5")],
            Known(5),
            false,
            "",
            Some(0),
        ),
        (
            304,
            &[("Content-Length", "5"), ("ETag", "x")],
            Known(0),
            false,
            "content-length: 5; etag: x",
            Some(0),
        ),
        (
            426,
            &[("Upgrade", "h2c"), ("Connection", "upgrade")],
            Known(0),
            false,
            "content-length: 0",
            Some(0),
        ),
        (
            0,
            &[("X-A", "b")],
            Known(0),
            false,
            "x-a: b; content-length: 0",
            Some(0),
        ),
    ];
    for (status, headers, length, is_head, expected, end) in cases {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&get(1)).unwrap();
        let mut head = ResponseHead::default();
        let _ = head.set_status(status, b"");
        for (name, value) in headers {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let context = ResponseContext { is_head, ..CONTEXT };
        let mut out = Vec::new();
        let stream = client.streams[&1];
        let body = client
            .connection
            .send_head(stream, &head, length, &context, &mut out);
        assert_eq!(body.map(|body| body.is_complete()), Some(end.is_some()));
        let again = client
            .connection
            .send_head(stream, &head, length, &context, &mut out);
        assert!(again.is_none());
        let sent = frames(&mut out);
        assert_eq!(sent[0].flags & END_STREAM != 0, end.is_some());
        let fields = client.fields(&sent[0].payload);
        let (first, rest) = fields.split_first().unwrap();
        assert_eq!(
            first,
            &format!(":status: {}", if status == 0 { 500 } else { status })
        );
        let rest: Vec<_> = rest
            .iter()
            .filter(|field| !field.starts_with("date: ") && !field.starts_with("server: "))
            .cloned()
            .collect();
        assert_eq!(rest.join("; "), expected, "{status} {headers:?}");
        assert_eq!(fields.len(), rest.len() + 3);
    }
}

#[test]
fn interim_heads_and_trailers_are_sent() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    client.send(&get(1)).unwrap();
    let stream = client.streams[&1];
    let mut out = Vec::new();
    let link = [
        (&b"Link"[..], &b"</a>"[..]),
        (b"Connection", b"close"),
        (b"Content-Length", b"1"),
    ];
    let connection = &mut client.connection;
    for status in [99, 101, 200] {
        let refused = connection.send_interim(stream, status, link, &mut out);
        assert_eq!(refused, Err(BadResponse::InvalidInterimStatus(status)));
    }
    let refused = connection.send_interim(stream, 103, [(&b"a b"[..], &b""[..])], &mut out);
    assert_eq!(refused, Err(BadResponse::InvalidHeaderName));
    assert!(out.is_empty());
    assert_eq!(
        connection.send_interim(stream, 103, link, &mut out),
        Ok(true)
    );
    let mut head = ResponseHead::default();
    head.set_status(200, b"").unwrap();
    assert!(!connection.send_trailers(stream, [], &mut out));
    connection
        .send_head(stream, &head, BodyLength::Unknown, &CONTEXT, &mut out)
        .unwrap();
    assert_eq!(
        connection.send_interim(stream, 103, link, &mut out),
        Ok(false)
    );
    let trailers = [
        (&b"X-Sum"[..], &b"1"[..]),
        (b"Connection", b"close"),
        (b"a b", b"c"),
    ];
    assert!(connection.send_trailers(stream, trailers, &mut out));
    assert!(!connection.send_trailers(stream, trailers, &mut out));
    let sent = frames(&mut out);
    let flags: Vec<u8> = sent.iter().map(|frame| frame.flags).collect();
    assert_eq!(flags, [END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM]);
    assert_eq!(
        client.fields(&sent[0].payload),
        [":status: 103", "link: </a>"]
    );
    assert_eq!(client.fields(&sent[2].payload), ["x-sum: 1"]);
}

#[test]
fn a_long_head_continues_in_further_frames() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    // The client has no dynamic table: the first block says so.
    client
        .send(&[setting(1, 0), setting(1, 4096), get(1), get(3)].concat())
        .unwrap();
    let mut head = ResponseHead::default();
    head.set_status(200, b"").unwrap();
    head.push(b"a", &[b'v'; 40_000]).unwrap();
    let mut out = Vec::new();
    for stream in [1, 3] {
        let stream = client.streams[&stream];
        let connection = &mut client.connection;
        connection
            .send_head(stream, &head, BodyLength::Known(0), &CONTEXT, &mut out)
            .unwrap();
        let sent = frames(&mut out);
        let kinds: Vec<_> = sent.iter().map(|frame| (frame.kind, frame.flags)).collect();
        assert_eq!(
            kinds,
            [
                (HEADERS, END_STREAM),
                (CONTINUATION, 0),
                (CONTINUATION, END_HEADERS)
            ]
        );
        let block: Vec<u8> = sent
            .iter()
            .flat_map(|frame| frame.payload.clone())
            .collect();
        assert_eq!(block[0] == 0x20, stream.get() == 1);
        assert_eq!(client.fields(&block)[1].len(), 40_003);
    }
}
