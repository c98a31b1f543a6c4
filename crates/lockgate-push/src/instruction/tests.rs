//! Tables of instructions and of the errors that wrong ones get.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: InstructionLimits = InstructionLimits { channels: 3 };

type Fields = &'static [(&'static str, &'static str)];
type Parsed = Result<Option<Instruction>, InstructionError>;

fn parsed(fields: &[(&str, &str)]) -> Parsed {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    Instruction::from_fields(fields, &LIMITS)
}

/// The instruction of a stream of the channel `news` with one more field.
fn with(name: &str, value: &str) -> Parsed {
    parsed(&[
        ("Grip-Hold", "stream"),
        ("Grip-Channel", "news"),
        (name, value),
    ])
}

fn stream() -> Instruction {
    Instruction {
        mode: HoldMode::Stream,
        channels: vec![channel("news", None, false)],
        timeout: None,
        keep_alive: None,
        next: None,
        meta: Vec::new(),
        status: None,
    }
}

fn channel(name: &str, prev_id: Option<&str>, skips_self: bool) -> HeldChannel {
    HeldChannel {
        name: name.to_owned(),
        prev_id: prev_id.map(str::to_owned),
        filters: match skips_self {
            true => Filters::SKIP_SELF,
            false => Filters::default(),
        },
    }
}

#[test]
fn fields_of_grip_have_its_prefix() {
    for (name, expected) in [
        ("Grip-Hold", true),
        ("grip-channel", true),
        ("GRIP-X", true),
        ("Grip", false),
        ("Gripe-A", false),
        ("X-Grip-Hold", false),
        ("", false),
    ] {
        assert_eq!(is_grip_field(name.as_bytes()), expected, "{name}");
    }
}

#[test]
fn a_hold_has_a_mode_and_channels() {
    let table: [(Fields, Option<Instruction>); 5] = [
        (
            &[("Grip-Hold", "stream"), ("Grip-Channel", "news")],
            Some(stream()),
        ),
        (
            &[("grip-channel", "news"), ("grip-hold", "Response")],
            Some(Instruction {
                mode: HoldMode::Response,
                ..stream()
            }),
        ),
        (&[("Content-Type", "text/plain")], None),
        (&[("Grip-Channel", "news"), ("Grip-Timeout", "x")], None),
        (&[("Grip-Link", "</a>; rel=gone")], None),
    ];
    for (fields, expected) in table {
        assert_eq!(parsed(fields), Ok(expected), "{fields:?}");
    }
}

#[test]
fn channels_are_lists_with_parameters() {
    let table: &[(&[&str], &[HeldChannel])] = &[
        (&["a"], &[channel("a", None, false)]),
        (
            &["a; prev-id=7; filter=skip-self, b"],
            &[channel("a", Some("7"), true), channel("b", None, false)],
        ),
        (
            &["a;prev-id=\"1, 2\"", "b"],
            &[channel("a", Some("1, 2"), false), channel("b", None, false)],
        ),
        (&["a; prev-id=", " , "], &[channel("a", None, false)]),
        (&["a; x=1; y"], &[channel("a", None, false)]),
        (
            &["a, b, a; prev-id=2"],
            &[channel("a", Some("2"), false), channel("b", None, false)],
        ),
        (&["räume/7 a"], &[channel("räume/7 a", None, false)]),
    ];
    for (values, expected) in table {
        let mut fields = vec![("Grip-Hold", "stream")];
        fields.extend(values.iter().map(|value| ("Grip-Channel", *value)));
        let instruction = parsed(&fields).unwrap().unwrap();
        assert_eq!(instruction.channels, *expected, "{values:?}");
    }
}

#[test]
fn keep_alives_have_a_format_and_a_time() {
    for (value, content, seconds, mode) in [
        ("ping", &b"ping"[..], 55, KeepAliveMode::Idle),
        ("", b"", 55, KeepAliveMode::Idle),
        (
            "\\n; format=cstring; timeout=30",
            b"\n",
            30,
            KeepAliveMode::Idle,
        ),
        (
            "event: keep-alive\\ndata:\\n\\n; format=cstring; timeout=20",
            b"event: keep-alive\ndata:\n\n",
            20,
            KeepAliveMode::Idle,
        ),
        (
            "\\\\\\r\\t\\0\\\"\\'\\x3b\\xFF; format=cstring",
            b"\\\r\t\0\"';\xff",
            55,
            KeepAliveMode::Idle,
        ),
        ("\\n; format=raw", b"\\n", 55, KeepAliveMode::Idle),
        (
            "Cgo=;format=base64;mode=interval;Timeout=5",
            b"\n\n",
            5,
            KeepAliveMode::Interval,
        ),
    ] {
        let instruction = with("Grip-Keep-Alive", value).unwrap().unwrap();
        let expected = KeepAlive {
            content: content.to_vec(),
            timeout: Duration::from_secs(seconds),
            mode,
        };
        assert_eq!(instruction.keep_alive, Some(expected), "{value:?}");
    }
}

#[test]
fn the_next_link_is_the_one_with_that_relation() {
    let link = |uri: &str, seconds: Option<u64>| NextLink {
        uri: uri.to_owned(),
        timeout: seconds.map(Duration::from_secs),
    };
    for (value, expected) in [
        ("</a>; rel=next", link("/a", None)),
        (
            "</a?b=c,d;e>; rel=\"next\"; timeout=120",
            link("/a?b=c,d;e", Some(120)),
        ),
        ("</a>; rel=gone, </b>; rel=next", link("/b", None)),
        ("<a>; timeout=1; rel=\"x next\"", link("a", Some(1))),
    ] {
        let instruction = with("Grip-Link", value).unwrap().unwrap();
        assert_eq!(instruction.next, Some(expected.clone()), "{value:?}");
        let without_hold = parsed(&[("Grip-Link", value)]).unwrap().unwrap();
        let expected = Instruction {
            channels: Vec::new(),
            next: Some(expected),
            ..stream()
        };
        assert_eq!(without_hold, expected, "{value:?}");
    }
}

