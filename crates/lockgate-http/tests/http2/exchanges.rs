//! Requests and their responses.

use lockgate_http::http2::Http2Settings;
use lockgate_http::{BodyLength, Limits, ResponseContext, ResponseHead, Version};

use crate::client::*;

pub const CONTEXT: ResponseContext<'static> = ResponseContext {
    version: Version::Http2,
    is_head: false,
    keep_alive: true,
    date: b"Sun, 22 Nov 2026 14:32:23 GMT",
    server: Some(b"lockgate"),
    hsts: None,
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
    let mut fields = Vec::new();
    client
        .decoder
        .decode(&sent[0].payload, 1 << 16, &mut Vec::new(), |name, value| {
            fields.push(String::from_utf8([name, b": ", value].concat()).unwrap());
        })
        .unwrap();
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
