//! Reads the files of corpus/http1; their format is described in corpus/README.md.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use std::path::{Path, PathBuf};

use lockgate_http::Limits;

/// The samples of a folder, by name.
pub fn read_folder(folder: &str) -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/http1");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Sample::read(path)).collect()
}

/// One file.
#[derive(Clone)]
pub struct Sample {
    pub name: String,
    pub expect: Vec<u8>,
    pub limits: Limits,
    pub bytes: Vec<u8>,
}

impl Sample {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (front, raw) = text.split_once("---\n").expect("a line ---");
        let line = |name: &str| {
            front
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# {name}: ")))
        };
        assert!(line("rule").is_some(), "a rule: {front}");
        Self {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            expect: unescape(line("expect").expect("an expectation")),
            limits: parse_limits(line("limits").unwrap_or_default()),
            bytes: unescape(&raw.replace('\n', "")),
        }
    }
}

pub fn parse_limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for setting in text.split_whitespace() {
        let (name, value) = setting.split_once('=').unwrap();
        let size = value.parse().unwrap();
        match name {
            "request_line" => limits.request_line = size,
            "fields" => limits.fields = size,
            "field_size" => limits.field_size = size,
            "head" => limits.head = size,
            "body" => limits.body = size as u64,
            "chunk_line" => limits.chunk_line = size,
            "trailers" => limits.trailers = size,
            _ => panic!("no limit is called {name}"),
        }
    }
    limits
}

pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    unescape_until(&mut rest, None, &mut out);
    assert!(rest.is_empty());
    out
}

/// Reads escapes up to `end`, which is consumed.
fn unescape_until(rest: &mut &[u8], end: Option<u8>, out: &mut Vec<u8>) {
    loop {
        match *rest {
            [] => return assert!(end.is_none(), "a repetition without end"),
            [byte, after @ ..] if Some(*byte) == end => return *rest = after,
            [b'\\', b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                *rest = after;
            }
            [b'\\', b'(', after @ ..] => {
                let colon = after.iter().position(|&byte| byte == b':').unwrap();
                let count = std::str::from_utf8(&after[..colon]).unwrap();
                *rest = &after[colon + 1..];
                let mut once = Vec::new();
                unescape_until(rest, Some(b')'), &mut once);
                out.extend(once.repeat(count.parse().unwrap()));
            }
            [b'\\', letter, after @ ..] => {
                out.push(match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' => b'\\',
                    _ => panic!("no escape is called {}", char::from(*letter)),
                });
                *rest = after;
            }
            [byte, after @ ..] => {
                out.push(*byte);
                *rest = after;
            }
        }
    }
}
