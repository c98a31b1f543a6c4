//! Compares the rules with those of http-cache-semantics, which most HTTP clients of Node.js use, over thousands of
//! pairs of requests and responses.
//!
//! Where the two differ on purpose, the cases leave the difference out; `cases` says where and why.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used
)]

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lockgate_cache::{
    Entry, Freshened, Meta, Reuse, Variants, Vary, freshen, key, reuse, storable,
};
use lockgate_http::{Limits, RequestHead, RequestParser, ResponseHead, http_date};
use proptest::strategy::{Just, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use proptest::{collection, option, sample::select};

const PACKAGE: &str = "http-cache-semantics@4.3.0";
const CASES: usize = 20_000;
const START: u64 = 1_700_000_000;

type Fields = Vec<(&'static str, String)>;

/// A response to a first request, and a second request some seconds later.
#[derive(Debug, Clone)]
struct Case {
    first: Fields,
    status: u16,
    response: Fields,
    second: Fields,
    after: u64,
}

#[test]
fn reuse_is_that_of_http_cache_semantics() {
    let Some(oracle) = Oracle::fetch() else {
        return;
    };
    let cases = cases();
    let lines: Vec<String> = cases.iter().map(Case::json).collect();
    let answers = oracle.judge(&lines);
    assert_eq!(answers.len(), cases.len());
    let mut counts = [0; 3];
    let mut differences = Vec::new();
    for (case, expected) in cases.iter().zip(answers) {
        let found = case.reuse();
        let is_kind = |kind: &&str| found.starts_with(*kind);
        counts[["use", "stale", "call"].iter().position(is_kind).unwrap()] += 1;
        if found != expected {
            differences.push(format!("{found}, not {expected}: {}", case.json()));
        }
    }
    let first = differences.iter().take(10).map(String::as_str);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        first.collect::<Vec<_>>().join("\n")
    );
    // The cases have to reach every answer.
    assert!(counts.iter().all(|count| *count > CASES / 80), "{counts:?}");
}

#[test]
fn a_304_matches_as_in_http_cache_semantics() {
    let Some(oracle) = Oracle::fetch() else {
        return;
    };
    let tags = ["\"a\"", "W/\"a\"", "\"b\"", "W/\"b\""];
    let dates = [date(-100), date(-50)];
    let mut pairs: Vec<(Fields, Fields)> = Vec::new();
    for one in tags {
        for other in tags {
            pairs.push((vec![("etag", one.into())], vec![("etag", other.into())]));
        }
    }
    for one in &dates {
        for other in &dates {
            let field = |date: &String| vec![("last-modified", date.clone())];
            pairs.push((field(one), field(other)));
        }
    }
    let fresh = ("cache-control", "max-age=60".to_owned());
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(mut stored, received)| {
            stored.push(fresh.clone());
            (stored, received)
        })
        .collect();
    let lines: Vec<String> = pairs
        .iter()
        .map(|(stored, received)| {
            format!(
                "{{\"response\":{{\"status\":200,\"headers\":{}}},\"validation\":{{\"status\":304,\
                 \"headers\":{}}},\"start\":{START}}}",
                json(stored),
                json(received)
            )
        })
        .collect();
    for ((stored, received), expected) in pairs.iter().zip(oracle.judge(&lines)) {
        let request = request(&[]);
        let response = response(200, stored);
        let freshness = storable(&request, &response, START).unwrap();
        let mut meta = Meta::new(&response, freshness);
        let found = freshen(&mut meta, &request, &self::response(304, received), START);
        let is_match = found != Freshened::Mismatch;
        assert_eq!(is_match.to_string(), expected, "{stored:?} {received:?}");
    }
}

