//! Any bytes, as requests: nothing panics, the limits hold, httparse reads an accepted head the same way, and its parts
//! give the same head.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::replay::{check_with_builder, check_with_httparse, play};
use lockgate_fuzz::{SMALL, check_bounds};
use lockgate_http::Limits;

fuzz_target!(|bytes: &[u8]| {
    for limits in [Limits::default(), SMALL] {
        let transcript = play([bytes], limits);
        check_bounds(&transcript, &limits);
        transcript.messages.iter().for_each(check_with_httparse);
        transcript.messages.iter().for_each(check_with_builder);
        for message in &transcript.messages {
            // RFC 9110 §5.5, RFC 9112 §2.2: whatever the rules above accept, an application that writes a value into a
            // header or a log must be safe from line ends in it.
            let values = message.headers.iter().map(|(_, value)| value);
            for text in values.chain([&message.method, &message.target]) {
                assert!(!text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
});
