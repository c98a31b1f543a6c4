//! Tables of PROXY headers, each at every cut.

use super::*;

fn network_source(source: &str, destination: &str) -> ProxySource {
    ProxySource::Network {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads `bytes` followed by client data, and checks that no shorter piece gives a different result.
fn read(bytes: &[u8], accepted: ProxyProtocol) -> Result<ProxySource, MalformedProxyHeader> {
    let mut all = bytes.to_vec();
    all.extend(b"GET / HTTP/1.1\r\n\r\n");
    let answer = read_proxy_header(&all, accepted);
    let mut is_decided = false;
    for length in 0..=all.len() {
        let piece = read_proxy_header(&all[..length], accepted);
        assert!(piece == Ok(None) || piece == answer, "{length}: {piece:?}");
        assert!(!is_decided || piece == answer, "{length} takes it back");
        is_decided |= piece != Ok(None);
        if let Ok(Some(header)) = piece {
            assert!(length >= header.length, "a result after {length} bytes");
        }
    }
    answer.map(|header| {
        let header = header.expect("there is enough");
        assert_eq!(header.length, bytes.len());
        header.source
    })
}

#[test]
fn lines_of_version_1_are_read_to_the_letter() {
    let most = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    let cr_at_the_end = format!("PROXY UNKNOWN {}\r", "x".repeat(107 - 15));
    let v6 = "ffff:f00d:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {v6} {v6} 65535 65535\r\n");
    let end = format!("[{v6}]:65535");
    let bad = Err(MalformedProxyHeader::BadLine);
    let cases = [
        (
            "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n",
            Ok(network_source("1.2.3.4:9", "5.6.7.8:10")),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n",
            Ok(network_source("[2001:db8::1]:0", "[::1]:65535")),
        ),
        (
            "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n",
            Ok(network_source("1.2.3.4:1", "[::1]:2")),
        ),
        (&longest, Ok(network_source(&end, &end))),
        ("PROXY UNKNOWN\r\n", Ok(ProxySource::Peer)),
        ("PROXY UNKNOWN what ever\r\n", Ok(ProxySource::Peer)),
        (&most, Ok(ProxySource::Peer)),
        (&too_long, Err(MalformedProxyHeader::LineTooLong)),
        (&cr_at_the_end, Err(MalformedProxyHeader::LineTooLong)),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 11\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 10 \r\n", bad),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 9 10\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 09 10\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +9 10\r\n", bad),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 65536\r\n", bad),
        ("PROXY TCP4 1.2.3.04 5.6.7.8 9 10\r\n", bad),
        ("PROXY TCP4 1.2.3 5.6.7.8 9 10\r\n", bad),
        ("PROXY TCP4 ::1 5.6.7.8 9 10\r\n", bad),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 9 10\r\n", bad),
        ("PROXY tcp4 1.2.3.4 5.6.7.8 9 10\r\n", bad),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 9 10\r\n", bad),
        ("PROXY / HTTP/1.1\r\n", bad),
        ("PROXY \r\n", bad),
    ];
    for (line, expected) in cases {
        for accepted in [ProxyProtocol::V1, ProxyProtocol::Auto] {
            assert_eq!(read(line.as_bytes(), accepted), expected, "{line:?}");
        }
        assert_eq!(
            read(line.as_bytes(), ProxyProtocol::V2),
            Err(MalformedProxyHeader::OtherVersion),
            "{line:?}"
        );
    }
}

#[test]
fn headers_of_version_2_are_read_with_what_they_have_beside_addresses() {
    let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 1, 0];
    let v4_source = Ok(network_source("1.2.3.4:9", "5.6.7.8:256"));
    let mut v6 = [0_u8; 36];
    v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    (v6[31], v6[33], v6[35]) = (1, 80, 81);
    let v6_source = Ok(network_source("[2001:db8::]:80", "[::1]:81"));
    let with_more = |addresses: &[u8], more: usize| {
        let mut payload = addresses.to_vec();
        payload.resize(addresses.len() + more, 0xff);
        payload
    };
    let cases = [
        (0x21, 0x11, v4.to_vec(), v4_source),
        (0x21, 0x11, with_more(&v4, 300), v4_source),
        (0x21, 0x11, with_more(&v4, 4096 - 12), v4_source),
        (0x21, 0x21, v6.to_vec(), v6_source),
        (0x21, 0x21, with_more(&v6, 3), v6_source),
        (0x21, 0x31, vec![b'/'; 216], Ok(ProxySource::Unix)),
        (0x21, 0x00, vec![], Ok(ProxySource::Peer)),
        (0x21, 0x00, vec![1; 40], Ok(ProxySource::Peer)),
        (0x20, 0x00, vec![], Ok(ProxySource::Peer)),
        (0x20, 0x11, v4.to_vec(), Ok(ProxySource::Peer)),
        (0x20, 0xff, vec![0; 9], Ok(ProxySource::Peer)),
        (
            0x21,
            0x11,
            v4[..11].to_vec(),
            Err(MalformedProxyHeader::TooShort),
        ),
        (
            0x21,
            0x21,
            v6[..35].to_vec(),
            Err(MalformedProxyHeader::TooShort),
        ),
        (
            0x21,
            0x31,
            vec![0; 215],
            Err(MalformedProxyHeader::TooShort),
        ),
        (
            0x21,
            0x11,
            vec![0; 4097],
            Err(MalformedProxyHeader::TooLong),
        ),
        (
            0x20,
            0x00,
            vec![0; 65535],
            Err(MalformedProxyHeader::TooLong),
        ),
        (
            0x21,
            0x12,
            v4.to_vec(),
            Err(MalformedProxyHeader::BadFamily),
        ),
        (
            0x21,
            0x41,
            v4.to_vec(),
            Err(MalformedProxyHeader::BadFamily),
        ),
        (
            0x22,
            0x11,
            v4.to_vec(),
            Err(MalformedProxyHeader::BadCommand),
        ),
        (
            0x11,
            0x11,
            v4.to_vec(),
            Err(MalformedProxyHeader::BadCommand),
        ),
    ];
    for (command, family, payload, expected) in cases {
        let bytes = binary(command, family, &payload);
        let what = format!("{command:#x} {family:#x} {}", payload.len());
        for accepted in [ProxyProtocol::V2, ProxyProtocol::Auto] {
            assert_eq!(read(&bytes, accepted), expected, "{what}");
        }
        assert_eq!(
            read(&bytes, ProxyProtocol::V1),
            Err(MalformedProxyHeader::OtherVersion),
            "{what}"
        );
    }
}

#[test]
fn a_start_that_is_no_header_is_refused_at_its_first_other_byte() {
    for text in [
        "GET / HTTP/1.1\r\n",
        "PROXYING",
        "PUT / HTTP/1.1\r\n",
        "\r\nGET / HTTP/1.1\r\n",
        "\r\n\r\n\r\n",
        "proxy TCP4",
        "\u{16}\u{3}\u{1}",
    ] {
        assert_eq!(
            read(text.as_bytes(), ProxyProtocol::Auto),
            Err(MalformedProxyHeader::Absent),
            "{text:?}"
        );
    }
    assert_eq!(
        read_proxy_header(b"PU", ProxyProtocol::V1),
        Err(MalformedProxyHeader::Absent)
    );
}