/// The cases leave out where the oracle differs:
///
/// - It validates what has `must-revalidate` or `proxy-revalidate` also while that is fresh, and allows to use a stale
///   response that has `no-cache`, `s-maxage` (for `max-stale`) or a cookie.
/// - It stores what is stale already and cannot be validated, or has no lifetime, for clients that accept it.
/// - Its age does not depend on Date, and its lifetime depends on `immutable`.
/// - It reads numbers that are not valid, and stores cookies of public responses.
/// - Its `max-stale` ends a second earlier, and a lifetime that is guessed has no limit.
/// - It does not store statuses that it does not know.
fn cases() -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    let cases = collection::vec(case(), CASES)
        .new_tree(&mut runner)
        .unwrap();
    cases.current()
}

fn case() -> impl Strategy<Value = Case> {
    let seconds = || select(&[0_u64, 1, 10, 60, 100, 1_000][..]);
    let sometimes = move |weight| option::weighted(weight, seconds());
    // No response is stale for exactly this long.
    let max_stale = option::weighted(0.3, select(&[3_u64, 33, 333][..]));
    let flag = |name: &'static str, weight| option::weighted(weight, Just(name.to_owned()));
    let control = (
        sometimes(0.5),
        sometimes(0.2),
        sometimes(0.5),
        flag("public", 0.2),
        flag("private", 0.05),
        flag("no-store", 0.05),
        flag("no-cache", 0.05),
    );
    let dates = (
        option::weighted(0.3, select(&[-60_i64, 0, 10, 60, 1_000][..])),
        option::weighted(0.3, select(&[-10_i64, -600, -86_400, -864_000][..])),
        option::weighted(0.3, select(&[0_i64][..])),
        option::weighted(0.2, seconds()),
    );
    let others = (
        option::weighted(0.2, select(&["foo", "Foo, bar", "BAR", "*"][..])),
        option::weighted(0.1, select(&["a=b"][..])),
        select(&[200_u16, 200, 203, 301, 302, 307, 404, 410, 501][..]),
        option::weighted(0.5, select(&["1", "2"][..])),
        option::weighted(0.5, select(&["1", "2"][..])),
    );
    let first = (
        option::weighted(0.1, select(&["Basic x"][..])),
        option::weighted(0.05, select(&["no-store"][..])),
    );
    let second = (
        sometimes(0.15),
        sometimes(0.15),
        max_stale,
        flag("no-cache", 0.05),
        option::weighted(0.1, select(&["no-cache", "x"][..])),
        select(&[0_u64, 5, 15, 65, 105, 500, 2_000][..]),
    );
    (control, dates, others, first, second).prop_map(|(control, dates, others, first, second)| {
        let (max_age, s_maxage, windows, public, private, no_store, no_cache) = control;
        let (expires, modified, own_date, age) = dates;
        let (vary, cookie, status, first_value, second_value) = others;
        let (authorization, request_no_store) = first;
        let (most, min_fresh, max_stale, request_no_cache, pragma, after) = second;
        let expires_after = expires.map(|offset| offset.max(0).unsigned_abs());
        let lifetime = s_maxage.or(max_age).or(expires_after);
        let was_fresh = lifetime > Some(age.unwrap_or(0));
        let may_be_stale = was_fresh && no_cache.is_none();
        let windows = windows.filter(|_| may_be_stale);
        let max_stale = max_stale.filter(|_| may_be_stale && s_maxage.is_none());
        let cookie =
            cookie.filter(|_| public.is_none() && windows.is_none() && max_stale.is_none());
        let seconds = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
        let list = |directives: Vec<Option<String>>| {
            let directives: Vec<String> = directives.into_iter().flatten().collect();
            (!directives.is_empty()).then(|| ("cache-control", directives.join(", ")))
        };
        let mut response = Fields::new();
        response.extend(list(vec![
            seconds("max-age", max_age),
            seconds("s-maxage", s_maxage),
            seconds("stale-while-revalidate", windows),
            public,
            private,
            no_store,
            no_cache,
        ]));
        response.extend(expires.map(|offset| ("expires", date(offset))));
        response.extend(modified.map(|offset| ("last-modified", date(offset))));
        response.extend(own_date.map(|offset| ("date", date(offset))));
        response.extend(age.map(|age| ("age", age.to_string())));
        response.extend(vary.map(|vary| ("vary", vary.to_owned())));
        response.extend(cookie.map(|cookie| ("set-cookie", cookie.to_owned())));
        let field = |value: Option<&'static str>| value.map(|value| ("foo", value.to_owned()));
        let mut first = Fields::from_iter(field(first_value));
        first.extend(authorization.map(|value| ("authorization", value.to_owned())));
        first.extend(request_no_store.map(|value| ("cache-control", value.to_owned())));
        let mut second = Fields::from_iter(field(second_value));
        let control = list(vec![
            seconds("max-age", most),
            seconds("min-fresh", min_fresh),
            seconds("max-stale", max_stale),
            request_no_cache,
        ]);
        // The oracle reads Pragma beside Cache-Control, too.
        second.extend(
            pragma
                .filter(|_| control.is_none())
                .map(|value| ("pragma", value.to_owned())),
        );
        second.extend(control);
        Case {
            first,
            status,
            response,
            second,
            after,
        }
    })
}

