//! The syntax of lists and parameters in header fields: `a; b=c, d; e="f, g"` (RFC 9110, sections 5.6.1 and 5.6.6).

use std::borrow::Cow;

/// The parts of a text between delimiters, without the whitespace around them. A delimiter in a quoted string, which
/// begins after `=`, or between `<` and `>` at the beginning of a part, is none.
pub fn split(text: &str, delimiter: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_part(text, delimiter);
        rest = text.get(end + 1..);
        Some(text[..end].trim_matches(is_space))
    })
}

/// Where the first part ends, at its delimiter or at the end of the text.
fn end_of_part(text: &str, delimiter: char) -> usize {
    let mut closing = None;
    let mut before = delimiter;
    let mut is_escaped = false;
    for (at, character) in text.char_indices() {
        match closing {
            Some(_) if is_escaped => is_escaped = false,
            Some('"') if character == '\\' => is_escaped = true,
            Some(mark) if character == mark => closing = None,
            Some(_) => {}
            None if character == '"' && before == '=' => closing = Some('"'),
            None if character == '<' && before == delimiter => closing = Some('>'),
            None if character == delimiter => return at,
            None => {}
        }
        if !is_space(character) {
            before = character;
        }
    }
    text.len()
}

/// The name and the value of a parameter; `None` without `=`.
pub fn parameter(text: &str) -> Option<(&str, Cow<'_, str>)> {
    let (name, value) = text.split_once('=')?;
    Some((
        name.trim_matches(is_space),
        unquoted(value.trim_matches(is_space)),
    ))
}

/// The text of a quoted string; any other text stays as it is.
fn unquoted(value: &str) -> Cow<'_, str> {
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match quoted {
        None => Cow::Borrowed(value),
        Some(quoted) if !quoted.contains('\\') => Cow::Borrowed(quoted),
        Some(quoted) => {
            let mut characters = quoted.chars();
            let mut text = String::with_capacity(quoted.len());
            while let Some(character) = characters.next() {
                text.push(match character {
                    '\\' => characters.next().unwrap_or('\\'),
                    _ => character,
                });
            }
            Cow::Owned(text)
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoted_delimiters_do_not_split() {
        let table: &[(&str, char, &[&str])] = &[
            ("", ',', &[""]),
            ("a", ',', &["a"]),
            ("a,b", ',', &["a", "b"]),
            (" a ,\tb,", ',', &["a", "b", ""]),
            ("a; b=\"c,d\", e", ',', &["a; b=\"c,d\"", "e"]),
            ("a; b= \"c,d\", e", ',', &["a; b= \"c,d\"", "e"]),
            ("a=\"b\\\",c\",d", ',', &["a=\"b\\\",c\"", "d"]),
            ("it's 5\", b", ',', &["it's 5\"", "b"]),
            ("a=\"b,c", ',', &["a=\"b,c"]),
            ("</a,b>; c, d", ',', &["</a,b>; c", "d"]),
            ("a, </b,c>", ',', &["a", "</b,c>"]),
            ("a<b,c>d", ',', &["a<b", "c>d"]),
            ("</a;b>; c", ';', &["</a;b>", "c"]),
        ];
        for (text, delimiter, expected) in table {
            let parts: Vec<&str> = split(text, *delimiter).collect();
            assert_eq!(parts, *expected, "{text:?}");
        }
    }

    #[test]
    fn a_value_is_a_token_or_a_quoted_string() {
        for (text, expected) in [
            ("a=b", Some(("a", "b"))),
            (" a = b ", Some(("a", "b"))),
            ("a=", Some(("a", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            ("a=\"b \\\"c\\\" \\\\\"", Some(("a", "b \"c\" \\"))),
            ("a=\"b", Some(("a", "\"b"))),
            ("a=\"", Some(("a", "\""))),
            ("a=\"b\\\"", Some(("a", "b\\"))),
            ("a", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, value)| (name, Cow::Borrowed(value)));
            assert_eq!(parameter(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_split_without_panic(text: String) {
            for part in split(&text, ',').flat_map(|part| split(part, ';')) {
                let _ = parameter(part);
            }
        }
    }
}
