//! A request head that is built from parts is the one that is parsed from HTTP/1 lines, and the same fault gives the
//! same refusal: for the corpus, and for generated requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use lockgate_http::{
    ControlData, Event, ForwardingRules, HopHeaders, Limits, Refusal, RequestHead,
    RequestHeadBuilder, RequestParser, SchemeHeader, Version,
};
use proptest::prelude::*;
use proptest::sample::select;

mod samples;

use samples::read_folder;

/// Refusals of the syntax of HTTP/1, which parts do not have.
const SYNTAX: [&str; 14] = [
    "TlsOnPlainPort",
    "Http2Preface",
    "LeadingBlankLines",
    "BareLineFeed",
    "BareCarriageReturn",
    "MisplacedWhitespace",
    "MissingVersion",
    "InvalidVersion",
    "UnsupportedVersion",
    "WhitespaceBeforeFirstField",
    "ObsoleteLineFolding",
    "FieldWithoutColon",
    "TruncatedHead",
    "EmptyFieldName",
];

/// A request as its parts.
#[derive(Debug, Clone)]
struct Parts {
    method: Vec<u8>,
    target: Vec<u8>,
    version: Version,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parts {
    /// Splits the first head in `bytes` in the simplest way. `None`: there is none.
    fn of(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
        let mut lines = Lines(&bytes[start..]);
        let mut words = lines.next()?.split(|&byte| byte == b' ');
        let method = words.next()?;
        let target = words.next().unwrap_or_default();
        let version = match words.next() {
            Some(b"HTTP/1.0") => Version::Http10,
            _ => Version::Http11,
        };
        let mut fields = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let colon = line.iter().position(|&byte| byte == b':');
            let colon = colon.unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            fields.push((line[..colon].to_vec(), value.to_vec()));
        }
        Some(Self {
            method: method.to_vec(),
            target: target.to_vec(),
            version,
            fields,
        })
    }

    fn build(&self, head: &mut RequestHead, limits: &Limits) -> Result<(), Refusal> {
        let control_data = ControlData {
            method: &self.method,
            scheme: None,
            authority: None,
            target: &self.target,
            version: self.version,
        };
        let mut builder = RequestHeadBuilder::new(head, &control_data, limits)?;
        for (name, value) in &self.fields {
            builder.field(name, value)?;
        }
        builder.finish()
    }

    /// The request in HTTP/1 form.
    fn lines(&self) -> Vec<u8> {
        let mut bytes = [&self.method[..], b" ", &self.target, b" "].concat();
        bytes.extend_from_slice(self.version.as_str().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for (name, value) in &self.fields {
            bytes.extend_from_slice(&[&name[..], b": ", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// Lines that end in CRLF; the last one may lack it.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.windows(2).position(|pair| pair == b"\r\n");
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 2..]),
            None => (self.0, &b""[..]),
        };
        self.0 = rest;
        Some(line)
    }
}

fn parse(bytes: &[u8], head: &mut RequestHead, limits: Limits) -> Result<(), Refusal> {
    let mut parser = RequestParser::new(limits);
    let (_, event) = parser.step(bytes, head)?;
    if event == Event::Head {
        return Ok(());
    }
    parser.receive_eof()
}

/// What every accessor answers, but for those in which the two forms differ: the bytes of the head, and the minor
/// version that the client wrote.
fn answers(head: &RequestHead) -> impl PartialEq + std::fmt::Debug + use<> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = head
        .headers()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let line = (
        text(head.method()),
        text(head.target()),
        text(head.path()),
        text(head.query()),
        head.version(),
    );
    let client = (
        head.host().map(text),
        text(head.script_name()),
        head.has_https_target(),
        head.may_have_forwarding_headers(),
    );
    let message = (
        head.framing(),
        head.keep_alive(),
        head.expects_continue(),
        head.is_server_wide_options(),
    );
    let fields = (
        headers,
        head.header("host").map(text),
        head.dropped_fields(),
        head.faulty_field()
            .map(|(name, length)| (text(name), length)),
    );
    (line, client, message, fields)
}

/// Answers after the rules about trusted proxies have been applied, which also look at the bytes of the head.
fn forwarded_answers(head: &RequestHead) -> impl PartialEq + std::fmt::Debug + use<> {
    let rules = ForwardingRules {
        hops: HopHeaders::Either,
        scheme_headers: vec![SchemeHeader {
            name: b"X-Forwarded-Proto".to_vec(),
            secure: b"https".to_vec(),
        }],
        takes_host: true,
        takes_prefix: true,
        underscore_names: vec![b"*".to_vec()],
        ..ForwardingRules::default()
    };
    let is_trusted = |address: IpAddr| address.is_loopback();
    let mut head = head.clone();
    let identity = rules.read(&mut head, is_trusted);
    (identity, answers(&head))
}

