//! Tables of forwarding headers, genuine and forged, with the expected results.

use std::net::IpAddr;

use super::*;
use crate::{Limits, RequestParser};

fn read_head(fields: &str) -> RequestHead {
    let mut head = RequestHead::default();
    let text = format!("GET /app/page HTTP/1.1\r\nHost: inner\r\n{fields}\r\n");
    let limits = Limits {
        field_size: 1 << 20,
        head: 1 << 21,
        ..Limits::default()
    };
    RequestParser::new(limits)
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

fn rules() -> ForwardingRules {
    let header = |name: &str, secure: &str| SchemeHeader {
        name: name.into(),
        secure: secure.into(),
    };
    ForwardingRules {
        scheme_headers: vec![
            header("X-FORWARDED-PROTOCOL", "ssl"),
            header("X-FORWARDED-PROTO", "https"),
            header("X-FORWARDED-SSL", "on"),
        ],
        underscore_names: vec![b"SCRIPT_NAME".to_vec(), b"REMOTE_USER".to_vec()],
        strips_untrusted: true,
        ..ForwardingRules::default()
    }
}

/// 10.0.0.0/8 and ::1 are trusted.
fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.is_loopback(),
    }
}

fn read(fields: &str, hops: HopHeaders) -> Result<ForwardedIdentity, Refusal> {
    let rules = ForwardingRules { hops, ..rules() };
    rules.read(&mut read_head(fields), is_trusted)
}

fn client(fields: &str) -> Option<String> {
    let hop = read(fields, HopHeaders::Either).unwrap().client?;
    Some(match hop.port {
        Some(port) => format!("{} {port}", hop.address),
        None => hop.address.to_string(),
    })
}

#[test]
fn the_client_is_the_first_address_from_the_right_that_is_not_trusted() {
    let cases = [
        ("192.0.2.1", Some("192.0.2.1")),
        ("192.0.2.1, 10.0.0.1", Some("192.0.2.1")),
        ("6.6.6.6, 192.0.2.1,10.0.0.1\t, 10.0.0.2", Some("192.0.2.1")),
        ("10.0.0.1, 192.0.2.1", Some("192.0.2.1")),
        ("10.0.0.1, 10.0.0.2", Some("10.0.0.1")),
        ("192.0.2.1:4711, ::1", Some("192.0.2.1 4711")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:80", Some("2001:db8::1 80")),
        ("::ffff:192.0.2.1, ::ffff:10.0.0.1", Some("192.0.2.1")),
        ("6.6.6.6, unknown, 10.0.0.1", Some("10.0.0.1")),
        ("6.6.6.6, unknown", None),
        ("6.6.6.6, 192.0.2", None),
        ("6.6.6.6, 192.0.2.1 10.0.0.1", None),
        ("6.6.6.6, 192.0.2.1:", None),
        ("6.6.6.6, 192.0.2.1:65536", None),
        ("6.6.6.6, 192.0.2.01", None),
        ("6.6.6.6, [192.0.2.1]", None),
        ("6.6.6.6, [::1", None),
        ("6.6.6.6, fe80::1%eth0", None),
        ("6.6.6.6, \"192.0.2.1\"", None),
        ("6.6.6.6, 127.1", None),
        ("6.6.6.6, 0x7f000001", None),
        (", , 192.0.2.1,, ", Some("192.0.2.1")),
        ("", None),
        (",", None),
    ];
    for (value, expected) in cases {
        let fields = format!("X-Forwarded-For: {value}\r\n");
        assert_eq!(client(&fields).as_deref(), expected, "{value:?}");
        // Elements to the left are forged: no prefix changes the answer, unless all hops are trusted.
        if expected.is_some_and(|expected| !expected.starts_with("10.")) {
            for forged in ["7.7.7.7", "\"", "10.9.9.9", "unknown"] {
                let fields = format!("X-Forwarded-For: {forged}, {value}\r\n");
                assert_eq!(client(&fields).as_deref(), expected, "{fields:?}");
                let fields = format!("X-Forwarded-For: {forged}\r\nx-forwarded-for: {value}\r\n");
                assert_eq!(client(&fields).as_deref(), expected, "{fields:?}");
            }
        }
    }
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    let cases = [
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            Some("192.0.2.60"),
            Some(false),
        ),
        (
            "For=192.0.2.60; PROTO=HTTPS ;by=203.0.113.43",
            Some("192.0.2.60"),
            Some(true),
        ),
        (
            "for=\"[2001:db8:cafe::17]:4711\"",
            Some("2001:db8:cafe::17 4711"),
            None,
        ),
        ("for=\"192.0.2.1:_hidden\"", Some("192.0.2.1"), None),
        ("for=192.0.2.1:80", Some("192.0.2.1 80"), None),
        (
            "for=192.0.2.43, for=10.0.0.1;proto=https",
            Some("192.0.2.43"),
            None,
        ),
        (
            "for=192.0.2.43;proto=https, for=10.0.0.1",
            Some("192.0.2.43"),
            Some(true),
        ),
        (
            "for=6.6.6.6, for=192.0.2.1;a=\"b, \\\" for=7.7.7.7\"",
            None,
            None,
        ),
        (
            "for=6.6.6.6, for=192.0.2.1;a=\"b, for=7.7.7.7\"",
            Some("192.0.2.1"),
            None,
        ),
        ("for=unknown;proto=https", None, Some(true)),
        ("for=_hidden, for=10.0.0.1", Some("10.0.0.1"), None),
        ("proto=https", None, Some(true)),
        ("proto=wss;for=192.0.2.1", Some("192.0.2.1"), None),
        (";for=192.0.2.1;;", Some("192.0.2.1"), None),
        ("for=2001:db8::1", None, None),
        ("for=\"2001:db8::1\"", None, None),
        ("for=1.1.1.1;for=2.2.2.2", None, None),
        ("for=1.1.1.1;by=a;by=b", None, None),
        ("for =1.1.1.1", None, None),
        ("for=", None, None),
        ("for=\"1.1.1.1\"x", None, None),
        ("for=1.1.1.1 proto=https", None, None),
        ("for", None, None),
        ("=x", None, None),
    ];
    for (value, expected, is_https) in cases {
        let answer = read(&format!("Forwarded: {value}\r\n"), HopHeaders::Either).unwrap();
        assert_eq!(answer.is_https, is_https, "{value:?}");
        let answer = client(&format!("Forwarded: {value}\r\n"));
        assert_eq!(answer.as_deref(), expected, "{value:?}");
    }
}

