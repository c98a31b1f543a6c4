//! Tests of what requests get of a representation.

use super::*;
use lockgate_http::{Limits, RequestParser};
use proptest::prelude::*;

const NOW: u64 = 1_000_000_000;
const ETAG: &str = "\"tag\"";
const MODIFIED: &str = "Fri, 01 Jan 1999 00:00:00 GMT";

fn request(method: &str, fields: &[(&str, &str)]) -> RequestHead {
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let text = format!("{method} /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    RequestParser::new(Limits::default())
        .step(text.as_bytes(), &mut head)
        .unwrap();
    head
}

fn sample(content: &[u8]) -> Representation {
    let mut head = ResponseHead::default();
    head.set_status(200, b"OK").unwrap();
    for (name, value) in [
        ("Content-Type", "text/plain"),
        ("ETag", ETAG),
        ("Last-Modified", MODIFIED),
        ("Vary", "Accept-Encoding"),
        ("Cache-Control", "max-age=60"),
    ] {
        head.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    Representation::new(head, Content::Memory(content.into()), content.len() as u64)
}

/// The bytes that are sent.
fn bytes(body: &Body) -> Vec<u8> {
    let of_part = |part: &Part| {
        let range = part.offset as usize..(part.offset + part.length) as usize;
        match &part.content {
            Content::Memory(bytes) => bytes[range].to_vec(),
            Content::File(..) => panic!("the sample is in memory"),
        }
    };
    match body {
        Body::Empty | Body::Omitted(_) => Vec::new(),
        Body::Part(part) => of_part(part),
        Body::Parts(parts, end) => {
            let mut all = Vec::new();
            for (head, part) in parts {
                all.extend_from_slice(head);
                all.extend(of_part(part));
            }
            all.extend_from_slice(end);
            all
        }
    }
}

fn deliver(method: &str, fields: &[(&str, &str)]) -> Delivery {
    let request = request(method, fields);
    sample(b"0123456789\n").deliver(&request, &Selection::of(&request), NOW)
}

/// Method, fields; the expected status and body.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);

#[test]
fn conditions_and_ranges_decide_what_is_sent() {
    let earlier = "Thu, 31 Dec 1998 23:59:59 GMT";
    let cases: &[Case<'_>] = &[
        ("GET", &[], 200, "0123456789\n"),
        ("HEAD", &[], 200, ""),
        ("GET", &[("If-None-Match", ETAG)], 304, ""),
        ("GET", &[("If-None-Match", "W/\"tag\"")], 304, ""),
        ("GET", &[("If-None-Match", "\"a\", \"tag\"")], 304, ""),
        ("GET", &[("If-None-Match", "*")], 304, ""),
        ("HEAD", &[("If-None-Match", ETAG)], 304, ""),
        (
            "GET",
            &[("If-None-Match", "\"other\"")],
            200,
            "0123456789\n",
        ),
        ("GET", &[("If-Modified-Since", MODIFIED)], 304, ""),
        (
            "GET",
            &[("If-Modified-Since", earlier)],
            200,
            "0123456789\n",
        ),
        ("GET", &[("If-Match", "\"other\"")], 412, ""),
        ("GET", &[("If-Match", ETAG)], 200, "0123456789\n"),
        ("GET", &[("If-Unmodified-Since", earlier)], 412, ""),
        ("GET", &[("Range", "bytes=2-4")], 206, "234"),
        ("GET", &[("Range", "bytes=-2")], 206, "9\n"),
        ("GET", &[("range", "bytes=9-")], 206, "9\n"),
        ("HEAD", &[("Range", "bytes=2-4")], 200, ""),
        ("GET", &[("Range", "bytes=11-")], 416, ""),
        ("GET", &[("Range", "lines=1")], 200, "0123456789\n"),
        (
            "GET",
            &[("Range", "bytes=0-0"), ("Range", "bytes=1-1")],
            200,
            "0123456789\n",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-Range", ETAG)],
            206,
            "234",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-Range", MODIFIED)],
            206,
            "234",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-Range", "\"other\"")],
            200,
            "0123456789\n",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-Range", "W/\"tag\"")],
            200,
            "0123456789\n",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-None-Match", ETAG)],
            304,
            "",
        ),
        (
            "GET",
            &[("Range", "bytes=2-4"), ("If-Match", "\"other\"")],
            412,
            "",
        ),
    ];
    for (method, fields, status, body) in cases {
        let delivery = deliver(method, fields);
        assert_eq!(delivery.head.status(), *status, "{method} {fields:?}");
        assert_eq!(
            bytes(&delivery.body),
            body.as_bytes(),
            "{method} {fields:?}"
        );
    }
}