#[test]
fn the_corpus_gives_the_same_heads_and_refusals() {
    let mut heads = 0;
    let mut refusals = BTreeSet::new();
    for sample in [read_folder("valid"), read_folder("invalid")].concat() {
        let (mut parsed, mut built) = (RequestHead::default(), RequestHead::default());
        let outcome = parse(&sample.bytes, &mut parsed, sample.limits);
        if let Err(refusal) = outcome {
            let name = format!("{refusal:?}");
            let name = name.split(' ').next().unwrap();
            if SYNTAX.contains(&name) {
                continue;
            }
            refusals.insert(name.to_owned());
        }
        let Some(parts) = Parts::of(&sample.bytes) else {
            continue;
        };
        let answer = parts.build(&mut built, &sample.limits);
        assert_eq!(answer, outcome, "{}", sample.name);
        assert_eq!(answers(&built), answers(&parsed), "{}", sample.name);
        if outcome.is_ok() {
            heads += 1;
            let (built, parsed) = (forwarded_answers(&built), forwarded_answers(&parsed));
            assert_eq!(built, parsed, "{}", sample.name);
        }
    }
    // As many as there were when this was written.
    assert!(heads >= 140, "only {heads} heads");
    assert!(refusals.len() >= 27, "only {refusals:?}");
}

/// Small enough for generated requests to reach every limit.
const LIMITS: Limits = Limits {
    request_line: 60,
    fields: 5,
    field_size: 40,
    head: 160,
    body: 40,
    chunk_line: 20,
    trailers: 50,
};

const METHODS: [&str; 6] = [
    "GET",
    "POST",
    "OPTIONS",
    "CONNECT",
    "G@T",
    "VERYLONGMETHODVERYLONGMETHODVERYLONGMETHOD",
];

const TARGETS: [&str; 14] = [
    "/",
    "/a?b",
    "*",
    "http://h:1/x?y",
    "https://h",
    "http://u@h/",
    "http:///",
    "x",
    "/#f",
    "/\u{1}",
    "/é",
    "/0123456789012345678901234567890123456789",
    "/01234567890123456789012345678901234567890123456789",
    "/012345678901234567890123456789012345678901234567890123456789",
];

const NAMES: [&str; 16] = [
    "Host",
    "host",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Type",
    "Connection",
    "Expect",
    "X-Forwarded-For",
    "Forwarded",
    "X_Y",
    "SCRIPT_NAME",
    "A",
    "B b",
    "C(",
    "A-Name-That-Is-As-Long-As-A-Line",
    "A-Name-That-Is-Longer-Than-A-Line-May-Be-Here",
];

const VALUES: [&str; 18] = [
    "h",
    "h:80",
    "a b",
    "",
    "3",
    "41",
    "99999999999999999999",
    "x",
    "chunked",
    "gzip, chunked",
    "close",
    "keep-alive, close",
    "100-continue",
    "200-ok",
    "127.0.0.1",
    "for=127.0.0.1;host=h",
    "a\u{0}b",
    "a value that is longer than a line may be",
];

fn any_parts() -> impl Strategy<Value = Parts> {
    let field = (select(&NAMES[..]), select(&VALUES[..]))
        .prop_map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let version = prop_oneof![1 => Just(Version::Http10), 3 => Just(Version::Http11)];
    let method = prop_oneof![3 => Just("GET"), 1 => select(&METHODS[..])];
    let target = prop_oneof![3 => Just("/a"), 1 => select(&TARGETS[..])];
    let host = prop_oneof![4 => Just(true), 1 => Just(false)];
    let fields = prop::collection::vec(field, 0..6);
    (method, target, version, host, fields).prop_map(|(method, target, version, host, fields)| {
        let first = host.then(|| (b"Host".to_vec(), b"h".to_vec()));
        Parts {
            method: method.as_bytes().to_vec(),
            target: target.as_bytes().to_vec(),
            version,
            fields: first.into_iter().chain(fields).collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn parts_and_their_lines_give_the_same(parts in any_parts(), field_size in 20..50_usize, head in 60..170_usize) {
        let limits = Limits { field_size, head, ..LIMITS };
        let (mut parsed, mut built) = (RequestHead::default(), RequestHead::default());
        let outcome = parse(&parts.lines(), &mut parsed, limits);
        prop_assert_eq!(parts.build(&mut built, &limits), outcome);
        prop_assert_eq!(answers(&built), answers(&parsed));
        prop_assert_eq!(built.head_bytes(), parsed.head_bytes());
        if outcome.is_ok() {
            prop_assert_eq!(forwarded_answers(&built), forwarded_answers(&parsed));
        }
    }
}
