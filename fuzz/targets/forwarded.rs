//! Any header lines, from a trusted and from an untrusted peer: nothing panics, elements to the left of an untrusted
//! hop change nothing, and an untrusted peer's forwarding headers are removed.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use lockgate_http::{
    Event, ForwardedIdentity, ForwardingRules, HopHeaders, Limits, RequestHead, RequestParser,
    SchemeHeader,
};

const EVERY_KIND: [HopHeaders; 4] = [
    HopHeaders::Either,
    HopHeaders::XForwarded,
    HopHeaders::Forwarded,
    HopHeaders::Neither,
];

fuzz_target!(|lines: &[u8]| {
    let Some(head) = head_with(&[lines]) else {
        return;
    };
    for hops in EVERY_KIND {
        let rules = rules(hops);
        for is_trusted in [no_peer, private, every_peer] {
            let mut seen = head.clone();
            if rules.read(&mut seen, is_trusted).is_ok() {
                let script_name = seen.script_name();
                assert!(script_name.is_empty() || script_name.starts_with(b"/"));
                assert!(!script_name.starts_with(b"//") || seen.path().starts_with(script_name));
                assert!(seen.host().is_some_and(|host| !host.is_empty()));
            }
        }
        check_left_of_untrusted(&rules, &head, lines);
        check_stripped(&rules, &head);
    }
});

fn rules(hops: HopHeaders) -> ForwardingRules {
    let scheme = |name: &str, secure: &str| SchemeHeader {
        name: name.as_bytes().to_vec(),
        secure: secure.as_bytes().to_vec(),
    };
    ForwardingRules {
        hops,
        scheme_headers: vec![
            scheme("X-Forwarded-Proto", "https"),
            scheme("X-Forwarded-Ssl", "on"),
        ],
        takes_host: true,
        takes_prefix: true,
        underscore_names: vec![b"SCRIPT_NAME".to_vec(), b"X_Y".to_vec()],
        refuses_underscores: false,
        strips_untrusted: true,
    }
}

fn no_peer(_: IpAddr) -> bool {
    false
}

fn every_peer(_: IpAddr) -> bool {
    true
}

fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

/// Checks that nothing a client sends ahead of its proxy's own elements changes the result.
fn check_left_of_untrusted(rules: &ForwardingRules, head: &RequestHead, lines: &[u8]) {
    let forged: &[u8] = match rules.hops {
        HopHeaders::XForwarded => b"X-Forwarded-For: 192.0.2.66\r\n",
        HopHeaders::Forwarded => b"Forwarded: for=192.0.2.66;proto=https;host=forged\r\n",
        HopHeaders::Either | HopHeaders::Neither => return,
    };
    let Some(with_forged) = head_with(&[forged, lines]) else {
        return;
    };
    let read = |head: &RequestHead| -> Option<ForwardedIdentity> {
        rules.read(&mut head.clone(), no_peer).ok()
    };
    let expected = read(head);
    if expected.is_some_and(|identity| identity.client.is_some()) {
        assert_eq!(read(&with_forged), expected);
    }
}

fn check_stripped(rules: &ForwardingRules, head: &RequestHead) {
    let mut seen = head.clone();
    let before = seen.headers().len();
    if let Ok(removed) = rules.strip(&mut seen) {
        assert_eq!(seen.headers().len() + removed, before);
        for (name, _) in seen.headers() {
            let name = name.to_ascii_lowercase();
            assert!(!name.starts_with(b"x-forwarded-") && name != b"forwarded");
        }
    }
}

fn head_with(lines: &[&[u8]]) -> Option<RequestHead> {
    let start: &[u8] = b"GET /a/b HTTP/1.1\r\nHost: h\r\n";
    let bytes = [start, &lines.concat(), b"\r\n\r\n"].concat();
    let mut head = RequestHead::default();
    match RequestParser::new(Limits::default()).step(&bytes, &mut head) {
        Ok((_, Event::Head)) => Some(head),
        _ => None,
    }
}