#[test]
fn an_open_quotation_mark_of_a_liar_does_not_swallow_what_the_proxy_adds() {
    let forged_elements = [
        "for=\"",
        "for=6.6.6.6;a=\"",
        "for=\"6.6.6.6",
        "\\\"",
        "a=\"\\",
        "\"\\\\",
        ",\",",
    ];
    let genuine_elements = [
        "for=192.0.2.1",
        "for=\"192.0.2.1:4\"",
        "for=\"[2001:db8::1]\";proto=https",
    ];
    for genuine in genuine_elements {
        let expected = client(&format!("Forwarded: {genuine}\r\n"));
        assert!(expected.is_some());
        for forged in forged_elements {
            for fields in [
                format!("Forwarded: {forged}, {genuine}\r\n"),
                format!("Forwarded: {forged},{genuine}, for=10.0.0.1\r\n"),
                format!("Forwarded: {forged}\r\nForwarded: {genuine}\r\n"),
            ] {
                assert_eq!(client(&fields), expected, "{fields:?}");
            }
        }
    }
}

#[test]
fn one_family_of_headers_decides_for_one_request() {
    let both = "Forwarded: for=6.6.6.6;proto=https\r\nX-Forwarded-For: 192.0.2.1\r\n";
    let only_scheme = "Forwarded: for=6.6.6.6;proto=http\r\nX-Forwarded-Proto: https\r\n";
    let only_forwarded = "Forwarded: for=192.0.2.9;proto=https\r\n";
    let cases = [
        (both, HopHeaders::Either, Some("192.0.2.1"), None),
        (both, HopHeaders::XForwarded, Some("192.0.2.1"), None),
        (both, HopHeaders::Forwarded, Some("6.6.6.6"), Some(true)),
        (both, HopHeaders::Neither, None, None),
        (only_scheme, HopHeaders::Either, None, Some(true)),
        (
            only_scheme,
            HopHeaders::Forwarded,
            Some("6.6.6.6"),
            Some(false),
        ),
        (only_scheme, HopHeaders::Neither, None, Some(true)),
        (
            only_forwarded,
            HopHeaders::Either,
            Some("192.0.2.9"),
            Some(true),
        ),
        (only_forwarded, HopHeaders::XForwarded, None, None),
        (only_forwarded, HopHeaders::Neither, None, None),
    ];
    for (fields, hops, address, is_https) in cases {
        let identity = read(fields, hops).unwrap();
        let found = identity.client.map(|hop| hop.address.to_string());
        assert_eq!(
            (found.as_deref(), identity.is_https),
            (address, is_https),
            "{fields:?} {hops:?}"
        );
    }
}

