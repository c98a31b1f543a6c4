//! Property tests of client identity over generated input: nothing panics, a cut changes nothing, and elements forged
//! to the left of those that trusted proxies appended do not change the result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use lockgate_http::{
    Event, ForwardedIdentity, ForwardingRules, HopHeaders, Limits, ProxyProtocol, RequestHead,
    RequestParser, SchemeHeader, read_proxy_header,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Fragments of forwarding headers, valid and invalid.
const FRAGMENTS: [&str; 30] = [
    "for=",
    "For=",
    "proto=",
    "host=",
    "by=",
    "https",
    "http",
    "unknown",
    "_x",
    "\"",
    "\"",
    "\\",
    ",",
    ",",
    ", ",
    ";",
    "; ",
    "=",
    " ",
    "\t",
    "[",
    "]",
    ":",
    "[2001:db8::1]",
    "::1",
    "10.0.0.1",
    "192.0.2.1",
    "192.0.2.1:80",
    ":_p",
    "é",
];

/// What proxies append, as a list of its own.
const GENUINE: [(&str, &str); 5] = [
    ("192.0.2.1", "for=192.0.2.1"),
    (
        "192.0.2.1:80, 10.0.0.1",
        "for=\"192.0.2.1:80\";proto=https, for=10.0.0.1",
    ),
    (
        "[2001:db8::1]:1,10.0.0.1",
        "for=\"[2001:db8::1]:1\",for=10.0.0.1;host=a",
    ),
    (
        "192.0.2.1, 10.0.0.2, 10.0.0.1",
        "for=192.0.2.1;a=\"b,c\", for=10.0.0.2, for=10.0.0.1",
    ),
    ("::ffff:192.0.2.1", "for=\"[::ffff:192.0.2.1]\""),
];

/// How PROXY headers begin.
const STARTS: [&[u8]; 5] = [
    b"",
    b"PROXY ",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 9 ",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
];

/// What they go on with, beside anything else.
const PROXY_BYTES: &[u8] = b" 0129.:\r\nTCP\x21\x11\0";

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
}

fn read(name: &str, value: &str, hops: HopHeaders) -> ForwardedIdentity {
    let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{name}: {value}\r\n\r\n");
    let mut head = RequestHead::default();
    let (_, event) = RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    assert_eq!(event, Event::Head);
    let rules = ForwardingRules {
        hops,
        scheme_headers: vec![SchemeHeader {
            name: b"X-Forwarded-Proto".to_vec(),
            secure: b"https".to_vec(),
        }],
        ..ForwardingRules::default()
    };
    rules.read(&mut head, is_trusted).unwrap()
}

fn fragments() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&FRAGMENTS[..]), 0..24).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn forged_elements_to_the_left_change_nothing(forged in fragments(), genuine in select(&GENUINE[..])) {
        let cases = [
            ("X-Forwarded-For", genuine.0, HopHeaders::XForwarded),
            ("Forwarded", genuine.1, HopHeaders::Forwarded),
        ];
        for (name, genuine, hops) in cases {
            let alone = read(name, genuine, hops);
            prop_assert!(alone.client.is_some());
            prop_assert_eq!(read(name, &format!("{forged}, {genuine}"), hops), alone);
        }
    }

    #[test]
    fn an_address_is_never_an_ipv4_mapped_one(value in fragments()) {
        for name in ["X-Forwarded-For", "Forwarded"] {
            if let Some(hop) = read(name, &value, HopHeaders::Either).client {
                prop_assert_eq!(hop.address, hop.address.to_canonical());
            }
        }
    }

    #[test]
    fn a_plain_list_gives_the_last_untrusted_address(octets in prop::collection::vec(select(vec![1_u8, 10, 192]), 1..40)) {
        let hops: Vec<IpAddr> = (0_u8..).zip(&octets).map(|(index, first)| IpAddr::from([*first, 0, 0, index])).collect();
        let list: Vec<String> = hops.iter().map(IpAddr::to_string).collect();
        let expected = hops.iter().rev().find(|hop| !is_trusted(**hop)).or(hops.first());
        let found = read("X-Forwarded-For", &list.join(", "), HopHeaders::Either).client.map(|hop| hop.address);
        prop_assert_eq!(found.as_ref(), expected);
        let list: Vec<String> = list.iter().map(|hop| format!("for={hop}")).collect();
        let found = read("Forwarded", &list.join(","), HopHeaders::Either).client.map(|hop| hop.address);
        prop_assert_eq!(found.as_ref(), expected);
    }

    #[test]
    fn a_proxy_header_is_read_the_same_wherever_it_is_cut(
        start in select(&STARTS[..]),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), select(PROXY_BYTES)], 0..200),
        accepted in select(vec![ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Auto]),
    ) {
        let bytes = [start, &rest].concat();
        let whole = read_proxy_header(&bytes, accepted);
        let mut is_decided = false;
        for length in 0..=bytes.len() {
            let piece = read_proxy_header(&bytes[..length], accepted);
            prop_assert!(piece == whole || (piece == Ok(None) && !is_decided), "{length}: {piece:?}, not {whole:?}");
            is_decided |= piece != Ok(None);
            if let Ok(Some(header)) = piece {
                prop_assert!(header.length <= length);
            }
        }
    }
}
