//! Checks that the documents list every reason for a refusal, by its identifier in the access log.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::HashSet;
use std::path::Path;

#[test]
fn every_refusal_has_a_row_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path| std::fs::read_to_string(root.join(path)).unwrap();
    let documents = read("../../docs/supported-http.md") + &read("../../docs/uwsgi-protocol.md");
    let sources = [read("src/error.rs"), read("src/uwsgi/fault.rs")];
    let mut names = Vec::new();
    for source in &sources {
        let (_, rest) = source.split_once("pub fn name(").unwrap();
        let (rest, _) = rest.split_once("\n    }\n").unwrap();
        names.extend(rest.split('"').skip(1).step_by(2));
    }
    assert!(names.len() > 60, "{names:?}");
    let distinct: HashSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len());
    for name in names {
        let is_identifier =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(is_identifier), "{name}");
        assert!(documents.contains(&format!("\n| `{name}` | ")), "{name}");
    }
}