#[test]
fn each_status_has_its_fields() {
    let names = |fields: &[(&str, &str)]| {
        let delivery = deliver("GET", fields);
        let mut names: Vec<String> = (delivery.head.headers())
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(
        names(&[]),
        "Accept-Ranges Cache-Control Content-Type ETag Last-Modified Vary"
    );
    assert_eq!(names(&[("If-None-Match", ETAG)]), "Cache-Control ETag Vary");
    assert_eq!(names(&[("If-Match", "\"b\"")]), "Vary");
    assert_eq!(names(&[("Range", "bytes=11-")]), "Content-Range Vary");
    assert_eq!(
        names(&[("Range", "bytes=1-2")]),
        "Accept-Ranges Cache-Control Content-Range Content-Type ETag Last-Modified Vary"
    );
    let part = deliver("GET", &[("Range", "bytes=1-2")]);
    assert_eq!(
        part.head.header("content-range"),
        Some(&b"bytes 1-2/11"[..])
    );
    let refused = deliver("GET", &[("Range", "bytes=11-")]);
    assert_eq!(
        refused.head.header("content-range"),
        Some(&b"bytes */11"[..])
    );
}

#[test]
fn several_ranges_are_one_body_with_parts() {
    let delivery = deliver("GET", &[("Range", "bytes=0-1,5-8")]);
    let content_type = delivery.head.header("content-type").unwrap();
    let content_type = std::str::from_utf8(content_type).unwrap();
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let expected = format!(
        "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/11\r\n\r\n01\r\n\
         --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-8/11\r\n\r\n5678\r\n\
         --{boundary}--\r\n"
    );
    assert_eq!(bytes(&delivery.body), expected.as_bytes());
    assert_eq!(delivery.head.header("content-range"), None);
    let other = deliver("GET", &[("Range", "bytes=0-1,5-8")]);
    assert_ne!(
        other.head.header("content-type"),
        delivery.head.header("content-type")
    );
}

#[test]
fn a_response_that_excludes_ranges_is_sent_whole() {
    let mut head = ResponseHead::default();
    head.set_status(200, b"OK").unwrap();
    head.push(b"Accept-Ranges", b"none").unwrap();
    let representation = Representation::new(head, Content::Memory(b"abc"[..].into()), 3);
    let request = request("GET", &[("Range", "bytes=0-0")]);
    let delivery = representation.deliver(&request, &Selection::of(&request), NOW);
    assert_eq!(
        (delivery.head.status(), bytes(&delivery.body)),
        (200, b"abc".to_vec())
    );
}

#[test]
fn accept_encoding_in_several_lines_is_one_list() {
    let request = request(
        "GET",
        &[("Accept-Encoding", "gzip"), ("accept-encoding", "br")],
    );
    let selection = Selection::of(&request);
    assert_eq!(selection.accept_encoding.as_deref(), Some(&b"gzip, br"[..]));
    assert!(!selection.is_selective());
}

/// The parts of a multipart body, each with its Content-Range.
fn parse_parts(body: &[u8], boundary: &str) -> Vec<(String, Vec<u8>)> {
    let mut rest = body;
    let mut parts = Vec::new();
    loop {
        let line = format!("--{boundary}");
        rest = rest.strip_prefix(line.as_bytes()).expect("a boundary");
        if rest == b"--\r\n" {
            return parts;
        }
        let head_end = rest
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(rest[..head_end].to_vec()).unwrap();
        let range = head.split("Content-Range: ").nth(1).unwrap().to_owned();
        let (first, last) = range["bytes ".len()..]
            .split_once('/')
            .unwrap()
            .0
            .split_once('-')
            .unwrap();
        let length = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        let content = &rest[head_end + 4..][..length];
        parts.push((range, content.to_vec()));
        rest = rest[head_end + 4 + length..].strip_prefix(b"\r\n").unwrap();
    }
}

proptest! {
    /// What a client puts together from the parts is what the file has there.
    #[test]
    fn every_part_has_the_bytes_that_it_names(
        content in prop::collection::vec(any::<u8>(), 1..200),
        specs in prop::collection::vec((prop::option::of(0_u64..220), prop::option::of(0_u64..220)), 1..6),
    ) {
        let text: Vec<String> = specs.iter().map(|(first, last)| {
            let text = |one: &Option<u64>| one.map_or(String::new(), |one| one.to_string());
            format!("{}-{}", text(first), text(last))
        }).collect();
        let field = format!("bytes={}", text.join(","));
        let request = request("GET", &[("Range", &field)]);
        let delivery = sample(&content).deliver(&request, &Selection::of(&request), NOW);
        let body = bytes(&delivery.body);
        let length = content.len();
        match delivery.head.status() {
            200 => prop_assert_eq!(&body, &content),
            416 => prop_assert!(body.is_empty()),
            206 => {
                let parts = match delivery.head.header("content-range") {
                    Some(range) => vec![(String::from_utf8(range.to_vec()).unwrap(), body.clone())],
                    None => {
                        let field = delivery.head.header("content-type").unwrap().to_vec();
                        let field = String::from_utf8(field).unwrap();
                        parse_parts(&body, field.split("boundary=").nth(1).unwrap())
                    }
                };
                prop_assert!(!parts.is_empty());
                for (range, bytes) in parts {
                    let range = range.strip_prefix("bytes ").unwrap().strip_suffix(&format!("/{length}")).unwrap();
                    let (first, last) = range.split_once('-').unwrap();
                    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                    prop_assert_eq!(&bytes[..], &content[first..=last]);
                }
            }
            other => prop_assert!(false, "{}", other),
        }
    }
}