#[test]
fn scheme_headers_agree_or_the_request_is_refused() {
    let cases = [
        ("X-Forwarded-Proto: https\r\n", Ok(Some(true))),
        ("x-forwarded-proto: HTTPS\r\n", Ok(Some(true))),
        ("X-Forwarded-Proto: http\r\n", Ok(Some(false))),
        ("X-Forwarded-Proto: wss\r\n", Ok(Some(false))),
        ("X-Forwarded-Proto: http, https\r\n", Ok(Some(true))),
        ("X-Forwarded-Proto: https, http\r\n", Ok(Some(false))),
        (
            "X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: https\r\n",
            Ok(Some(true)),
        ),
        (
            "X-Forwarded-Ssl: off\r\nX-Forwarded-Proto: http\r\n",
            Ok(Some(false)),
        ),
        ("X-Forwarded-Protocol: ssl\r\n", Ok(Some(true))),
        ("X-Forwarded-For: 192.0.2.1\r\n", Ok(None)),
        (
            "X-Forwarded-Ssl: on\r\nX-Forwarded-Proto: http\r\n",
            Err(Refusal::ContradictorySchemes),
        ),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
            Err(Refusal::ContradictorySchemes),
        ),
    ];
    for (fields, expected) in cases {
        let is_https = read(fields, HopHeaders::Either).map(|identity| identity.is_https);
        assert_eq!(is_https, expected, "{fields:?}");
        // Where only Forwarded counts, these are ignored: they cannot even cause a refusal.
        let answer = read(fields, HopHeaders::Forwarded);
        assert_eq!(answer, Ok(ForwardedIdentity::default()), "{fields:?}");
    }
}

#[test]
fn the_host_is_taken_only_where_that_is_asked_for() {
    let cases = [
        ("X-Forwarded-Host: a.test:81\r\n", Ok("a.test:81")),
        ("X-Forwarded-Host: forged.test, a.test\r\n", Ok("a.test")),
        (
            "Forwarded: host=\"a.test:8\";for=192.0.2.1\r\n",
            Ok("a.test:8"),
        ),
        (
            "Forwarded: host=forged;for=6.6.6.6, host=a.test;for=192.0.2.1, host=b;for=10.0.0.1\r\n",
            Ok("a.test"),
        ),
        (
            "Forwarded: host=forged\r\nX-Forwarded-For: 192.0.2.1\r\n",
            Ok("inner"),
        ),
        (
            "X-Forwarded-Host: a/b\r\n",
            Err(Refusal::InvalidForwardedHost),
        ),
        ("X-Forwarded-Host:\r\n", Err(Refusal::InvalidForwardedHost)),
    ];
    for (fields, expected) in cases {
        let rules = ForwardingRules {
            takes_host: true,
            ..rules()
        };
        let mut head = read_head(fields);
        let answer = rules.read(&mut head, is_trusted);
        let host = answer.map(|_| String::from_utf8_lossy(head.host().unwrap()).into_owned());
        assert_eq!(host.as_deref(), expected.as_ref().copied(), "{fields:?}");
        let mut head = read_head(fields);
        super::tests::rules().read(&mut head, is_trusted).unwrap();
        assert_eq!(head.host(), Some(&b"inner"[..]));
    }
}

#[test]
fn forwarding_headers_of_an_untrusted_peer_are_ignored_and_removed() {
    let fields = "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-FORWARDED-ANYTHING: x\r\n\
                  x-real-ip: 1.1.1.1\r\nX-Forwarded: kept\r\nFrom: kept\r\nX-Other: kept\r\nAccept: kept\r\n";
    let mut head = read_head(fields);
    assert!(head.may_have_forwarding_headers());
    assert_eq!(rules().strip(&mut head), Ok(4));
    let left: Vec<_> = head.headers().map(|(_, value)| value.to_vec()).collect();
    assert_eq!(left, [&b"inner"[..], b"kept", b"kept", b"kept", b"kept"]);
    let lax = ForwardingRules {
        strips_untrusted: false,
        ..rules()
    };
    assert_eq!(lax.strip(&mut read_head(fields)), Ok(0));
}

