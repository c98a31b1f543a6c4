//! Lines of `lockgate dev`, with and without colours.

use super::*;
use crate::WallTime;
use crate::access::AccessFormat;

/// A request that an application has answered; each case changes what it is about.
#[derive(Clone, Copy)]
struct Sample {
    method: &'static str,
    target: &'static str,
    status: u16,
    body_bytes: u64,
    micros: u64,
    content_type: &'static str,
    /// None: it did not reach the application.
    statements: Option<&'static str>,
    outcome: Outcome,
    reason: Option<&'static str>,
}

const SAMPLE: Sample = Sample {
    method: "GET",
    target: "/articles/?page=2",
    status: 200,
    body_bytes: 4_242,
    micros: 12_300,
    content_type: "text/html; charset=utf-8",
    statements: Some("0 0 0"),
    outcome: Outcome::Complete,
    reason: None,
};

fn line(format: &str, sample: Sample) -> String {
    let (path, query) = (sample.target.split_once('?')).unwrap_or((sample.target, ""));
    let environ: Vec<(String, String)> = sample
        .statements
        .map(|counted| (STATEMENTS.to_owned(), counted.to_owned()))
        .into_iter()
        .collect();
    let record = AccessRecord {
        client: "127.0.0.1",
        user: None,
        request_id: None,
        trace_id: None,
        span_id: None,
        waited_before: None,
        method: sample.method.as_bytes(),
        target: sample.target.as_bytes(),
        path: path.as_bytes(),
        query: query.as_bytes(),
        protocol: "HTTP/1.1",
        status: sample.status,
        body_bytes: sample.body_bytes,
        started: WallTime {
            unix_seconds: 1_795_357_943,
            microseconds: 0,
            utc_offset_seconds: 3_600,
        },
        duration: Duration::from_micros(sample.micros),
        pid: 4711,
        request_header: &|_| None,
        response_header: &|name| (name == "content-type").then_some(sample.content_type.as_bytes()),
        environ: &environ,
        outcome: sample.outcome,
        reason: sample.reason,
    };
    let format = AccessFormat::parse(format).unwrap();
    assert_eq!(format.environ_names(), [STATEMENTS]);
    let mut out = Vec::new();
    format.write(&mut out, &record);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_has_what_a_developer_looks_for() {
    let shown = SAMPLE;
    let table: &[(Sample, &str)] = &[
        (
            shown,
            "GET     /articles/?page=2                200    12 ms   4.2 kB",
        ),
        (
            Sample {
                statements: Some("3 1240 0"),
                ..shown
            },
            "GET     /articles/?page=2                200    12 ms   4.2 kB  3 SQL 1.2 ms",
        ),
        (
            Sample {
                statements: Some("21 40300 19"),
                micros: 730_000,
                ..shown
            },
            "GET     /articles/?page=2                200   730 ms   4.2 kB  21 SQL 40 ms, 19 repeated  slow",
        ),
        (
            Sample {
                method: "POST",
                target: "/",
                status: 500,
                body_bytes: 145,
                micros: 1_204_000,
                ..shown
            },
            "POST    /                                500   1.20 s    145 B  slow",
        ),
        (
            Sample {
                target: "/a-path-that-is-longer-than-its-column",
                micros: 300,
                body_bytes: 0,
                ..shown
            },
            "GET     /a-path-that-is-longer-than-its-column 200   0.3 ms      0 B",
        ),
        (
            Sample {
                status: 400,
                statements: None,
                outcome: Outcome::Refused,
                reason: Some("bad_host"),
                ..shown
            },
            "GET     /articles/?page=2                400    12 ms   4.2 kB  refused (bad_host)",
        ),
        (
            Sample {
                method: "",
                target: "",
                status: 400,
                outcome: Outcome::Refused,
                ..shown
            },
            "-       -                                400    12 ms   4.2 kB  refused",
        ),
        (
            Sample {
                outcome: Outcome::ClientGone,
                statements: Some("not numbers"),
                ..shown
            },
            "GET     /articles/?page=2                200    12 ms   4.2 kB  client gone",
        ),
    ];
    for (sample, expected) in table {
        let line = line("development slow=0.5", *sample);
        let (clock, rest) = line.split_at(9);
        assert!(clock.starts_with("15:32:2"), "{line}");
        assert_eq!(rest, format!("{expected}\n"));
    }
}

#[test]
fn failures_stand_out_and_parts_of_a_page_do_not() {
    let dim = "\x1b[2mGET ";
    let failed = "\x1b[1;31mGET ";
    let plain = "\x1b[0m GET ";
    let table: &[(Sample, &[&str])] = &[
        (SAMPLE, &[plain, "\x1b[32m200\x1b[0m"]),
        (
            Sample {
                status: 404,
                ..SAMPLE
            },
            &[plain, "\x1b[33m404\x1b[0m"],
        ),
        (
            Sample {
                status: 302,
                ..SAMPLE
            },
            &[plain, "\x1b[36m302\x1b[0m"],
        ),
        (
            Sample {
                status: 503,
                ..SAMPLE
            },
            &[failed, "\x1b[1;31m503\x1b[0m"],
        ),
        (
            Sample {
                outcome: Outcome::Aborted,
                ..SAMPLE
            },
            &[failed, "aborted"],
        ),
        (
            Sample {
                content_type: "text/css; charset=utf-8",
                ..SAMPLE
            },
            &[dim],
        ),
        (
            Sample {
                content_type: "image/png",
                ..SAMPLE
            },
            &[dim],
        ),
        (
            Sample {
                content_type: "image/png",
                status: 404,
                ..SAMPLE
            },
            &[plain],
        ),
        (
            Sample {
                status: 304,
                ..SAMPLE
            },
            &[dim],
        ),
        (
            Sample {
                statements: None,
                ..SAMPLE
            },
            &[dim],
        ),
        (
            Sample {
                target: "/favicon.ico",
                status: 404,
                ..SAMPLE
            },
            &[dim],
        ),
        (
            Sample {
                target: "/favicon.ico",
                status: 500,
                ..SAMPLE
            },
            &[failed],
        ),
        (
            Sample {
                statements: None,
                status: 403,
                outcome: Outcome::Refused,
                ..SAMPLE
            },
            &[plain, "\x1b[33mrefused"],
        ),
        (
            Sample {
                micros: 600_000,
                ..SAMPLE
            },
            &["\x1b[1;33m  600 ms\x1b[0m", "\x1b[1;33mslow\x1b[0m"],
        ),
    ];
    for (sample, parts) in table {
        let text = line("development colour slow=0.5", *sample);
        for part in *parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
        assert!(!line("development slow=0.5", *sample).contains('\x1b'));
    }
}

#[test]
fn only_requests_that_end_can_be_slow() {
    let long = Sample {
        micros: 90_000_000,
        ..SAMPLE
    };
    let table: &[(&str, Sample, bool)] = &[
        ("development slow=0.5", long, true),
        ("development slow=100", long, false),
        ("development", long, false),
        ("development slow=0", long, false),
        (
            "development slow=0.5",
            Sample {
                status: 101,
                ..long
            },
            false,
        ),
        (
            "development slow=0.5",
            Sample {
                content_type: "text/event-stream",
                ..long
            },
            false,
        ),
    ];
    for (format, sample, is_slow) in table {
        assert_eq!(line(format, *sample).ends_with("  slow\n"), *is_slow);
    }
}

#[test]
fn requests_of_the_tools_have_no_line_unless_they_fail() {
    let table: &[(&str, u16, bool)] = &[
        ("/.lockgate/refresh", 200, false),
        ("/prefix/.lockgate/refresh.js?1", 304, false),
        ("/.lockgate/refresh", 500, true),
        ("/.lockgate", 200, true),
        (
            "/articles?__debugger__=yes&cmd=resource&f=style.css",
            200,
            false,
        ),
        ("/articles?q=__debugger__=yes", 200, true),
    ];
    for (target, status, is_written) in table {
        let sample = Sample {
            target,
            status: *status,
            ..SAMPLE
        };
        let text = line("development colour", sample);
        assert_eq!(!text.is_empty(), *is_written, "{target}");
    }
}

#[test]
fn a_value_of_the_client_is_readable_and_moves_no_cursor() {
    let table: &[(&[u8], &str)] = &[
        (b"", "-"),
        (b"/caf%C3%A9/%E6%97%A5%e6%9c%ac", "/café/日本"),
        ("/café".as_bytes(), "/café"),
        (b"/a%20b%0A%1b[31m%2F%25", "/a%20b%0A%1b[31m%2F%25"),
        (b"/\x1b[2J\x9b\x00 \x7f", "/%1B[2J%9B%00%20%7F"),
        // A bidirectional override and a zero-width joiner stay encoded.
        (b"/%E2%80%AEtxt%E2%80%8D", "/%E2%80%AEtxt%E2%80%8D"),
        (b"/%C3", "/%C3"),
        (b"/%C3(%zz%", "/%C3(%zz%"),
        (b"/%F0%9F%9A%B2", "/%F0%9F%9A%B2"),
    ];
    for (value, expected) in table {
        assert_eq!(readable(value), *expected);
    }
}

#[test]
fn durations_and_sizes_have_two_or_three_digits() {
    let durations: &[(u64, &str)] = &[
        (0, "0.0 ms"),
        (949, "0.9 ms"),
        (9_949, "9.9 ms"),
        (9_950, "10 ms"),
        (999_499, "999 ms"),
        (999_500, "1.00 s"),
        (61_230_000, "61.23 s"),
    ];
    for (micros, expected) in durations {
        assert_eq!(human_duration(Duration::from_micros(*micros)), *expected);
    }
    let sizes: &[(u64, &str)] = &[
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (4_300_000_000, "4.3 GB"),
        (43_000_000_000_000, "43.0 TB"),
    ];
    for (bytes, expected) in sizes {
        assert_eq!(human_size(*bytes), *expected);
    }
}

#[test]
fn an_unknown_option_is_named() {
    for option in ["color", "slow", "slow=", "slow=-1", "slow=NaN", "%(h)s"] {
        let text = format!("development colour {option}");
        let expected = BadFormat::UnknownOption {
            option: option.to_owned(),
        };
        assert_eq!(AccessFormat::parse(&text), Err(expected));
    }
    assert!(matches!(
        AccessFormat::parse("developments"),
        Err(BadFormat::NoAtom { .. })
    ));
}
