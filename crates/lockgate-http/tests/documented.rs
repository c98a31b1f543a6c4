//! Checks that the documents list every reason for a refusal, by its identifier in the access log.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::HashSet;
use std::path::Path;

#[test]
fn every_refusal_has_a_row_in_the_documents() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("src/error.rs")).unwrap();
    let documents = std::fs::read_to_string(root.join("../../docs/supported-http.md")).unwrap();
    let (_, names) = source.split_once("pub fn name(&self)").unwrap();
    let (names, _) = names.split_once("\n    }\n").unwrap();
    let names: Vec<&str> = names.split('"').skip(1).step_by(2).collect();
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
