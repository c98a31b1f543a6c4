//! Any bytes as the frames of a WebSocket client: no panic, the same messages wherever they are cut, and tungstenite
//! reads each accepted message alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::websocket::{check_with_tungstenite, play};
use lockgate_http::websocket::MessageLimits;

/// Up to this length every single cut is tried.
const SHORT: usize = 120;

/// The second reaches every limit with short input.
const LIMITS: [MessageLimits; 2] = [
    MessageLimits {
        size: 2048,
        fragments: 64,
    },
    MessageLimits {
        size: 40,
        fragments: 3,
    },
];

fuzz_target!(|bytes: &[u8]| {
    for limits in LIMITS {
        let whole = play([bytes], limits);
        assert_eq!(play(bytes.chunks(1), limits), whole, "byte by byte");
        let cuts = if bytes.len() <= SHORT {
            bytes.len()
        } else {
            20
        };
        for cut in 0..cuts {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(play([first, second], limits), whole, "cut at {cut}");
        }
        check_with_tungstenite(bytes, limits);
    }
});
