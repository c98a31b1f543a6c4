//! Any bytes, as the start of a connection behind a proxy: nothing panics, a result is final, and a version that is not
//! accepted is never read.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use lockgate_http::{ProxyProtocol, ProxySource, read_proxy_header};

/// The longest header that is accepted: 16 bytes and 4096 more.
const LONGEST: usize = 16 + 4096;

fuzz_target!(|bytes: &[u8]| {
    let auto = read_proxy_header(bytes, ProxyProtocol::Auto);
    for accepted in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let outcome = read_proxy_header(bytes, accepted);
        if let Ok(Some(_)) = outcome {
            assert_eq!(outcome, auto);
        }
        check_final(bytes, accepted);
    }
    check_final(bytes, ProxyProtocol::Auto);
    if let Ok(Some(header)) = auto {
        assert!(header.length <= bytes.len().min(LONGEST));
        // The client's bytes after the header do not belong to it.
        assert_eq!(
            read_proxy_header(&bytes[..header.length], ProxyProtocol::Auto),
            auto
        );
        if let (Some(line), ProxySource::Network { source, .. }) =
            (bytes.strip_prefix(b"PROXY "), header.source)
        {
            // The simplest reading of a line of version 1.
            let line = String::from_utf8_lossy(line);
            let words: Vec<&str> = line.split([' ', '\r']).collect();
            let address = words[1]
                .parse::<IpAddr>()
                .map(|address| address.to_canonical());
            assert_eq!(address, Ok(source.ip()));
            assert_eq!(words[3].parse(), Ok(source.port()));
        }
    }
});

/// Checks that bytes with a result give the same result when more bytes follow.
fn check_final(bytes: &[u8], accepted: ProxyProtocol) {
    let whole = read_proxy_header(bytes, accepted);
    for end in 0..bytes.len().min(300) {
        match read_proxy_header(&bytes[..end], accepted) {
            Ok(None) => {}
            earlier => {
                assert_eq!(earlier, whole, "after {end} bytes");
                return;
            }
        }
    }
}
