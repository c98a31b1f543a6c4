//! Access lines, and clients' attempts to forge them.

use super::*;

/// A request as a browser sends it; each test changes the part that it tests.
struct Sample {
    client: &'static str,
    user: Option<&'static [u8]>,
    request_id: Option<&'static [u8]>,
    trace_id: Option<&'static [u8]>,
    waited_before: Option<Duration>,
    method: &'static [u8],
    target: &'static [u8],
    path: &'static [u8],
    query: &'static [u8],
    protocol: &'static str,
    body_bytes: u64,
    request_headers: Vec<(&'static str, &'static [u8])>,
    environ: Vec<(String, String)>,
    outcome: Outcome,
    reason: Option<&'static str>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            client: "203.0.113.9",
            user: None,
            request_id: None,
            trace_id: None,
            waited_before: None,
            method: b"GET",
            target: b"/caf%C3%A9?q=1",
            path: b"/caf%C3%A9",
            query: b"q=1",
            protocol: "HTTP/1.1",
            body_bytes: 2_326,
            request_headers: vec![
                ("Host", b"example.com"),
                ("Referer", b"http://example.com/start"),
                ("User-Agent", b"Mozilla/5.0 (X11)"),
                ("Authorization", b"Basic ZnJhbms6c2VjcmV0"),
                ("X-Empty", b""),
            ],
            environ: vec![("REMOTE_USER".to_owned(), "Frank\n".to_owned())],
            outcome: Outcome::Complete,
            reason: None,
        }
    }
}

impl Sample {
    fn header(mut self, name: &'static str, value: &'static [u8]) -> Self {
        self.request_headers.retain(|(known, _)| *known != name);
        self.request_headers.push((name, value));
        self
    }

    fn line(&self, format: &str) -> String {
        let find = |headers: &[(&'static str, &'static [u8])], name: &str| {
            let known = headers
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            known.map(|(_, value)| *value)
        };
        let record = AccessRecord {
            client: self.client,
            user: self.user,
            request_id: self.request_id,
            trace_id: self.trace_id,
            span_id: self.trace_id,
            waited_before: self.waited_before,
            method: self.method,
            target: self.target,
            path: self.path,
            query: self.query,
            protocol: self.protocol,
            status: 200,
            body_bytes: self.body_bytes,
            started: WallTime {
                unix_seconds: 971_211_335,
                microseconds: 900_000,
                utc_offset_seconds: -25_200,
            },
            duration: Duration::from_micros(1_234_567),
            pid: 4711,
            request_header: &|name| find(&self.request_headers, name),
            response_header: &|name| find(&[("Content-Type", b"text/html")], name),
            environ: &self.environ,
            outcome: self.outcome,
            reason: self.reason,
        };
        let mut out = b"kept".to_vec();
        AccessFormat::parse(format)
            .unwrap()
            .write(&mut out, &record);
        let text = String::from_utf8(out).unwrap();
        let line = text
            .strip_prefix("kept")
            .unwrap()
            .strip_suffix('\n')
            .unwrap();
        assert!(
            line.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{line}"
        );
        line.to_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.line("json")).unwrap()
    }
}

/// Header values that clients have used to write into logs.
const FORGERIES: &[&[u8]] = &[
    b"x\r\n203.0.113.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /admin HTTP/1.1\" 200 1 \"-\" \"-\"",
    b"x\" 200 1 \"-\" \"real",
    b"x\\\" 200",
    b"\x1b[2J\x1b]0;owned\x07",
    b"\",\"status\":500,\"x\":\"",
    b"\x80\x9b1m\xff\xc3\xa9",
    b"\xe2\x80\xae\xe2\x80\xa8",
    b"\0\x7f\t",
];

