//! A JSON writer: places the commas and escapes all values to ASCII. Names of keys are the caller's own and are not
//! escaped.

use std::fmt::Write;

use crate::escape::Escape;

/// A JSON text under construction.
#[derive(Debug, Default)]
pub struct Json {
    text: String,
}

impl Json {
    /// Opens an object or array. Inside an array, [`Json::separate`] comes first.
    pub fn open(&mut self, bracket: char) {
        self.text.push(bracket);
    }

    /// Closes it.
    pub fn close(&mut self, bracket: char) {
        self.text.push(bracket);
    }

    /// A comma, unless an object or array was just opened.
    pub fn separate(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    /// A key, whose value the caller writes.
    pub fn key(&mut self, name: &str) {
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.key(name);
        // Writing to a String does not fail.
        let _ = write!(self.text, "{value}");
    }

    /// A number that may be negative.
    pub fn signed(&mut self, name: &str, value: i64) {
        self.key(name);
        let _ = write!(self.text, "{value}");
    }

    /// A number as it is displayed.
    pub fn decimal(&mut self, name: &str, value: impl std::fmt::Display) {
        self.key(name);
        let _ = write!(self.text, "{value}");
    }

    /// A number in an array, as its text.
    pub fn bare(&mut self, number: &str) {
        self.separate();
        self.text.push_str(number);
    }

    /// Nanoseconds as seconds.
    pub fn seconds(&mut self, name: &str, nanoseconds: u64) {
        self.key(name);
        let micros = nanoseconds / 1000;
        let _ = write!(
            self.text,
            "{}.{:06}",
            micros / 1_000_000,
            micros % 1_000_000
        );
    }

    /// A number with a fraction; `null` if it is not finite.
    pub fn float(&mut self, name: &str, value: f64) {
        self.key(name);
        self.fraction(value);
    }

    fn fraction(&mut self, value: f64) {
        let _ = match value.is_finite() {
            true => write!(self.text, "{:?}", (value * 1e6).round() / 1e6),
            false => write!(self.text, "null"),
        };
    }

    /// An array of numbers.
    pub fn numbers(&mut self, name: &str, values: impl IntoIterator<Item = u64>) {
        self.key(name);
        self.number_array(values);
    }

    /// An array of numbers as an element of an array.
    pub fn number_element(&mut self, values: impl IntoIterator<Item = u64>) {
        self.separate();
        self.number_array(values);
    }

    fn number_array(&mut self, values: impl IntoIterator<Item = u64>) {
        self.open('[');
        for value in values {
            self.separate();
            let _ = write!(self.text, "{value}");
        }
        self.close(']');
    }

    /// An array of numbers with fractions.
    pub fn floats(&mut self, name: &str, values: impl IntoIterator<Item = f64>) {
        self.key(name);
        self.open('[');
        for value in values {
            self.separate();
            self.fraction(value);
        }
        self.close(']');
    }

    /// A text of any bytes: those that are no UTF-8 are read as latin-1.
    pub fn text(&mut self, name: &str, value: &[u8]) {
        self.key(name);
        self.quoted(value);
    }

    /// An array of texts.
    pub fn texts(&mut self, name: &str, values: &[String]) {
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

    /// A truth value.
    pub fn truth(&mut self, name: &str, value: bool) {
        self.key(name);
        self.text.push_str(if value { "true" } else { "false" });
    }

    /// No value.
    pub fn null(&mut self, name: &str) {
        self.key(name);
        self.text.push_str("null");
    }

    /// Appends the JSON text as one line.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bare_and_have_commas_between_them() {
        let mut json = Json::default();
        json.open('{');
        json.numbers("a", [1, 2, u64::MAX]);
        json.floats("b", [0.0, 1.25, -0.5, 0.1 + 0.2, f64::NAN, f64::INFINITY]);
        json.float("c", 1_790_000_000.123_456_7);
        json.key("d");
        json.open('[');
        json.number_element([]);
        json.number_element([7, 8]);
        json.close(']');
        json.close('}');
        let mut out = Vec::new();
        json.finish(&mut out);
        let expected = "{\"a\":[1,2,18446744073709551615],\"b\":[0.0,1.25,-0.5,0.3,null,null],\
                        \"c\":1790000000.123457,\"d\":[[],[7,8]]}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
