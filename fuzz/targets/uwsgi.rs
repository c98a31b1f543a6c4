//! Any bytes as a packet of the uwsgi protocol: no panic, the same wherever they are cut, and heads that HTTP allows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::SMALL;
use lockgate_fuzz::packets::play;
use lockgate_http::Limits;

/// Up to this length every single cut is tried.
const SHORT: usize = 120;

fuzz_target!(|bytes: &[u8]| {
    for limits in [Limits::default(), Limits { head: 300, ..SMALL }] {
        let whole = play([bytes], limits);
        assert_eq!(play(bytes.chunks(1), limits), whole, "byte by byte");
        let cuts = if bytes.len() <= SHORT { bytes.len() } else { 8 };
        for cut in 0..cuts {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(play([first, second], limits), whole, "cut at {cut}");
        }
    }
});
