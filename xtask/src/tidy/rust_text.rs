//! Rust source as lines with strings blanked and comments set apart. Not a parser: it is enough to find words.

/// One line of a source file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SourceLine {
    /// What the compiler sees, literals blanked.
    pub code: String,
    /// Whether there is an ordinary comment on this line; documentation does not count.
    pub has_comment: bool,
}

/// Splits a file into lines.
pub(super) fn source_lines(text: &str) -> Vec<SourceLine> {
    let mut lines = vec![SourceLine::default()];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let token = token_length(
            rest,
            lines.last().is_some_and(|line| ends_in_word(&line.code)),
        );
        let (token, behind) = rest.split_at(token);
        let is_comment = token.starts_with("//") || token.starts_with("/*");
        let is_documentation = ["///", "//!", "/**", "/*!"]
            .iter()
            .any(|d| token.starts_with(d));
        let is_literal = token.len() > character.len_utf8() && !is_comment;
        for (index, piece) in token.split('\n').enumerate() {
            if index > 0 {
                lines.push(SourceLine::default());
            }
            if let Some(line) = lines.last_mut() {
                line.has_comment |= is_comment && !is_documentation;
                if is_literal {
                    line.code.push_str("\"\"");
                } else if !is_comment {
                    line.code.push_str(piece);
                }
            }
        }
        rest = behind;
    }
    lines
}

/// How many lines lie above the file's test module, which is the last item in a file.
///
/// A file of tests only has none; `#[cfg(test)] mod tests;` keeps its code elsewhere and ends nothing.
pub(super) fn production_length(lines: &[SourceLine]) -> usize {
    if lines
        .iter()
        .any(|line| line.code.starts_with("#![cfg(test)]"))
    {
        return 0;
    }
    let is_test_gate = |line: &SourceLine| {
        let code = line.code.trim_start();
        code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test,")
    };
    let is_attribute = |line: &SourceLine| {
        let code = line.code.trim();
        code.starts_with("#[") && code.ends_with(']')
    };
    let opens_module = |line: &SourceLine| has_word(&line.code, "mod") && line.code.contains('{');
    let mut gates = (0..lines.len()).filter(|&index| is_test_gate(&lines[index]));
    gates
        .find(|&index| {
            lines[index..]
                .iter()
                .find(|line| !is_attribute(line))
                .is_some_and(opens_module)
        })
        .unwrap_or(lines.len())
}

/// Whether `word` occurs in `code` as a whole word.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(place, _)| {
        !code[..place].ends_with(is_part) && !code[place + word.len()..].starts_with(is_part)
    })
}

/// Bytes of the comment or literal at the start of `text`; else of its first character.
fn token_length(text: &str, follows_word: bool) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    let literal = if follows_word {
        None
    } else {
        text.strip_prefix(['b', 'c'])
    }
    .unwrap_or(text);
    let prefix = text.len() - literal.len();
    if let Some(raw) = literal
        .strip_prefix('r')
        .filter(|_| prefix > 0 || !follows_word)
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = prefix + 1 + hashes + 1;
            return text[begin..]
                .find(&end)
                .map_or(text.len(), |at| begin + at + end.len());
        }
        return first;
    }
    if literal.starts_with('"') {
        return prefix + quoted_length(literal, '"');
    }
    // 'a' and '\n' are characters, 'a alone is a lifetime.
    let mut ahead = literal.chars().skip(1);
    let is_character = literal.starts_with('\'')
        && match ahead.next() {
            Some('\\') => true,
            Some('\'') | None => false,
            Some(_) => ahead.next() == Some('\''),
        };
    if is_character {
        prefix + quoted_length(literal, '\'')
    } else {
        first
    }
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (place, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while place < text.len() {
        if text[place..].starts_with("/*") {
            depth += 1;
            place += 2;
        } else if text[place..].starts_with("*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            place += text[place..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|character: char| character.is_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_blanked_and_comments_are_set_apart() {
        let table: &[(&str, &[(&str, bool)])] = &[
            ("let a = 1; // why", &[("let a = 1; ", true)]),
            ("/// doc\n//! doc", &[("", false), ("", false)]),
            ("f(\"// no \\\" unsafe\")", &[("f(\"\")", false)]),
            (
                "f(r#\"a\" // b\"#, b\"x\", br\"y\")",
                &[("f(\"\", \"\", \"\")", false)],
            ),
            ("a(/* b /* c */\nd */ e)", &[("a(", true), (" e)", true)]),
            (
                "fn f<'a>(c: &'a str) { '\"' }",
                &[("fn f<'a>(c: &'a str) { \"\" }", false)],
            ),
            (
                "['\\'', b'\\\\', '/', 'é']",
                &[("[\"\", \"\", \"\", \"\"]", false)],
            ),
            ("\"two\nlines\" x", &[("\"\"", false), ("\"\" x", false)]),
            ("var_r(\"x\") // é", &[("var_r(\"\") ", true)]),
        ];
        for (text, expected) in table {
            let lines = source_lines(text);
            let found: Vec<_> = lines
                .iter()
                .map(|l| (l.code.as_str(), l.has_comment))
                .collect();
            assert_eq!(found, *expected, "for {text}");
        }
    }

    #[test]
    fn production_ends_where_the_test_module_begins() {
        let table: &[(&str, usize)] = &[
            ("a\nb", 2),
            ("a\n#[cfg(test)]\nmod tests {\n}\n", 1),
            ("a\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nb", 5),
            (
                "a\n#[cfg(test)]\n#[allow(x)]\npub(crate) mod tests {\n}\n",
                1,
            ),
            ("//! A.\n#![cfg(test)]\na\n", 0),
            ("a\n#[cfg(all(test, not(loom)))]\nmod tests {\n}\n", 1),
            ("#[cfg(test)] mod tests { }\n", 0),
            ("#[cfg(test)]\nuse a;\nb", 3),
            ("// #[cfg(test)]\nmod b;", 2),
        ];
        for (text, expected) in table {
            assert_eq!(
                production_length(&source_lines(text)),
                *expected,
                "for {text}"
            );
        }
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(has_word("#[unsafe(no_mangle)]", "unsafe"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
        assert!(!has_word("not_unsafe()", "unsafe"));
    }
}
