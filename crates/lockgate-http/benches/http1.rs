//! Benchmarks of the paths that every request takes, through the public API.
//!
//! `cargo bench -p lockgate-http`. Each figure is the fastest of many rounds, in nanoseconds per call.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs
)]

use std::hint::black_box;
use std::time::Instant;

use lockgate_http::{
    BodyLength, Event, Limits, RequestHead, RequestParser, ResponseContext, ResponseHead, Version,
    encode_head,
};

const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8000\r\n\r\n";
const BROWSER: &[u8] = b"GET /articles/2026/lock-gates?page=2&order=date HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; csrftoken=AbCdEfGhIjKlMnOp\r\n\
    Upgrade-Insecure-Requests: 1\r\n\r\n";
const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
    5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

fn main() {
    let mut head = RequestHead::default();
    for (name, bytes) in [
        ("small GET", SMALL),
        ("browser GET", BROWSER),
        ("chunked POST", CHUNKED),
    ] {
        let mut parser = RequestParser::new(Limits::default());
        measure(
            &format!("step to the end: {name}, {} bytes", bytes.len()),
            || {
                let mut rest = black_box(bytes);
                loop {
                    let (used, event) = parser.step(rest, &mut head).unwrap();
                    rest = &rest[used..];
                    if event == Event::End {
                        break;
                    }
                }
                parser.next_message();
            },
        );
    }
    let mut parser = RequestParser::new(Limits::default());
    measure("step to the end: browser GET, cut in two", || {
        let (first, second) = black_box(BROWSER).split_at(300);
        parser.step(first, &mut head).unwrap();
        parser.step(second, &mut head).unwrap();
        parser.step(b"", &mut head).unwrap();
        parser.next_message();
    });
    for (name, bytes) in [("small GET", SMALL), ("browser GET", BROWSER)] {
        measure(&format!("httparse alone, for comparison: {name}"), || {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut fields);
            black_box(request.parse(black_box(bytes)).unwrap());
        });
    }

    let mut response = ResponseHead::default();
    let context = ResponseContext {
        version: Version::Http11,
        is_head: false,
        keep_alive: true,
        omits_connection: false,
        date: b"Sun, 22 Nov 2026 14:32:23 GMT",
        server: Some(b"lockgate"),
        hsts: None,
        request_id: None,
    };
    let build = |response: &mut ResponseHead| {
        response.clear();
        response.set_status(200, b"OK").unwrap();
        response
            .push(b"Content-Type", b"text/html; charset=utf-8")
            .unwrap();
        response.push(b"Content-Length", b"1234").unwrap();
        response.push(b"Vary", b"Cookie").unwrap();
    };
    measure("build a response head with 3 headers", || {
        build(black_box(&mut response))
    });
    let mut out = Vec::new();
    measure("encode_head with 3 headers", || {
        out.clear();
        black_box(encode_head(
            &mut out,
            black_box(&response),
            BodyLength::Known(1234),
            black_box(&context),
        ));
    });
    response.clear();
    response.set_status(200, b"OK").unwrap();
    response.push(b"Content-Type", b"text/plain").unwrap();
    measure("encode_head with 1 header and a generated length", || {
        out.clear();
        black_box(encode_head(
            &mut out,
            black_box(&response),
            BodyLength::Known(13),
            black_box(&context),
        ));
    });
}

fn measure(name: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 2000;
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    println!("{best:8.1} ns  {name}");
}
