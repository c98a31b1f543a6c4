//! Replays corpus/http1: each file whole, cut in two at every byte, and byte by byte. The file format is described in
//! corpus/README.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lockgate_http::{Framing, Version};

mod replay;
mod samples;

use replay::{Message, Transcript, check_with_builder, check_with_httparse, play};
use samples::{Sample, read_folder};

#[test]
fn valid_files_are_read_as_expected_wherever_they_are_cut() {
    check_folder("valid", 88, false);
}

#[test]
fn invalid_files_are_refused_as_expected_wherever_they_are_cut() {
    check_folder("invalid", 243, true);
}

/// `at_least` is the number of files when this was written.
fn check_folder(folder: &str, at_least: usize, is_refused: bool) {
    let samples = read_folder(folder);
    assert!(samples.len() >= at_least, "only {} files", samples.len());
    samples.iter().for_each(|sample| check(sample, is_refused));
}

fn check(sample: &Sample, is_refused: bool) {
    let Sample {
        name,
        expect,
        limits,
        bytes,
    } = sample;
    let (bytes, limits) = (&bytes[..], *limits);
    let whole = play([bytes], limits);
    assert_eq!(
        whole.refusal.is_some(),
        is_refused,
        "{name}: {:?}",
        whole.refusal
    );
    let found = describe(&whole);
    assert!(
        found == *expect || found.starts_with(&[&expect[..], b" "].concat()),
        "{name}: expected {}, got {}",
        String::from_utf8_lossy(expect),
        String::from_utf8_lossy(&found)
    );
    whole.messages.iter().for_each(check_with_httparse);
    whole.messages.iter().for_each(check_with_builder);

    assert_eq!(play(bytes.chunks(1), limits), whole, "{name}, byte by byte");
    // Long samples are long because of one repeated byte: a prime step still hits the cuts that matter.
    let step = if bytes.len() > 2000 { 997 } else { 1 };
    for cut in (1..bytes.len()).step_by(step) {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(play([first, second], limits), whole, "{name}, cut at {cut}");
    }
}

/// A transcript in the format of `# expect:`.
fn describe(transcript: &Transcript) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = transcript.messages.iter().map(describe_message).collect();
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

fn describe_message(message: &Message) -> Vec<u8> {
    let mut words = vec![message.method.clone(), message.target.clone()];
    let mut add = |condition: bool, word: &str| {
        if condition {
            words.push(word.as_bytes().to_vec());
        }
    };
    add(message.framing == Framing::None, "none");
    add(matches!(message.framing, Framing::Length(_)), "length");
    add(message.framing == Framing::Chunked, "chunked");
    add(
        message.version == Version::Http11 && !message.keep_alive,
        "close",
    );
    add(
        message.version == Version::Http10 && message.keep_alive,
        "keep-alive",
    );
    add(message.expects_continue, "continue");
    add(message.dropped > 0, &format!("dropped={}", message.dropped));
    if !message.body.is_empty() {
        words.push([b"\"", &message.body[..], b"\""].concat());
    }
    words.join(&b' ')
}
