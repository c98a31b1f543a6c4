//! Plain English: words that hide the technical term, and what to write instead.
//!
//! The rule reads comments, documentation, texts and names alike; `a_thread_is_told` counts as four words.

use super::Violation;

/// A word or phrase in lower case, and the plain alternative.
const WORDS: &[(&str, &str)] = &[
    (
        "whoever",
        "name the thing: the client that, the worker that",
    ),
    ("whomever", "name the thing"),
    ("nobody", "name the thing, with `no`: no client, no thread"),
    ("somebody", "name the thing: another process, a user"),
    ("everybody", "name the thing: every user, every process"),
    ("anybody", "name the thing: any user, any process"),
    ("those who", "name the thing: the clients that"),
    ("he who", "name the thing"),
    ("anew", "again"),
    ("told", "logged, reported, sent, notified, passed"),
    ("let go", "released"),
    ("lets go", "releases"),
    ("letting go", "releasing"),
    ("lets it go", "releases it"),
    ("so many", "the number: N, this many, that number of"),
    ("so long", "the time: that long, for that time"),
    ("so much", "the amount: that much"),
    (
        "knows no",
        "leave the sentence out, or say what it depends on",
    ),
    (
        "knows nothing",
        "leave the sentence out, or say what it depends on",
    ),
    ("decides no", "leave the sentence out, or say what decides"),
    (
        "decides nothing",
        "leave the sentence out, or say what decides",
    ),
    ("judges no", "leave the sentence out, or say what decides"),
    (
        "judges nothing",
        "leave the sentence out, or say what decides",
    ),
    ("deaf", "ignores"),
    ("bury", "reap"),
    ("buries", "reaps"),
    ("buried", "reaped"),
    (
        "stranger",
        "name it: a reparented process, a foreign thread",
    ),
    (
        "strangers",
        "name them: reparented processes, foreign threads",
    ),
    ("thereby", "leave it out"),
    ("as you like", "at your option"),
];

/// What may follow a phrase that is good English with it.
const FINE: &[(&str, &str)] = &[
    ("so long", " as "),
    ("so much", " as "),
    ("so many", " as "),
];

/// The account of that name.
const ACCOUNT: &[&str] = &["user nobody", "\"nobody\"", "`nobody`"];

/// Parts of the repository that still have such words, and how many. The aim is that none is left.
const EXCEPTIONS: &[(&str, usize)] = &[];

/// Whether the rule reads the file: not samples, nor records of measurements, nor the list of words itself. Log
/// messages are read where they are written, and not where they are explained.
pub fn has_prose(path: &str) -> bool {
    let is_foreign = [
        "corpus/",
        "bench/runs/",
        "fuzz/corpus/",
        "docs/messages.toml",
        "docs/reference/messages.md",
    ]
    .iter()
    .any(|folder| path.starts_with(folder));
    let is_text = [".rs", ".py", ".pyi", ".md", ".toml", ".service", ".socket"]
        .iter()
        .any(|end| path.ends_with(end));
    (is_text || path == "Makefile") && !is_foreign && path != "xtask/src/tidy/words.rs"
}

/// The files use the plain words of the list.
pub fn plain_words(files: &[(String, String)]) -> Vec<Violation> {
    judged(files, EXCEPTIONS)
}

