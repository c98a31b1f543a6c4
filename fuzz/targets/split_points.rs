//! The same bytes give the same events, wherever the input is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::SMALL;
use lockgate_fuzz::replay::play;
use lockgate_http::Limits;

/// Up to this length every single cut is tried.
const SHORT: usize = 120;

fuzz_target!(|bytes: &[u8]| {
    for limits in [Limits::default(), SMALL] {
        let whole = play([bytes], limits);
        assert_eq!(play(bytes.chunks(1), limits), whole, "byte by byte");
        if bytes.len() <= SHORT {
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(play([first, second], limits), whole, "cut at {cut}");
            }
        }
        let places = places(bytes);
        let pieces = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        assert_eq!(play(pieces, limits), whole, "cut at {places:?}");
    }
});

/// A few cuts derived from the bytes, so that every corpus file is a complete input (FNV-1a, then splitmix64).
fn places(bytes: &[u8]) -> Vec<usize> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut places = vec![0, bytes.len()];
    for _ in 0..state % 7 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        places.push((mixed ^ (mixed >> 31)) as usize % (bytes.len() + 1));
    }
    places.sort_unstable();
    places
}
