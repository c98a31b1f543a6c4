//! A JSON writer: places the commas and escapes all values to ASCII.

use std::fmt::Write;

use crate::escape::Escape;

/// A JSON text under construction.
#[derive(Default)]
pub(crate) struct Json {
    text: String,
}

impl Json {
    pub(crate) fn open(&mut self, bracket: char) {
        self.text.push(bracket);
    }

    pub(crate) fn close(&mut self, bracket: char) {
        self.text.push(bracket);
    }

    /// A comma, unless an object or array was just opened.
    pub(crate) fn separate(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.key(name);
        // Writing to a String does not fail.
        let _ = write!(self.text, "{value}");
    }

    pub(crate) fn signed(&mut self, name: &str, value: i64) {
        self.key(name);
        let _ = write!(self.text, "{value}");
    }

    pub(crate) fn seconds(&mut self, name: &str, nanoseconds: u64) {
        self.key(name);
        let micros = nanoseconds / 1000;
        let _ = write!(
            self.text,
            "{}.{:06}",
            micros / 1_000_000,
            micros % 1_000_000
        );
    }

    pub(crate) fn text(&mut self, name: &str, value: &[u8]) {
        self.key(name);
        self.quoted(value);
    }

    pub(crate) fn texts(&mut self, name: &str, values: &[String]) {
        self.key(name);
        self.open('[');
        for value in values {
            self.separate();
            self.quoted(value.as_bytes());
        }
        self.close(']');
    }

    fn quoted(&mut self, value: &[u8]) {
        let mut escaped = Vec::new();
        Escape::Json.slice(&mut escaped, value);
        self.text.push('"');
        // Escaped text is ASCII.
        self.text.push_str(&String::from_utf8_lossy(&escaped));
        self.text.push('"');
    }

    pub(crate) fn truth(&mut self, name: &str, value: bool) {
        self.key(name);
        self.text.push_str(if value { "true" } else { "false" });
    }

    pub(crate) fn null(&mut self, name: &str) {
        self.key(name);
        self.text.push_str("null");
    }

    /// Appends the JSON text as one line.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
    }
}