fn judged(files: &[(String, String)], exceptions: &[(&str, usize)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut excepted: Vec<Vec<Violation>> = exceptions.iter().map(|_| Vec::new()).collect();
    for (path, text) in files {
        let own = exceptions
            .iter()
            .position(|(part, _)| path.starts_with(part));
        let target = own.map_or(&mut violations, |index| &mut excepted[index]);
        target.extend(in_file(path, text));
    }
    for ((part, most), found) in exceptions.iter().zip(excepted) {
        let count = found.len();
        if count > *most {
            violations.extend(found);
        }
        if count > *most || count == 0 {
            let message = if count == 0 {
                format!("no such word is left in {part}: remove its exception")
            } else {
                format!("{count} such words are in {part}, where {most} were left: no new ones")
            };
            violations.push(Violation::new("xtask/src/tidy/words.rs", 1, message));
        }
    }
    violations
}

fn in_file(path: &str, text: &str) -> Vec<Violation> {
    let prose = Prose::of(text);
    let mut found = Vec::new();
    for (phrase, plain) in WORDS {
        for (at, _) in prose.lower.match_indices(phrase) {
            if prose.is_whole(at, phrase) && !prose.is_fine(at, phrase) {
                let message = format!("`{phrase}`: write plain English ({plain})");
                found.push(Violation::new(path, prose.line_of(at), message));
            }
        }
    }
    found.sort_by_key(|violation| violation.line);
    found
}

/// A text with single spaces, so that a phrase is found across line ends and comment marks.
struct Prose {
    text: String,
    /// The same in lower case.
    lower: String,
    /// Where each line begins in it.
    starts: Vec<usize>,
}

impl Prose {
    fn of(text: &str) -> Self {
        let mut prose = String::with_capacity(text.len());
        let mut starts = Vec::new();
        for line in text.lines() {
            starts.push(prose.len());
            let marks = ['/', '!', '#', '>', '*'];
            let line = line.trim_start().trim_start_matches(marks);
            let line = line.trim_end().trim_end_matches('\\');
            for word in line.split(|character: char| character == '_' || character.is_whitespace())
            {
                if !word.is_empty() {
                    prose.push_str(word);
                    prose.push(' ');
                }
            }
        }
        Self {
            lower: prose.to_ascii_lowercase(),
            text: prose,
            starts,
        }
    }

    /// Whether the phrase is whole words there, and not part of a name such as `NoBody`.
    fn is_whole(&self, at: usize, phrase: &str) -> bool {
        let is_letter = |character: char| character.is_alphanumeric();
        let end = at + phrase.len();
        let is_name = self.text.as_bytes()[at..end]
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        !self.text[..at].ends_with(is_letter)
            && !self.text[end..].starts_with(is_letter)
            && !is_name
    }

    fn is_fine(&self, at: usize, phrase: &str) -> bool {
        let after = &self.lower[at + phrase.len()..];
        let is_account = ACCOUNT.iter().any(|account| {
            let begin = account
                .find(phrase)
                .and_then(|inside| at.checked_sub(inside));
            begin.is_some_and(|begin| self.lower[begin..].starts_with(account))
        });
        let mut fine = FINE.iter().filter(|(fine, _)| *fine == phrase);
        is_account || fine.any(|(_, next)| after.starts_with(next))
    }

    fn line_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_comments_texts_names_and_across_lines() {
        let table: &[(&str, &[usize])] = &[
            ("/// Nobody waits.", &[1]),
            ("let a = \"opens it anew\";", &[1]),
            ("a\n/// The thread is\n/// told.\n", &[3]),
            ("# It was so\n# many times.", &[1]),
            ("message = \"lets \\\n    go\"", &[1]),
            ("fn a_page_has_nobody_on_it() {}", &[1]),
            ("It is untold, and so long as it lasts.", &[]),
            ("renewed, stole, so longer", &[]),
            ("NoBody, user nobody, \"nobody\" and `nobody`", &[]),
            ("Nobody\nNOBODY", &[1, 2]),
            ("whoever\n\nsomebody", &[1, 3]),
        ];
        for (text, expected) in table {
            let lines: Vec<usize> = in_file("a.rs", text)
                .iter()
                .map(|found| found.line)
                .collect();
            assert_eq!(lines, *expected, "for {text}");
        }
    }

    #[test]
    fn the_message_has_the_word_and_the_plain_one() {
        let found = in_file("docs/a.md", "\nOpened anew.");
        assert_eq!(
            found[0].to_string(),
            "docs/a.md:2: `anew`: write plain English (again)"
        );
    }

    #[test]
    fn a_part_with_an_exception_may_have_that_many_and_no_more() {
        let files = [
            ("crates/a/src/b.rs".to_owned(), "anew, anew".to_owned()),
            ("docs/b.md".to_owned(), "anew".to_owned()),
        ];
        let found = |exceptions: &[(&str, usize)]| judged(&files, exceptions).len();
        assert_eq!(found(&[]), 3);
        assert_eq!(found(&[("crates/a", 2)]), 1);
        assert_eq!(found(&[("crates/a", 2), ("docs/", 1)]), 0);
        assert_eq!(found(&[("crates/a", 3), ("docs/", 1)]), 0);
        // More than that: each of them is shown. None: the exception is to be removed.
        assert_eq!(found(&[("crates/a", 1), ("docs/", 1)]), 3);
        assert_eq!(found(&[("crates/a", 2), ("docs/", 1), ("tests/", 1)]), 1);
    }

    #[test]
    fn samples_and_measurements_are_not_read() {
        for (path, expected) in [
            ("docs/deploying.md", true),
            ("tests/lifecycle/test_signals.py", true),
            ("Makefile", true),
            ("corpus/http1/valid/a.http", false),
            ("bench/runs/a/README.md", false),
            ("xtask/src/tidy/words.rs", false),
        ] {
            assert_eq!(has_prose(path), expected, "{path}");
        }
    }
}