#[test]
fn ordinary_heads_need_no_look() {
    let cases = [
        ("Accept: x\r\nCookie: x-forwarded-for\r\n", false),
        ("X-Forwarded-For: x\r\n", true),
        ("forwarded: x\r\n", true),
        ("A_B: x\r\n", true),
    ];
    for (fields, expected) in cases {
        assert_eq!(
            read_head(fields).may_have_forwarding_headers(),
            expected,
            "{fields:?}"
        );
    }
    let named = |name: &str| ForwardingRules {
        scheme_headers: vec![SchemeHeader {
            name: name.into(),
            secure: b"on".to_vec(),
        }],
        ..ForwardingRules::default()
    };
    assert!(named("CloudFront-Forwarded-Proto").has_unusual_names());
    assert!(!named("Front-End-Https").has_unusual_names());
}

#[test]
fn underscores_are_let_through_by_name_and_never_merged() {
    let cases = [
        ("REMOTE_USER: me\r\n", Ok(("", 2))),
        ("Remote_User: me\r\nOther_Name: x\r\n", Ok(("", 2))),
        ("SCRIPT_NAME: /app\r\n", Ok(("/app", 2))),
        ("Script_Name: /app/\r\n", Ok(("/app", 2))),
        ("SCRIPT_NAME: /\r\n", Ok(("", 2))),
        ("SCRIPT_NAME: /app/page\r\n", Ok(("/app/page", 2))),
        ("SCRIPT_NAME: /ap\r\n", Err(Refusal::PathOutsideScriptName)),
        (
            "SCRIPT_NAME: /other\r\n",
            Err(Refusal::PathOutsideScriptName),
        ),
        (
            "SCRIPT_NAME: /app\r\nscript_name: /app\r\n",
            Err(Refusal::AmbiguousFieldName),
        ),
        (
            "REMOTE_USER: me\r\nremote-user: you\r\n",
            Err(Refusal::AmbiguousFieldName),
        ),
        (
            "REMOTE_USER: me\r\nREMOTE_USER: you\r\n",
            Err(Refusal::AmbiguousFieldName),
        ),
    ];
    for (fields, expected) in cases {
        let mut head = read_head(fields);
        let identity = rules().read(&mut head, is_trusted);
        let answer = identity.map(|_| (head.script_name(), head.headers().len()));
        let expected = expected.map(|(script_name, count)| (script_name.as_bytes(), count));
        assert_eq!(answer, expected, "{fields:?}");
    }
    let mut head = read_head("REMOTE_USER: \t me \r\nOther_Name: x\r\n");
    rules().read(&mut head, is_trusted).unwrap();
    assert_eq!(head.header("remote_user"), Some(&b"me"[..]));
    assert_eq!(head.dropped_fields(), 1);

    let strict = ForwardingRules {
        refuses_underscores: true,
        ..rules()
    };
    let refused = Refusal::UnderscoreInFieldName;
    assert!(
        strict
            .read(&mut read_head("REMOTE_USER: me\r\n"), is_trusted)
            .is_ok()
    );
    assert_eq!(
        strict.read(&mut read_head("A_B: x\r\n"), is_trusted),
        Err(refused)
    );
    assert_eq!(
        strict.strip(&mut read_head("REMOTE_USER: me\r\n")),
        Err(refused)
    );
}

