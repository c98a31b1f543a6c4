//! Any bytes as what a client sends after its preface: a request that both this server and the `h2` crate accept is the
//! same for both, and so is its body. Either may refuse what the other accepts.
#![no_main]

use std::collections::BTreeMap;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::h2_server;
use lockgate_http::http2::{Connection, Event, Http2Settings, PREFACE, Scratch};
use lockgate_http::{Limits, RequestHead};

struct Request {
    head: RequestHead,
    body: Vec<u8>,
    is_whole: bool,
}

fuzz_target!(|bytes: &[u8]| {
    let input = [&PREFACE[..], b"\0\0\0\x04\0\0\0\0\0", bytes].concat();
    let requests = read(&input);
    if requests.is_empty() {
        return;
    }
    let others = h2_server::read(&input, Http2Settings::default().max_concurrent_streams);
    for (stream, request) in requests {
        let Some(other) = others.get(&stream) else {
            continue;
        };
        let head = &request.head;
        assert_eq!(other.method.as_bytes(), head.method(), "method of {stream}");
        assert_eq!(other.target.as_bytes(), head.target(), "target of {stream}");
        if let Some(authority) = &other.authority {
            assert_eq!(
                Some(authority.as_bytes()),
                head.header("host"),
                "host of {stream}"
            );
        }
        let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (name, value) in head.headers() {
            let name = String::from_utf8(name.to_vec()).expect("a token");
            fields.entry(name).or_default().push(value.to_vec());
        }
        fields.remove("host");
        let mut expected = other.fields.clone();
        expected.remove("host");
        expected.retain(|name, _| !name.contains('_'));
        for cookies in [&mut fields, &mut expected] {
            if let Some(values) = cookies.get_mut("cookie") {
                *values = vec![values.join(&b"; "[..])];
            }
        }
        assert_eq!(expected, fields, "fields of {stream}");
        let shorter = request.body.len().min(other.body.len());
        assert_eq!(
            request.body[..shorter],
            other.body[..shorter],
            "body of {stream}"
        );
        if request.is_whole && other.is_whole {
            assert_eq!(request.body.len(), other.body.len(), "body of {stream}");
        }
    }
});

/// The requests that are accepted, by stream, until the first error.
fn read(mut input: &[u8]) -> BTreeMap<u32, Request> {
    let mut control = Vec::new();
    let settings = Http2Settings::default();
    let limits = Limits::default();
    let mut connection = Connection::new(settings, limits, false, Instant::now(), &mut control);
    let mut scratch = Scratch::default();
    let mut head = RequestHead::default();
    let mut requests: BTreeMap<u32, Request> = BTreeMap::new();
    loop {
        let answer = connection.receive(input, &mut head, &mut scratch, &mut control);
        let Ok((used, event)) = answer else {
            return requests;
        };
        input = &input[used..];
        match event {
            Event::NeedInput => return requests,
            Event::Request {
                stream, is_last, ..
            } => {
                let request = Request {
                    head: head.clone(),
                    body: Vec::new(),
                    is_whole: is_last,
                };
                requests.insert(stream.get(), request);
            }
            Event::Data {
                stream,
                bytes,
                is_last,
                flow,
            } => {
                if let Some(request) = requests.get_mut(&stream.get()) {
                    request.body.extend_from_slice(bytes);
                    request.is_whole = is_last;
                }
                connection.release_capacity(stream, flow, &mut control);
            }
            Event::Trailers { stream } => {
                if let Some(request) = requests.get_mut(&stream.get()) {
                    request.is_whole = true;
                }
            }
            _ => {}
        }
    }
}