#[test]
fn the_named_formats_are_those_that_log_readers_know() {
    let common = r#"203.0.113.9 - frank [10/Oct/2000:13:55:37 -0700] "GET /caf%C3%A9?q=1 HTTP/1.1" 200 2326"#;
    let combined = format!(r#"{common} "http://example.com/start" "Mozilla/5.0 (X11)""#);
    assert_eq!(Sample::default().line("common"), common);
    assert_eq!(Sample::default().line("combined"), combined);
}

#[test]
fn every_atom_has_its_value() {
    let table: &[(&str, &str)] = &[
        ("%(h)s", "203.0.113.9"),
        ("%(l)s", "-"),
        ("%(u)s", "frank"),
        ("%(t)s", "[10/Oct/2000:13:55:37 -0700]"),
        ("%(r)s", "GET /caf%C3%A9?q=1 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", r"/caf\xc3\xa9"),
        ("%(q)s", "q=1"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(B)s %(B)d", "2326 2326"),
        ("%(b)s", "2326"),
        ("%(f)s", "http://example.com/start"),
        ("%(a)s", "Mozilla/5.0 (X11)"),
        ("%(T)s", "1"),
        ("%(M)s", "1234"),
        ("%(D)s %(D)d", "1234567 1234567"),
        ("%(L)s", "1.234567"),
        ("%(p)s", "<4711>"),
        ("%(I)s %(X)s %(S)s %(Q)s", "- - - -"),
        ("%({hOsT}i)s", "example.com"),
        ("%({x-none}i)s %({x-empty}i)s", "- -"),
        ("%({content-type}o)s %({etag}o)s", "text/html -"),
        ("%({remote_user}e)s %({none}e)s", r"Frank\x0a -"),
        ("100%% %(s)s", "100% 200"),
    ];
    for (format, expected) in table {
        assert_eq!(Sample::default().line(format), *expected, "for {format}");
    }
}

#[test]
fn a_unix_socket_or_a_broken_request_still_fills_every_column() {
    for client in ["", "-"] {
        let sample = Sample {
            client,
            user: Some(b""),
            body_bytes: 0,
            ..Sample::default()
        };
        let expected = r#"- - - [10/Oct/2000:13:55:37 -0700] "GET /caf%C3%A9?q=1 HTTP/1.1" 200 -"#;
        assert_eq!(sample.line("common"), expected);
        assert_eq!(sample.json()["client"], serde_json::Value::Null);
    }
    let sample = Sample {
        method: b"",
        target: b"",
        path: b"",
        query: b"",
        protocol: "",
        request_headers: Vec::new(),
        outcome: Outcome::Refused,
        ..Sample::default()
    };
    let expected = r#"203.0.113.9 - - [10/Oct/2000:13:55:37 -0700] "-" 200 2326 "-" "-""#;
    assert_eq!(sample.line("combined"), expected);
    assert_eq!(sample.line("%(m)s %(U)s [%(q)s] %(H)s"), "- - [] -");
    for key in [
        "method", "target", "path", "query", "protocol", "user", "referer",
    ] {
        assert_eq!(sample.json()[key], serde_json::Value::Null, "{key}");
    }
}

#[test]
fn no_header_can_forge_a_line_or_leave_its_quotes() {
    for name in ["Referer", "User-Agent", "X-Forwarded-For"] {
        for forgery in FORGERIES {
            let sample = Sample::default().header(name, forgery);
            let line = sample.line(r#""%(r)s" "%(f)s" "%(a)s" "%({x-forwarded-for}i)s""#);
            assert_eq!(line.matches('"').count(), 8, "{name}: {line}");
        }
    }
}

#[test]
fn a_decoded_path_cannot_forge_a_line_or_a_column() {
    let sample = Sample {
        path: b"/a%0aFAKE%0d%20HTTP/1.1%22%20200%20%1b[31m%ff%5c",
        query: b"x=\x1b\"\xff",
        ..Sample::default()
    };
    let expected = r"/a\x0aFAKE\x0d\x20HTTP/1.1\x22\x20200\x20\x1b[31m\xff\x5c?x=\x1b\x22\xff 200";
    assert_eq!(sample.line("%(U)s?%(q)s %(s)s"), expected);
    let json = sample.json();
    assert_eq!(json["path"], "/a\nFAKE\r HTTP/1.1\" 200 \u{1b}[31m\u{ff}\\");
    assert_eq!(json["query"], "x=\u{1b}\"\u{ff}");
}

#[test]
fn a_user_cannot_forge_a_line_or_a_column() {
    // "a b\r\n[x] \"" as user, then as a user set by the application.
    let header = Sample::default().header("Authorization", b"Basic YSBiDQpbeF0gIjpwdw==");
    let given = Sample {
        user: Some(b"a b\r\n[x] \""),
        ..Sample::default()
    };
    for sample in [header, given] {
        assert_eq!(sample.line("%(u)s %(s)s"), r"a\x20b\x0d\x0a[x]\x20\x22 200");
        assert_eq!(sample.json()["user"], "a b\r\n[x] \"");
    }
}

#[test]
fn a_password_or_a_token_is_never_shown() {
    for header in [
        b"Basic ZnJhbms6c2VjcmV0" as &[u8],
        b"Basic c2VjcmV0",
        b"Bearer secret",
    ] {
        let sample = Sample::default().header("Authorization", header);
        for format in ["combined", "common", "json"] {
            let line = sample.line(format);
            assert!(
                !line.contains("secret") && !line.contains("c2VjcmV0"),
                "{line}"
            );
        }
    }
}

#[test]
fn json_is_typed_and_has_always_the_same_keys() {
    let expected = serde_json::json!({
        "time": "2000-10-10T13:55:35.900000-07:00",
        "client": "203.0.113.9",
        "user": "frank",
        "method": "GET",
        "target": "/caf%C3%A9?q=1",
        "path": "/café",
        "query": "q=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "body_bytes": 2_326,
        "duration": 1.234_567,
        "referer": "http://example.com/start",
        "user_agent": "Mozilla/5.0 (X11)",
        "outcome": "complete",
        "reason": null,
        "pid": 4711,
    });
    assert_eq!(Sample::default().json(), expected);
    let keys = expected.as_object().unwrap().len();
    let outcomes = [
        (Outcome::Complete, "complete"),
        (Outcome::ClientGone, "client_gone"),
        (Outcome::Refused, "refused"),
        (Outcome::Aborted, "aborted"),
        (Outcome::TimedOut, "timed_out"),
        (Outcome::Overloaded, "overloaded"),
        (Outcome::Expired, "expired"),
    ];
    for (outcome, name) in outcomes {
        let json = Sample {
            outcome,
            client: "",
            ..Sample::default()
        }
        .json();
        assert_eq!(json["outcome"], name);
        assert_eq!(json.as_object().unwrap().len(), keys);
    }
}

#[test]
fn the_identity_of_a_request_is_in_every_format_if_it_has_one() {
    let none = Sample::default().json();
    for key in ["request_id", "trace_id", "span_id", "queued_before"] {
        assert_eq!(none.get(key), None, "{key}");
    }
    let sample = || Sample {
        request_id: Some(b"4bf92f35"),
        trace_id: Some(b""),
        waited_before: Some(Duration::from_micros(1_000_250)),
        ..Sample::default()
    };
    let line = sample().line("%(I)s %(X)s %(S)s %(Q)s");
    assert_eq!(line, "4bf92f35 - - 1.000250");
    let json = sample().json();
    assert_eq!(json["request_id"], "4bf92f35");
    assert_eq!(json.get("trace_id"), Some(&serde_json::Value::Null));
    assert_eq!(json.get("span_id"), Some(&serde_json::Value::Null));
    assert_eq!(json["queued_before"], 1.000_25);
}

#[test]
fn a_refusal_has_its_reason_in_every_format() {
    let refused = Sample {
        outcome: Outcome::Refused,
        reason: Some("field_too_large"),
        ..Sample::default()
    };
    assert_eq!(refused.json()["reason"], "field_too_large");
    assert_eq!(refused.line("%(s)s %(R)s"), "200 field_too_large");
    assert_eq!(Sample::default().line("%(s)s %(R)s"), "200 -");
}

#[test]
fn json_of_forged_values_reads_back_as_they_were_sent() {
    for forgery in FORGERIES {
        let expected = std::str::from_utf8(forgery).map_or_else(
            |_| None, // not UTF-8: the table of escapes says what comes out
            |text| Some(text.to_owned()),
        );
        let json = Sample::default().header("User-Agent", forgery).json();
        assert_eq!(json["status"], 200);
        assert_eq!(json.as_object().unwrap().len(), 16);
        if let Some(expected) = expected {
            assert_eq!(json["user_agent"], expected);
        }
    }
}

#[test]
fn a_json_format_written_by_hand_stays_json() {
    let format =
        r#"{"agent": "%(a)s", "path": "%(U)s", "pid": %(p)s, "ms": %(M)s, "user": "%(u)s"}"#;
    for forgery in FORGERIES {
        let sample = Sample {
            path: b"/a%20%22%0a",
            ..Sample::default()
        };
        let line = sample.header("User-Agent", forgery).line(format);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["path"], "/a \"\n");
        assert_eq!((&json["pid"], &json["ms"]), (&4711.into(), &1234.into()));
        assert_eq!(json.as_object().unwrap().len(), 5);
    }
}

#[test]
fn the_wanted_environ_names_are_listed_once_each() {
    let format = AccessFormat::parse("%({A}e)s %({b.c}e)s %({A}e)s %({h}i)s").unwrap();
    assert_eq!(format.environ_names(), ["A", "b.c"]);
    assert!(
        AccessFormat::parse("combined")
            .unwrap()
            .environ_names()
            .is_empty()
    );
    assert!(
        AccessFormat::parse("json")
            .unwrap()
            .environ_names()
            .is_empty()
    );
}

#[test]
fn a_misspelled_name_of_a_format_is_reported() {
    for text in ["combind", "JSON", ""] {
        assert_eq!(
            AccessFormat::parse(text),
            Err(BadFormat::NoAtom {
                text: text.to_owned()
            })
        );
    }
}
