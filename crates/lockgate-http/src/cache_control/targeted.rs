//! CDN-Cache-Control (RFC 9213): cache directives for caches near the server, a Dictionary Structured Field (RFC 9651).

use super::{Directives, MOST_SECONDS, Scope};

/// What a member of the dictionary has as its value.
#[derive(Clone, Copy)]
enum Value {
    Boolean(bool),
    Integer(i64),
    Other,
}

/// The directives of all values of CDN-Cache-Control; `None` if there are none, or they are not a valid dictionary. The
/// field is then ignored, and Cache-Control counts (RFC 9213 §2.2).
///
/// Of members of one name the last one counts, as in every dictionary. A directive whose value has another type than it
/// must have is ignored.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Directives<'static>> {
    let mut directives = Directives::default();
    let mut has_member = false;
    for value in values {
        let mut text = Text(trim_spaces(value));
        while !text.0.is_empty() {
            let (key, value) = text.member()?;
            set(&mut directives, key, value);
            has_member = true;
            text.skip(|byte| matches!(byte, b' ' | b'\t'));
            if text.0.is_empty() {
                break;
            }
            text.take(b',')?;
            text.skip(|byte| matches!(byte, b' ' | b'\t'));
            // RFC 9651 §4.2.2: a comma at the end is an error.
            if text.0.is_empty() {
                return None;
            }
        }
    }
    has_member.then_some(directives)
}

fn set(directives: &mut Directives<'static>, key: &[u8], value: Value) {
    let seconds = match value {
        Value::Integer(number) => Some(u64::try_from(number).unwrap_or(0).min(MOST_SECONDS)),
        _ => None,
    };
    let is_set = matches!(value, Value::Boolean(true));
    let scope = is_set.then_some(Scope::Response);
    match key {
        b"max-age" => directives.max_age = seconds,
        b"s-maxage" => directives.s_maxage = seconds,
        b"stale-while-revalidate" => directives.stale_while_revalidate = seconds,
        b"stale-if-error" => directives.stale_if_error = seconds,
        b"no-cache" => directives.no_cache = scope,
        b"private" => directives.private = scope,
        b"no-store" => directives.no_store = is_set,
        b"no-transform" => directives.no_transform = is_set,
        b"public" => directives.public = is_set,
        b"must-revalidate" => directives.must_revalidate = is_set,
        b"proxy-revalidate" => directives.proxy_revalidate = is_set,
        b"must-understand" => directives.must_understand = is_set,
        b"immutable" => directives.immutable = is_set,
        _ => {}
    }
}

fn trim_spaces(value: &[u8]) -> &[u8] {
    let start = value
        .iter()
        .position(|&byte| byte != b' ')
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|&byte| byte != b' ')
        .map_or(start, |last| last + 1);
    &value[start..end]
}

/// What is left to parse (RFC 9651 §4.2). Each function returns `None` for what is not valid.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn member(&mut self) -> Option<(&'a [u8], Value)> {
        let key = self.key()?;
        let value = match self.0.first() {
            Some(b'=') => {
                self.0 = &self.0[1..];
                self.item_or_inner_list()?
            }
            _ => Value::Boolean(true),
        };
        self.parameters()?;
        Some((key, value))
    }

    fn item_or_inner_list(&mut self) -> Option<Value> {
        if self.0.first() != Some(&b'(') {
            return self.bare_item();
        }
        self.0 = &self.0[1..];
        loop {
            self.skip(|byte| byte == b' ');
            if self.take(b')').is_some() {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            matches!(self.0.first(), Some(b' ' | b')')).then_some(())?;
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';').is_some() {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=').is_some() {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<Value> {
        match self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => {
                self.0 = &self.0[1..];
                self.string()?;
                Some(Value::Other)
            }
            b':' => {
                self.0 = &self.0[1..];
                self.skip(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
                });
                self.take(b':')?;
                Some(Value::Other)
            }
            b'?' => {
                let (value, rest) = (*self.0.get(1)?, self.0.get(2..)?);
                self.0 = rest;
                matches!(value, b'0' | b'1').then_some(Value::Boolean(value == b'1'))
            }
            b'@' => {
                self.0 = &self.0[1..];
                match self.number()? {
                    Value::Integer(_) => Some(Value::Other),
                    _ => None,
                }
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.skip(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3 digits.
    fn number(&mut self) -> Option<Value> {
        let is_negative = self.take(b'-').is_some();
        let digits = self.skip(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.').is_some() {
            let places = self.skip(|byte| byte.is_ascii_digit());
            let is_valid = digits.len() <= 12 && (1..=3).contains(&places.len());
            return is_valid.then_some(Value::Other);
        }
        let number = digits
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if is_negative { -number } else { number }))
    }

    /// After the opening quote: up to the closing one.
    fn string(&mut self) -> Option<()> {
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(()),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    matches!(escaped, b'"' | b'\\').then_some(())?;
                }
                0x20..=0x7e => {}
                _ => return None,
            }
        }
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        matches!(self.0.first(), Some(b'*' | b'a'..=b'z')).then_some(())?;
        Some(self.skip(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        }))
    }

    /// Takes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Takes the bytes for which `is_taken` returns true.
    fn skip(&mut self, is_taken: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .0
            .iter()
            .position(|&byte| !is_taken(byte))
            .unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn max_age(value: &str) -> Option<Option<u64>> {
        parse([value.as_bytes()]).map(|directives| directives.max_age)
    }

    #[test]
    fn a_dictionary_is_read_as_a_structured_field() {
        for (value, expected) in [
            ("max-age=60", Some(Some(60))),
            ("max-age=60, foobar", Some(Some(60))),
            ("foobar,max-age=60;a=b", Some(Some(60))),
            ("max-age=2147483648", Some(Some(MOST_SECONDS))),
            ("max-age=99999999999", Some(Some(MOST_SECONDS))),
            ("max-age=-1", Some(Some(0))),
            ("max-age=1, max-age=2", Some(Some(2))),
            ("x=(a \"b\";c 1.5), max-age=3 ", Some(Some(3))),
            ("x=:YQ==:, y=?0, z=@5, max-age=4", Some(Some(4))),
            // Values of another type are ignored.
            ("max-age", Some(None)),
            ("max-age=\"60\"", Some(None)),
            ("max-age=60.5", Some(None)),
            ("max-age=(60)", Some(None)),
            // These are no dictionaries.
            ("", None),
            ("max-age =60", None),
            ("max-age= 60", None),
            ("max-age=60, &&&", None),
            ("max-age=60,", None),
            ("max-age=60 no-store", None),
            ("MaX-aGe=60", None),
            ("max-age=1234567890123456", None),
            ("max-age=-", None),
            ("max-age=60.", None),
            ("a=\"b", None),
            ("a=\"\\x\"", None),
            ("a=(1", None),
            ("a=?2", None),
            ("a=@1.5", None),
        ] {
            assert_eq!(max_age(value), expected, "{value}");
        }
    }

    #[test]
    fn flags_are_booleans() {
        let directives = parse([&b"no-store, private=?0"[..], b"no-cache, must-revalidate"]);
        let expected = Directives {
            no_store: true,
            no_cache: Some(Scope::Response),
            must_revalidate: true,
            ..Directives::default()
        };
        assert_eq!(directives, Some(expected));
        assert_eq!(parse([]), None);
    }
}
