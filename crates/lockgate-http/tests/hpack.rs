//! Decodes the header blocks of corpus/http2/hpack, one connection a file. The file format is described in
//! corpus/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs
)]

use std::path::Path;

use lockgate_http::http2::hpack::Decoder;

#[test]
fn valid_files_give_their_fields() {
    check_folder("valid", 16, |blocks, expect, path| {
        let (result, fields) = decode(blocks);
        assert_eq!((&result[..], &fields[..]), ("Ok(())", expect), "{path:?}");
    });
}

#[test]
fn invalid_files_are_refused_in_their_last_block() {
    check_folder("invalid", 39, |blocks, expect, path| {
        assert_eq!(decode(blocks).0, format!("Err({expect})"), "{path:?}");
        let (_, earlier) = blocks.split_last().unwrap();
        assert_eq!(decode(earlier).0, "Ok(())", "{path:?}");
    });
}

/// Calls `check` with the blocks and the expectation of each file. `at_least`: the files when this was written.
fn check_folder(folder: &str, at_least: usize, check: impl Fn(&[Vec<u8>], &str, &Path)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/http2/hpack");
    let mut count = 0;
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (front, blocks) = text.split_once("---\n").expect("a line ---");
        assert!(front.contains("# rule: "), "a rule: {}", path.display());
        let expect = front
            .lines()
            .find_map(|line| line.strip_prefix("# expect:"));
        let blocks: Vec<_> = blocks.lines().map(from_hexadecimal).collect();
        check(&blocks, expect.unwrap().trim_ascii(), &path);
        count += 1;
    }
    assert!(count >= at_least, "only {count} files");
}

/// The result, and the fields as in the files.
fn decode(blocks: &[Vec<u8>]) -> (String, String) {
    let mut decoder = Decoder::new(4096);
    let mut scratch = Vec::new();
    let mut fields = Vec::new();
    let result = blocks.iter().try_for_each(|block| {
        decoder.decode(block, usize::MAX, &mut scratch, |name, value| {
            fields.push(format!("{}: {}", name.escape_ascii(), value.escape_ascii()));
        })
    });
    (
        format!("{result:?}"),
        fields.join(" | ").trim_ascii().to_owned(),
    )
}

fn from_hexadecimal(line: &str) -> Vec<u8> {
    let bytes = line.split_whitespace();
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}
