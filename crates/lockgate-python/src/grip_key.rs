//! The key of GRIP's signatures, from its file.

use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use lockgate_config::{GripKey, Resolved};

/// As in the URLs by which clients of GRIP are configured.
const ENCODED: &str = "base64:";

/// Reads the file that `grip_key_file` names.
///
/// # Errors
/// When it cannot be read, or has no key; the error says what to do and shows no part of the key.
pub(crate) fn read(resolved: &mut Resolved) -> Result<(), String> {
    let Some(path) = &resolved.config.push.grip_key_file else {
        return Ok(());
    };
    match key_in(path) {
        Ok(key) => {
            resolved.config.push.grip_key = Some(key);
            Ok(())
        }
        Err(requirement) => {
            let origin = resolved.origins.of("grip_key_file");
            Err(format!(
                "grip_key_file = {path:?} (from {origin}): {requirement}"
            ))
        }
    }
}

fn key_in(path: &Path) -> Result<GripKey, String> {
    let text = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "must be UTF-8".to_owned())?;
    let line = text.lines().next().unwrap_or_default().trim();
    let bytes = match line.strip_prefix(ENCODED) {
        Some(encoded) => BASE64
            .decode(encoded.as_bytes())
            .map_err(|error| format!("must have base64 after \"{ENCODED}\": {error}"))?,
        None => line.as_bytes().to_owned(),
    };
    GripKey::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let long = "k".repeat(32);
        for (text, key) in [
            (format!("{long}\n"), Ok(long.as_str())),
            (format!(" {long} \nsecond line"), Ok(long.as_str())),
            (
                format!("base64:{}\r\n", BASE64.encode(long.as_bytes())),
                Ok(long.as_str()),
            ),
            ("base64:a".to_owned(), Err("must have base64 after")),
            ("short\n".to_owned(), Err("at least 32 bytes, but has 5")),
            (String::new(), Err("but has 0")),
        ] {
            fs::write(&path, &text).unwrap();
            match (key_in(&path), key) {
                (Ok(found), Ok(key)) => assert_eq!(found.bytes(), key.as_bytes()),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, _) => panic!("{text:?}: {found:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(key_in(&path).unwrap_err().starts_with("cannot be read: "));
    }
}
