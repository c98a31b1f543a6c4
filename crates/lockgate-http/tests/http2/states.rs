//! Streams, their numbers and states (RFC 9113 §5), and priorities (RFC 9218).

use lockgate_http::http2::{ErrorCode, GoAway, Http2Settings, Priority};
use lockgate_http::{BodyLength, Limits, ResponseHead};

use crate::client::*;
use crate::exchanges::CONTEXT;

/// Answers a stream to its end.
pub fn answer(client: &mut Client, stream: u32) {
    let stream = client.streams[&stream];
    let mut head = ResponseHead::default();
    head.set_status(204, b"").unwrap();
    let received = &mut client.received;
    let body = client
        .connection
        .send_head(stream, &head, BodyLength::Known(0), &CONTEXT, received);
    assert!(body.unwrap().is_complete());
}

#[test]
fn a_stream_that_both_sides_have_ended_takes_nothing() {
    for (input, events, frames) in [
        (frame(DATA, 1, 1, b"a"), "error", "GOAWAY 1 5"),
        (headers(1, 1, &[("a", "b")]), "error", "GOAWAY 1 5"),
        (get(1), "error", "GOAWAY 1 5"),
        (frame(CONTINUATION, 4, 1, b""), "error", "GOAWAY 1 1"),
        (window_update(1, 10), "", ""),
        (window_update(1, 0), "error", "GOAWAY 1 1"),
        (reset(1, 0), "", ""),
        (frame(PRIORITY, 0, 1, b"\0\0\0\x03\x01"), "", ""),
        (frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"), "", ""),
    ] {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&get(1)).unwrap();
        answer(&mut client, 1);
        assert_eq!(client.received(), ["HEADERS 1 1"]);
        assert_eq!(client.connection.open_streams(), 0);
        let outcome = client.outcome(&input);
        assert_eq!(outcome, format!("{events} | {frames}"), "{input:?}");
    }
}

#[test]
fn a_response_may_end_before_its_request() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    client.send(&post(1)).unwrap();
    answer(&mut client, 1);
    assert_eq!(client.connection.open_streams(), 1);
    assert_eq!(
        client.outcome(&frame(DATA, 0, 1, b"abc")),
        "data 1 3 3 false | HEADERS 1 1"
    );
    let stream = client.streams[&1];
    let received = &mut client.received;
    assert!(
        client
            .connection
            .reset(stream, ErrorCode::NO_ERROR, received)
    );
    assert_eq!(client.connection.open_streams(), 0);
    assert_eq!(
        client.outcome(&frame(DATA, 1, 1, b"abc")),
        " | RST_STREAM 1 0"
    );
    assert!(
        !client
            .connection
            .reset(stream, ErrorCode::NO_ERROR, &mut client.received)
    );
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let settings = Http2Settings {
        max_concurrent_streams: 2,
        ..Http2Settings::default()
    };
    let mut client = Client::connected(settings, Limits::default());
    assert_eq!(
        client.outcome(&[get(1), get(3), get(5)].concat()),
        "request 1 GET / true; request 3 GET / true | RST_STREAM 5 7"
    );
    answer(&mut client, 1);
    assert_eq!(
        client.outcome(&get(7)),
        "request 7 GET / true | HEADERS 1 1"
    );
    // A request that is reset while it runs still counts.
    assert_eq!(
        client.outcome(&[reset(3, 8), get(9)].concat()),
        "reset 3 8 | RST_STREAM 9 7"
    );
    client.connection.abandoned_request_ended();
    assert_eq!(client.outcome(&get(11)), "request 11 GET / true | ");
}

#[test]
fn each_request_that_is_reset_counts_once_until_it_has_ended() {
    let settings = Http2Settings {
        max_concurrent_streams: 2,
        ..Http2Settings::default()
    };
    let mut client = Client::connected(settings, Limits::default());
    assert_eq!(
        client.outcome(&[get(1), reset(1, 8)].concat()),
        "request 1 GET / true; reset 1 8 | "
    );
    // Its answer waits for the window; it is given up at once, while the first request still runs.
    let host = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    assert_eq!(
        client.outcome(&[headers(3, 1, &host), reset(3, 8)].concat()),
        "refused 3 missing_host; reset 3 8 | "
    );
    client.connection.abandoned_request_ended();
    assert_eq!(
        client.outcome(&[get(5), get(7)].concat()),
        "request 5 GET / true | RST_STREAM 7 7"
    );
}

#[test]
fn goaway_is_sent_twice() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    client.send(&post(1)).unwrap();
    let send = |client: &mut Client, kind| {
        let received = &mut client.received;
        client
            .connection
            .go_away(kind, ErrorCode::NO_ERROR, received);
    };
    send(&mut client, GoAway::Graceful);
    assert_eq!(
        client.outcome(&get(3)),
        "request 3 GET / true | GOAWAY 2147483647 0"
    );
    send(&mut client, GoAway::Final);
    // What is above the last stream is dropped, and its block is decoded.
    let indexed = frame(
        HEADERS,
        4,
        5,
        &[&block(&POST)[..], b"\x40\x01x\x01y"].concat(),
    );
    let after = [
        indexed,
        frame(DATA, 1, 5, b"abc"),
        frame(DATA, 0, 1, b"abc"),
    ]
    .concat();
    assert_eq!(client.outcome(&after), "data 1 3 3 false | GOAWAY 3 0");
    let trailers = frame(HEADERS, 5, 1, b"\xbe");
    assert_eq!(client.outcome(&trailers), "trailers 1 | ");
    send(&mut client, GoAway::Graceful);
    assert_eq!(client.outcome(b""), " | GOAWAY 3 0");
    assert_eq!(client.outcome(&window_update(0, 0)), "error | GOAWAY 3 1");
}

#[test]
fn a_priority_comes_from_the_field_or_a_frame() {
    let fields = [&GET[..], &[("priority", "u=1, i")]].concat();
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    let update = |stream: u32, value: &[u8]| {
        let payload = [&stream.to_be_bytes()[..], value].concat();
        frame(PRIORITY_UPDATE, 0, 0, &payload)
    };
    let early = [update(3, b"u=6"), update(5, b"u=0"), update(5, b"u=7,i")].concat();
    assert_eq!(client.outcome(&early), " | ");
    client
        .send(&[headers(1, 1, &fields), headers(5, 1, &fields)].concat())
        .unwrap();
    client.send(&[get(7)].concat()).unwrap();
    let priority = |client: &Client, stream: u32| {
        let Priority {
            urgency,
            incremental,
        } = client.connection.priority(client.streams[&stream]).unwrap();
        (urgency, incremental)
    };
    assert_eq!(priority(&client, 1), (1, true));
    assert_eq!(priority(&client, 5), (7, true));
    assert_eq!(priority(&client, 7), (3, false));
    assert_eq!(client.outcome(&update(7, b"u=2")), "priority 7 2 false | ");
    assert_eq!(priority(&client, 7), (2, false));
    // No more streams than may be open.
    let many = (0..126)
        .flat_map(|index| update(9 + 2 * index, b""))
        .collect::<Vec<_>>();
    assert_eq!(client.outcome(&many), "error | GOAWAY 7 1");
}
