//! Flow control (RFC 9113 §5.2, §6.9).

use lockgate_http::http2::{Http2Settings, StreamId};
use lockgate_http::{BodyLength, Limits, ResponseHead};

use crate::client::*;
use crate::exchanges::CONTEXT;

fn start_response(client: &mut Client, stream: u32) -> StreamId {
    let stream = client.streams[&stream];
    let mut head = ResponseHead::default();
    head.set_status(200, b"OK").unwrap();
    client
        .connection
        .send_head(
            stream,
            &head,
            BodyLength::Unknown,
            &CONTEXT,
            &mut Vec::new(),
        )
        .unwrap();
    stream
}

/// Sends as much as is allowed; returns how much.
fn send_all(client: &mut Client, stream: StreamId) -> usize {
    let mut sent = 0;
    loop {
        let length = client.connection.send_capacity(stream);
        if length == 0 {
            return sent;
        }
        let connection = &mut client.connection;
        assert!(!connection.send_data_head(stream, length + 1, false, &mut Vec::new()));
        assert!(connection.send_data_head(stream, length, false, &mut Vec::new()));
        sent += length;
    }
}

#[test]
fn no_more_is_sent_than_both_windows_allow() {
    let mut client = Client::connected(Http2Settings::default(), Limits::default());
    client.send(&setting(4, 1)).unwrap();
    client.send(&[get(1), get(3)].concat()).unwrap();
    let first = client.streams[&1];
    assert_eq!(
        client.connection.send_capacity(first),
        0,
        "there is no head"
    );
    start_response(&mut client, 1);
    let third = start_response(&mut client, 3);
    assert_eq!(send_all(&mut client, first), 1);
    assert_eq!(
        client.outcome(&window_update(1, 9)),
        "window 1 | SETTINGS ACK"
    );
    assert_eq!(send_all(&mut client, first), 9);
    // §6.9.2: a smaller initial window makes windows negative.
    assert_eq!(client.outcome(&setting(4, 0)), " | SETTINGS ACK");
    client.send(&window_update(1, 1)).unwrap();
    assert_eq!(send_all(&mut client, first), 0);
    client.send(&window_update(1, 1)).unwrap();
    assert_eq!(send_all(&mut client, first), 1);
    assert_eq!(send_all(&mut client, third), 0);
    // A larger one opens all of them.
    assert_eq!(
        client.outcome(&setting(4, 100_000)),
        "window | SETTINGS ACK"
    );
    assert_eq!(send_all(&mut client, third), 65_535 - 11);
    assert_eq!(send_all(&mut client, first), 0);
    assert_eq!(client.outcome(&window_update(0, 5)), "window | ");
    assert_eq!(send_all(&mut client, first), 5);
    // Frames are as long as the client allows.
    client
        .send(&[window_update(0, 40_000), setting(5, 20_000)].concat())
        .unwrap();
    assert_eq!(client.connection.send_capacity(first), 20_000);
    assert!(
        client
            .connection
            .send_data_head(first, 0, true, &mut Vec::new())
    );
    assert_eq!(client.connection.send_capacity(first), 0);
    assert!(
        !client
            .connection
            .send_data_head(first, 0, true, &mut Vec::new())
    );
}

#[test]
fn a_window_beyond_its_maximum_is_an_error() {
    let most = i32::MAX as u32;
    let cases = [
        (window_update(0, most), "error | GOAWAY 1 3"),
        (
            [window_update(0, most - 65_535), window_update(0, 1)].concat(),
            "window; error | GOAWAY 1 3",
        ),
        (window_update(1, most), "reset 1 3 | RST_STREAM 1 3"),
        (
            [window_update(1, most - 65_535), setting(4, 65_536)].concat(),
            "window 1; error | GOAWAY 1 3",
        ),
        (window_update(1, 0), "reset 1 1 | RST_STREAM 1 1"),
    ];
    for (input, expected) in cases {
        let mut client = Client::connected(Http2Settings::default(), Limits::default());
        client.send(&get(1)).unwrap();
        assert_eq!(client.outcome(&input), expected);
    }
}

#[test]
fn no_more_is_received_than_both_windows_allow() {
    let settings = Http2Settings {
        stream_window: 65_535,
        connection_window: 131_070,
        ..Http2Settings::default()
    };
    let part = |stream: u32| frame(DATA, 0, stream, &[0; 13_107]);
    let padded = frame(DATA, PADDED, 1, &[100; 101]);
    let mut client = Client::connected(settings, Limits::default());
    client.send(&[post(1), post(3), post(5)].concat()).unwrap();
    client.send(&part(1).repeat(5)).unwrap();
    // The padding is given back, but not announced; the rest of the stream has not left memory.
    assert_eq!(client.outcome(&padded), "reset 1 3 | RST_STREAM 1 3");
    client.send(&part(3).repeat(4)).unwrap();
    let last = frame(DATA, 0, 5, &[0; 13_006]);
    assert_eq!(client.outcome(&last), "data 5 13006 13006 false | ");
    assert_eq!(
        client.outcome(&frame(DATA, 0, 5, b"a")),
        "error | GOAWAY 5 3"
    );
}

#[test]
fn windows_are_announced_by_halves() {
    let settings = Http2Settings {
        stream_window: 65_535,
        connection_window: 65_535,
        ..Http2Settings::default()
    };
    let mut client = Client::new(settings, Limits::default());
    assert_eq!(client.received(), ["SETTINGS"]);
    let mut client = Client::connected(settings, Limits::default());
    client
        .send(&[post(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(3)].concat())
        .unwrap();
    let stream = client.streams[&1];
    let mut release = |bytes| {
        let mut out = Vec::new();
        client.connection.release_capacity(stream, bytes, &mut out);
        texts(&mut out)
    };
    assert!(release(16_384).is_empty());
    assert_eq!(
        release(16_384),
        ["WINDOW_UPDATE 0 32768", "WINDOW_UPDATE 1 32768"]
    );
    assert!(release(16_384).is_empty());
    // No more is given back than was received.
    assert!(release(1 << 30).is_empty());
    // A stream whose body is complete needs no window any more.
    let rest = [
        frame(DATA, 0, 1, &[0; 16_384]),
        frame(DATA, 1, 1, &[0; 16_384]),
    ]
    .concat();
    client.send(&rest).unwrap();
    let mut out = Vec::new();
    client.connection.release_capacity(stream, 32_768, &mut out);
    assert_eq!(texts(&mut out), ["WINDOW_UPDATE 0 49152"]);
}

#[test]
fn what_is_dropped_is_given_back() {
    let settings = Http2Settings {
        stream_window: 65_535,
        connection_window: 65_535,
        ..Http2Settings::default()
    };
    let limits = Limits {
        body: 10,
        ..Limits::default()
    };
    let data = |stream: u32| frame(DATA, PADDED, stream, &[&[255][..], &[0; 255]].concat());
    let reset = reset(1, 8);
    let cases = [
        // Padding; a refused body; a body after RST_STREAM of either side.
        [post(1), data(1).repeat(128)].concat(),
        [post(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(2)].concat(),
        [post(1), reset, frame(DATA, 0, 1, &[0; 16_384]).repeat(2)].concat(),
    ];
    for input in cases {
        let mut client = Client::connected(settings, limits);
        client.send(&input).unwrap();
        let updates = client.received();
        let update = updates
            .iter()
            .find(|text| text.starts_with("WINDOW_UPDATE 0 32768"));
        assert!(update.is_some(), "{updates:?}");
    }
}
