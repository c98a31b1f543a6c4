//! Words of a command line in one text, as Python's `shlex.split` finds them.

/// Why a text is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// It ends inside quotes.
    Quotation,
    /// It ends with a backslash.
    Escape,
}

impl Unfinished {
    /// What to do.
    pub(crate) fn requirement(self) -> &'static str {
        match self {
            Self::Quotation => "has a quotation mark that is not closed",
            Self::Escape => "ends with a backslash that escapes nothing",
        }
    }
}

/// Splits a text at blanks. Single quotes keep everything, double quotes everything but backslashes before `"` and
/// backslashes; elsewhere a backslash keeps the next character. There are no comments, variables or patterns.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Unfinished> {
    let mut words = Vec::new();
    // Quotes alone make a word, although it is empty.
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' | '"' => quoted(character, &mut rest, word.get_or_insert_default())?,
            '\\' => {
                let escaped = rest.next().ok_or(Unfinished::Escape)?;
                word.get_or_insert_default().push(escaped);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(
    quote: char,
    rest: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), Unfinished> {
    while let Some(character) = rest.next() {
        match character {
            found if found == quote => return Ok(()),
            '\\' if quote == '"' => {
                let escaped = rest.next().ok_or(Unfinished::Escape)?;
                if !['"', '\\'].contains(&escaped) {
                    word.push('\\');
                }
                word.push(escaped);
            }
            other => word.push(other),
        }
    }
    Err(Unfinished::Quotation)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3.11's shlex.split gives.
    #[test]
    fn words_are_split_as_in_python() {
        let cases: [(&str, Result<&[&str], Unfinished>); 16] = [
            ("", Ok(&[])),
            ("  \t\n ", Ok(&[])),
            ("-w 3", Ok(&["-w", "3"])),
            (
                "--bind=a:1\r\n--threads  2",
                Ok(&["--bind=a:1", "--threads", "2"]),
            ),
            ("-n 'a b'", Ok(&["-n", "a b"])),
            ("-n \"a b\"", Ok(&["-n", "a b"])),
            ("-n a\\ b", Ok(&["-n", "a b"])),
            ("--name='a'\"b\"c", Ok(&["--name=abc"])),
            ("-e A='' ''", Ok(&["-e", "A=", ""])),
            (
                "'a\\b' \"a\\b\" \"a\\\"b\" \"a\\\\b\" a\\b",
                Ok(&["a\\b", "a\\b", "a\"b", "a\\b", "ab"]),
            ),
            ("a#b # c", Ok(&["a#b", "#", "c"])),
            ("$HOME *", Ok(&["$HOME", "*"])),
            ("'a", Err(Unfinished::Quotation)),
            ("a\"b c", Err(Unfinished::Quotation)),
            ("a\\", Err(Unfinished::Escape)),
            ("\"a\\", Err(Unfinished::Escape)),
        ];
        for (text, expected) in cases {
            let expected =
                expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(split(text), expected, "{text:?}");
        }
    }
}
