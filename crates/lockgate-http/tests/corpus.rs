//! Replays corpus/http1: each file whole, cut in two at every byte, and byte by byte. The file format is described in
//! corpus/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::path::{Path, PathBuf};

use lockgate_http::{Framing, Limits, Version};

mod replay;

use replay::{Message, Transcript, check_with_httparse, play};

#[test]
fn valid_files_are_read_as_expected_however_they_are_cut() {
    check_folder("valid", 88, false);
}

#[test]
fn invalid_files_are_refused_as_expected_however_they_are_cut() {
    check_folder("invalid", 243, true);
}

/// `at_least` is the number of files when this was written.
fn check_folder(folder: &str, at_least: usize, is_refused: bool) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/http1");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= at_least, "only {} files", paths.len());
    for path in paths {
        let sample = Sample::parse(&std::fs::read_to_string(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        sample.check(&name, is_refused);
    }
}

struct Sample {
    expect: Vec<u8>,
    limits: Limits,
    bytes: Vec<u8>,
}

impl Sample {
    fn parse(text: &str) -> Self {
        let (front, raw) = text.split_once("---\n").expect("a line ---");
        let line = |name: &str| {
            front
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# {name}: ")))
        };
        assert!(line("rule").is_some(), "a rule: {front}");
        Self {
            expect: unescape(line("expect").expect("an expectation")),
            limits: parse_limits(line("limits").unwrap_or_default()),
            bytes: unescape(&raw.replace('\n', "")),
        }
    }

    fn check(&self, name: &str, is_refused: bool) {
        let bytes = &self.bytes[..];
        let whole = play([bytes], self.limits);
        assert_eq!(
            whole.refusal.is_some(),
            is_refused,
            "{name}: {:?}",
            whole.refusal
        );
        let told = tell(&whole);
        assert!(
            told == self.expect || told.starts_with(&[&self.expect[..], b" "].concat()),
            "{name}: expected {}, got {}",
            String::from_utf8_lossy(&self.expect),
            String::from_utf8_lossy(&told)
        );
        whole.messages.iter().for_each(check_with_httparse);

        assert_eq!(
            play(bytes.chunks(1), self.limits),
            whole,
            "{name}, byte by byte"
        );
        // Long samples are long because of one repeated byte: a prime step still hits the cuts that matter.
        let step = if bytes.len() > 2000 { 997 } else { 1 };
        for cut in (1..bytes.len()).step_by(step) {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(
                play([first, second], self.limits),
                whole,
                "{name}, cut at {cut}"
            );
        }
    }
}

/// A transcript in the format of `# expect:`.
fn tell(transcript: &Transcript) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = transcript.messages.iter().map(tell_message).collect();
    if let Some(first) = parts.first_mut() {
        first.splice(0..0, *b"200 ");
    }
    if let Some(refused) = &transcript.refusal {
        let variant = format!("{:?}", refused.refusal);
        let variant = variant.split(' ').next().unwrap();
        let mut part = format!("{} {variant}", refused.refusal.status()).into_bytes();
        for word in [&refused.method, &refused.target] {
            if !word.is_empty() {
                part.push(b' ');
                part.extend_from_slice(word);
            }
        }
        parts.push(part);
    }
    parts.join(&b" + "[..])
}

fn tell_message(message: &Message) -> Vec<u8> {
    let mut words = vec![message.method.clone(), message.target.clone()];
    let mut say = |condition: bool, word: &str| {
        if condition {
            words.push(word.as_bytes().to_vec());
        }
    };
    say(message.framing == Framing::None, "none");
    say(matches!(message.framing, Framing::Length(_)), "length");
    say(message.framing == Framing::Chunked, "chunked");
    say(
        message.version == Version::Http11 && !message.keep_alive,
        "close",
    );
    say(
        message.version == Version::Http10 && message.keep_alive,
        "keep-alive",
    );
    say(message.expects_continue, "continue");
    say(message.dropped > 0, &format!("dropped={}", message.dropped));
    if !message.body.is_empty() {
        words.push([b"\"", &message.body[..], b"\""].concat());
    }
    words.join(&b' ')
}

fn parse_limits(text: &str) -> Limits {
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

fn unescape(text: &str) -> Vec<u8> {
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