#[test]
fn other_fields_have_one_value_each() {
    for (name, value, expected) in [
        (
            "Grip-Timeout",
            "30",
            Instruction {
                timeout: Some(Duration::from_secs(30)),
                ..stream()
            },
        ),
        (
            "Grip-Status",
            "304",
            Instruction {
                status: Some(304),
                ..stream()
            },
        ),
        (
            "Grip-Set-Meta",
            "user=\"a \\\"b\\\", c\", x=1",
            Instruction {
                meta: vec![
                    ("user".to_owned(), "a \"b\", c".to_owned()),
                    ("x".to_owned(), "1".to_owned()),
                ],
                ..stream()
            },
        ),
        ("Grip-Unknown", "x", stream()),
        ("Content-Type", "x", stream()),
    ] {
        assert_eq!(with(name, value), Ok(Some(expected)), "{name}: {value}");
    }
}

#[test]
fn an_error_names_the_field_and_its_value() {
    let long = "x".repeat(300);
    for (name, value, expected) in [
        (
            "Grip-Timeout",
            "soon",
            "Grip-Timeout: \"soon\" must be a number of seconds from 1 to 31536000",
        ),
        (
            "Grip-Timeout",
            "0",
            "Grip-Timeout: \"0\" must be a number of seconds from 1 to 31536000",
        ),
        (
            "Grip-Keep-Alive",
            "a; b",
            "Grip-Keep-Alive: \"b\" must be format, timeout or mode; a text with a semicolon needs format=base64",
        ),
        (
            "Grip-Keep-Alive",
            "a; format=hex",
            "Grip-Keep-Alive: \"format=hex\" must be raw, cstring or base64",
        ),
        (
            "Grip-Keep-Alive",
            "a; mode=x",
            "Grip-Keep-Alive: \"mode=x\" must be idle or interval",
        ),
        (
            "Grip-Keep-Alive",
            "a; timeout=31536001",
            "Grip-Keep-Alive: \"31536001\" must be a number of seconds from 1 to 31536000",
        ),
        (
            "Grip-Keep-Alive",
            "\\q; format=cstring",
            "Grip-Keep-Alive: \"\\\\q\" must have the escapes \\\\, \\n, \\r, \\t, \\0, \\\", \\' or \\x and two hexadecimal digits",
        ),
        (
            "Grip-Keep-Alive",
            "!; format=base64",
            "Grip-Keep-Alive: \"!\" must be base64",
        ),
        (
            "Grip-Channel",
            "b; filter=var-subst",
            "Grip-Channel: \"filter=var-subst\" must be skip-self, skip-users, require-sub or build-id",
        ),
        (
            "Grip-Channel",
            &long,
            &format!(
                "Grip-Channel: \"{}\" must have at most 256 bytes",
                &long[..100]
            ),
        ),
        ("Grip-Channel", "a, b, c", "at most 3 channels are allowed"),
        (
            "Grip-Link",
            "/a; rel=next",
            "Grip-Link: \"/a; rel=next\" must be an address in angle brackets",
        ),
        (
            "Grip-Link",
            "</a b>; rel=next",
            "Grip-Link: \"</a b>; rel=next\" must be an address in angle brackets",
        ),
        (
            "Grip-Status",
            "100",
            "Grip-Status: \"100\" must be a status code between 200 and 599",
        ),
        (
            "Grip-Set-Meta",
            "a",
            "Grip-Set-Meta: \"a\" must be a name and a value: name=\"value\"",
        ),
        ("Grip-Hold", "stream", "Grip-Hold must not be repeated"),
    ] {
        let error = with(name, value).unwrap_err();
        assert_eq!(error.to_string(), expected, "{name}: {value}");
    }
    let error = parsed(&[("Grip-Hold", "yes")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Grip-Hold: \"yes\" must be stream or response"
    );
    let error = parsed(&[("Grip-Hold", "stream"), ("Grip-Channel", "")]).unwrap_err();
    assert_eq!(error.to_string(), "Grip-Hold needs a Grip-Channel");
    let bytes = [(&b"Grip-Channel"[..], &b"\xff"[..])];
    let error = Instruction::from_fields(bytes, &LIMITS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Grip-Channel: \"\u{fffd}\" must be UTF-8"
    );
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Grip-Hold",
        "Grip-Channel",
        "Grip-Timeout",
        "Grip-Keep-Alive",
        "Grip-Link",
        "Grip-Status",
        "Grip-Set-Meta",
        "Grip-Other",
    ])
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        Just(b"stream".to_vec()),
        "[a-c0-9;,=\"<>\\\\ ]{0,30}".prop_map(String::into_bytes),
        "</[a-c]*>; rel=next(; timeout=[0-9]{1,12})?".prop_map(String::into_bytes),
        "[\\\\a-z0-9]*; format=(raw|cstring|base64)".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_fields_are_read_without_panic(fields in vec((name(), value()), 0..5)) {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        if let Ok(Some(instruction)) = Instruction::from_fields(fields, &LIMITS) {
            prop_assert!(instruction.channels.len() <= LIMITS.channels);
        }
    }
}
