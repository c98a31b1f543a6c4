//! Any bytes, as a chunked body: nothing panics, the limits hold, and an accepted body has the same data as when
//! httparse reads each chunk size.
#![no_main]

use httparse::Status;
use libfuzzer_sys::fuzz_target;
use lockgate_fuzz::replay::play;
use lockgate_fuzz::{SMALL, check_bounds};
use lockgate_http::Limits;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let whole = [HEAD, bytes].concat();
    for limits in [Limits::default(), Limits { head: 160, ..SMALL }] {
        let transcript = play([&whole[..]], limits);
        check_bounds(&transcript, &limits);
        let Some(first) = transcript.messages.first() else {
            panic!("the head is valid");
        };
        let pieces = play(whole.chunks(1), limits);
        assert_eq!(pieces, transcript, "byte by byte");
        if first.is_whole {
            assert_eq!(Some(&first.body), data_by_httparse(bytes).as_ref());
        }
    }
});

/// The data of a chunked body, decoded in the simplest way. `None` if there is no end.
fn data_by_httparse(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        // httparse accepts at most 15 digits; RFC 9112 §7.1 allows any number of leading zeros.
        while let [b'0', next, ..] = bytes
            && next.is_ascii_hexdigit()
        {
            bytes = &bytes[1..];
        }
        let Ok(Status::Complete((start, size))) = httparse::parse_chunk_size(bytes) else {
            return None;
        };
        bytes = &bytes[start..];
        if size == 0 {
            return Some(data);
        }
        let size = usize::try_from(size).ok()?;
        data.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
