//! The state of one name: attempts, failures, and what comes next. All hosts that share `acme_dir` share it, so that they
//! share the delays between attempts, too. It survives restarts.

use std::fmt;

use serde_json::{Value, json};

/// See the module. Times are seconds since 1970; 0 means never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The name of the certificate.
    pub name: String,
    /// The directory URL of the CA that was asked last.
    pub directory: String,
    /// When the last certificate was stored.
    pub last_success: u64,
    /// When the last attempt began.
    pub last_attempt: u64,
    /// When the next attempt is due: a renewal, or a repetition.
    pub next_attempt: u64,
    /// Failures since the last success.
    pub failures: u32,
    /// Why the last attempt has failed; empty after a success.
    pub last_error: String,
    /// The expiry of the certificate; 0 when there is none.
    pub not_after: u64,
    /// The CA has asked for the delay (`Retry-After`).
    pub must_wait: bool,
}

impl State {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// A state that was stored.
    pub(crate) fn read(name: &str, file: &[u8]) -> Option<Self> {
        let stored: Value = serde_json::from_slice(file).ok()?;
        let number = |member: &str| stored.get(member).and_then(Value::as_u64).unwrap_or(0);
        let text = |member: &str| {
            let text = stored.get(member).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        stored.is_object().then(|| Self {
            name: name.to_owned(),
            directory: text("directory"),
            last_success: number("last_success"),
            last_attempt: number("last_attempt"),
            next_attempt: number("next_attempt"),
            failures: u32::try_from(number("failures")).unwrap_or(u32::MAX),
            last_error: text("last_error"),
            not_after: number("not_after"),
            must_wait: stored.get("must_wait").and_then(Value::as_bool) == Some(true),
        })
    }
}

/// The file to store.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = json!({
            "name": self.name,
            "directory": self.directory,
            "last_success": self.last_success,
            "last_attempt": self.last_attempt,
            "next_attempt": self.next_attempt,
            "failures": self.failures,
            "last_error": self.last_error,
            "not_after": self.not_after,
            "must_wait": self.must_wait,
        });
        writeln!(f, "{object:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let state = State {
            name: "shop.example".to_owned(),
            directory: "https://ca.example/dir".to_owned(),
            last_success: 1,
            last_attempt: 2,
            next_attempt: 3,
            failures: 4,
            last_error: "it \"failed\"".to_owned(),
            not_after: 5,
            must_wait: true,
        };
        let read = State::read("shop.example", state.to_string().as_bytes());
        assert_eq!(read, Some(state));
    }

    #[test]
    fn a_damaged_state_is_none() {
        for file in ["", "nonsense", "[]", "12", "null"] {
            assert_eq!(State::read("a", file.as_bytes()), None, "{file}");
        }
        let odd = r#"{"failures": -1, "next_attempt": "soon", "last_error": 7}"#;
        assert_eq!(State::read("a", odd.as_bytes()), Some(State::new("a")));
    }
}
