//! Benchmarks of HPACK: the first request of a browser's connection, a later one, and the head of a response.
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

use lockgate_http::http2::hpack::{Decoder, encode_field, encode_status};

/// 14 fields of a browser, Huffman coded and added to the table.
const FIRST: &str = "8287418cf1e3c2e5f23a6ba0ab90f4ff449f607624c4a0a86040138c5072755a61a4a8ff2b1cc5805f07b242d9\
    0483497f7ab5d07f66a281b0dae053fafc087ed4ce6aadf2a7979c89c6bed4b3bdc0b405c1fda988a4ea760400\
    80010054c26b0b29fcb01680b83f53b0497ca589d34d1f43aeba0c41a4c7a98f33a69a3fdf9a68fa1d75d0620d\
    263d4c79a68fbed00177febe58f9fbed00177b518b2d4b70ddf45abefb4005db50929bd9abfa5242cb40d25fa5\
    23b3e94f684c9f73979d29ad171863c78f0b97c8e9ae82ae43d2c0ec4989415160bb4150831ea8001132d36e3a\
    f3e38c921650044cb4db8ebcf8e3248597ed44ce5a4b0483b3afda844592a4fd4b5410c77a4c12e29f274cd468\
    ab557f4092b6b9ac1c8558d520a4b6c2ad617b5a54251f810f408a4148b4a549275a42a13f8690e4b692d49f40\
    8a4148b4a549275a93c85f86a87dcd30d25f4082497f864d833505b11f";
/// The same fields, each as an index.
const LATER: &str = "8287c9c8c7c6c5c4c3c2c1c0bfbe";

fn main() {
    let (first, later) = (from_hexadecimal(FIRST), from_hexadecimal(LATER));
    let mut scratch = Vec::new();
    let mut size = 0;
    let mut field = |name: &[u8], value: &[u8]| size += black_box(name).len() + value.len();
    measure("decode a browser's first head", || {
        let mut decoder = Decoder::new(4096);
        decoder
            .decode(black_box(&first), 65_536, &mut scratch, &mut field)
            .unwrap();
    });
    let mut decoder = Decoder::new(4096);
    decoder
        .decode(&first, 65_536, &mut scratch, &mut field)
        .unwrap();
    measure("decode a browser's later head", || {
        decoder
            .decode(black_box(&later), 65_536, &mut scratch, &mut field)
            .unwrap();
    });
    let mut out = Vec::new();
    measure("encode a response head of 5 fields", || {
        out.clear();
        encode_status(black_box(200), &mut out);
        for (name, value) in black_box([
            (&b"Server"[..], &b"lockgate"[..]),
            (b"Date", b"Sun, 22 Nov 2026 14:32:23 GMT"),
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Content-Length", b"1234"),
            (b"X-Frame-Options", b"DENY"),
        ]) {
            encode_field(name, value, &mut out);
        }
    });
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
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