#[test]
fn a_prefix_is_a_path_of_this_site_and_counts_where_it_is_taken() {
    let invalid = Err(Refusal::InvalidForwardedPrefix);
    let cases = [
        ("X-Forwarded-Prefix: /shop\r\n", Ok("/shop")),
        ("x-forwarded-prefix: /shop//\r\n", Ok("/shop")),
        ("X-Forwarded-Prefix: /a/b%20c\r\n", Ok("/a/b%20c")),
        ("X-Forwarded-Prefix: /old, /new\r\n", Ok("/new")),
        (
            "X-Forwarded-Prefix: /old\r\nX-Forwarded-Prefix: /new\r\n",
            Ok("/new"),
        ),
        ("X-Forwarded-Prefix: /\r\n", Ok("")),
        ("X-Forwarded-Prefix:\r\n", Ok("")),
        // As long as the name that counts.
        ("X-Forwarded-Server: /shop\r\n", Ok("")),
        (
            "X-Forwarded-Prefix: /shop\r\nSCRIPT_NAME: /app\r\n",
            Ok("/app"),
        ),
        // The other family counts, or neither does.
        (
            "Forwarded: for=192.0.2.1\r\nX-Forwarded-Prefix: /a\r\n",
            Ok("/a"),
        ),
        ("X-Forwarded-Prefix: //evil.test\r\n", invalid),
        ("X-Forwarded-Prefix: /%2Fevil.test\r\n", invalid),
        ("X-Forwarded-Prefix: /\\evil.test\r\n", invalid),
        ("X-Forwarded-Prefix: https://evil.test\r\n", invalid),
        ("X-Forwarded-Prefix: shop\r\n", invalid),
        ("X-Forwarded-Prefix: /a?b\r\n", invalid),
        ("X-Forwarded-Prefix: /a#b\r\n", invalid),
        ("X-Forwarded-Prefix: /a%0Ab\r\n", invalid),
    ];
    let takes = ForwardingRules {
        takes_prefix: true,
        ..rules()
    };
    for (fields, expected) in cases {
        let mut head = read_head(fields);
        let answer = takes
            .read(&mut head, is_trusted)
            .map(|_| head.script_name());
        assert_eq!(answer, expected.map(str::as_bytes), "{fields:?}");
    }
    for hops in [HopHeaders::Forwarded, HopHeaders::Neither] {
        let mut head = read_head("X-Forwarded-Prefix: //evil.test\r\n");
        let other = ForwardingRules {
            hops,
            ..takes.clone()
        };
        other.read(&mut head, is_trusted).unwrap();
        assert_eq!(head.script_name(), b"");
    }
    let mut head = read_head("X-Forwarded-Prefix: //evil.test\r\n");
    rules().read(&mut head, is_trusted).unwrap();
    assert_eq!(head.script_name(), b"");
}

#[test]
fn names_of_one_length_are_distinguished() {
    let takes = ForwardingRules {
        takes_host: true,
        takes_prefix: true,
        ..rules()
    };
    for fields in [
        "X-Forwarded-Foo: 192.0.2.1\r\n",
        "X-Forwarded-Ssl: 192.0.2.1\r\n",
        "X-Forwarded-Port: other.test\r\n",
        "X-Forwarded-User: other.test\r\n",
        "X-Forwarded-Server: /shop\r\n",
        "X-Forwarded-Method: /shop\r\n",
        "X-Forwarded-Photo: https\r\n",
        "X-Forwarded-Point: https\r\n",
        "Forwarder: for=192.0.2.1;proto=https;host=other.test\r\n",
    ] {
        let mut head = read_head(fields);
        let identity = takes.read(&mut head, is_trusted).unwrap();
        assert_eq!(identity.client, None, "{fields}");
        assert_ne!(identity.is_https, Some(true), "{fields}");
        assert_eq!(
            (head.host(), head.script_name()),
            (Some(&b"inner"[..]), &b""[..]),
            "{fields}"
        );
    }
}

#[test]
fn ten_thousand_hops_are_walked_once() {
    let hops = "10.0.0.1,".repeat(10_000);
    assert_eq!(
        client(&format!("X-Forwarded-For: 192.0.2.1, {hops}\r\n")).as_deref(),
        Some("192.0.2.1")
    );
    let hops = "for=10.0.0.1,".repeat(10_000);
    assert_eq!(
        client(&format!("Forwarded: for=\"[2001:db8::1]\", {hops}\r\n")).as_deref(),
        Some("2001:db8::1")
    );
    for hostile in [
        "\\".repeat(60_000),
        "\"".repeat(60_001),
        ";".repeat(60_000),
        "a=b;".repeat(16_000),
    ] {
        assert_eq!(
            client(&format!("Forwarded: {hostile}, for=10.0.0.1\r\n")).as_deref(),
            Some("10.0.0.1")
        );
    }
}