impl Case {
    fn reuse(&self) -> String {
        let (first, second) = (request(&self.first), request(&self.second));
        let response = response(self.status, &self.response);
        let Ok(freshness) = storable(&first, &response, START) else {
            return "call".to_owned();
        };
        let vary = Vary::of(&response).unwrap();
        let variants = Variants { id: 1, vary };
        let [one, other] = [&first, &second].map(|request| key::secondary(b"", &variants, request));
        if one != other {
            return "call".to_owned();
        }
        let bytes = Meta::new(&response, freshness).encode();
        let Some(Entry::Response(meta)) = Entry::decode(&bytes) else {
            return "damaged".to_owned();
        };
        match reuse(&second, &meta, START + self.after) {
            Reuse::Fresh { age } => format!("use {age}"),
            Reuse::StaleWhileRevalidate { age } => format!("stale {age}"),
            _ => "call".to_owned(),
        }
    }

    fn json(&self) -> String {
        format!(
            "{{\"first\":{},\"response\":{{\"status\":{},\"headers\":{}}},\"second\":{},\"after\":{},\
             \"start\":{START}}}",
            json(&self.first),
            self.status,
            json(&self.response),
            json(&self.second),
            self.after
        )
    }
}

/// An object. Debug writes ASCII texts as JSON does.
fn json(fields: &Fields) -> String {
    let mut text = String::from("{");
    for (name, value) in fields {
        let comma = if text.len() > 1 { "," } else { "" };
        write!(text, "{comma}{name:?}:{value:?}").unwrap();
    }
    text + "}"
}

fn date(offset: i64) -> String {
    String::from_utf8(http_date::format(START.saturating_add_signed(offset)).to_vec()).unwrap()
}

fn request(fields: &[(&'static str, String)]) -> RequestHead {
    let mut text = "GET / HTTP/1.1\r\nHost: h\r\n".to_owned();
    for (name, value) in fields {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text += "\r\n";
    let mut head = RequestHead::default();
    RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

fn response(status: u16, fields: &Fields) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set_status(status, b"").unwrap();
    for (name, value) in fields {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

/// The package, in a directory of its own.
struct Oracle {
    directory: tempfile::TempDir,
}

impl Oracle {
    /// `None`, with a line that says why, if it cannot be had here. No script of the package is run by npm.
    fn fetch() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match unpack(directory.path()) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                println!("skipped: {PACKAGE} could not be fetched: {error}");
                None
            }
        }
    }

    fn judge(&self, lines: &[String]) -> Vec<String> {
        let input = self.directory.path().join("cases");
        std::fs::write(&input, lines.join("\n")).unwrap();
        let output = Command::new("node")
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/judge.cjs"))
            .arg(self.directory.path().join("package/index.js"))
            .stdin(std::fs::File::open(&input).unwrap())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn unpack(directory: &Path) -> io::Result<()> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        Err(io::Error::other(format!("{program}: {last}")))
    };
    run("node", &["--version"])?;
    let packed = run("npm", &["pack", "--silent", PACKAGE])?;
    run("tar", &["xzf", packed.lines().last().unwrap_or_default()])?;
    Ok(())
}
