//! The explanations of log messages: the data file, its check, its update and the page made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Found, Level};

/// What a message means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The text of the message, with its placeholders.
    pub text: String,
    /// Why it is written.
    pub cause: String,
    /// What to do.
    pub action: String,
}

/// Every explanation, by text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanations {
    /// In the order of the file.
    pub list: Vec<Explanation>,
}

/// Texts at least this similar are one text that was changed.
const SIMILAR: f64 = 0.6;

const UPDATE: &str = "run `cargo run -p xtask -- messages`, fill in what it leaves empty in docs/messages.toml, and run `make docs`";

const HEAD: &str = "\
# What each log message of level warning and above means. The texts are those of the source, with a placeholder for each
# value. `cargo run -p xtask -- messages` adds, renames and removes entries after the source has changed; `make docs`
# writes docs/reference/messages.md from this file.
";

const INTRODUCTION: &str = "\
<!-- Generated from docs/messages.toml and the source by `make docs`. Do not edit. -->

# Log messages

Every message of level warning, error and critical that the server writes to its error log, with its cause and what to do.
`{name}` stands for a value.
Long messages end with details that are not shown here, such as a traceback, a count of suppressed repetitions or the name of the setting.
What the application logs itself, and the traceback below an error of the application, is not listed.
";

impl Explanations {
    /// Reads the data file.
    ///
    /// # Errors
    ///
    /// The file is not TOML, or an entry has other keys than `text`, `cause` and `action`.
    pub fn read(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let entries = match table.get("message") {
            Some(toml::Value::Array(entries)) => entries.clone(),
            Some(_) => return Err("`message` is not a list of tables".to_owned()),
            None => Vec::new(),
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry.as_table().cloned().unwrap_or_default();
            let field = |name: &str| {
                let value = entry.get(name).and_then(toml::Value::as_str);
                value
                    .map(str::to_owned)
                    .ok_or_else(|| format!("an entry has no `{name}`: {entry}"))
            };
            list.push(Explanation {
                text: field("text")?,
                cause: field("cause")?,
                action: field("action")?,
            });
        }
        Ok(Self { list })
    }

    /// The data file.
    pub fn write(&self) -> String {
        let mut out = String::from(HEAD);
        for entry in &self.list {
            let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
            // Writing to a String does not fail.
            let _ = write!(
                out,
                "\n[[message]]\ntext = {}\ncause = {}\naction = {}\n",
                quoted(&entry.text),
                quoted(&entry.cause),
                quoted(&entry.action)
            );
        }
        out
    }

    fn of(&self, text: &str) -> Option<&Explanation> {
        self.list.iter().find(|entry| entry.text == text)
    }
}

/// Messages without an explanation, explanations without a message, and calls whose text cannot be found.
pub fn unexplained(found: &Found, explanations: &Explanations) -> Vec<String> {
    let mut problems = Vec::new();
    for (text, message) in &found.messages {
        let place = format!("{}:{}", message.path, message.line);
        match explanations.of(text) {
            None => problems.push(format!(
                "{place}: the message `{text}` has no explanation: {UPDATE}"
            )),
            Some(entry) if entry.cause.is_empty() || entry.action.is_empty() => {
                problems.push(format!("docs/messages.toml: `{text}` has no cause or no action: fill it in, and run `make docs`"));
            }
            Some(_) => {}
        }
    }
    for entry in &explanations.list {
        if !found.messages.contains_key(&entry.text) {
            problems.push(format!(
                "docs/messages.toml: no message has the text `{}`: {UPDATE}",
                entry.text
            ));
        }
    }
    for place in &found.unknown {
        problems.push(format!(
            "{place}: this message has no fixed text: begin it with words at the call"
        ));
    }
    problems
}

/// The explanations for the messages of the source: texts that were changed keep their explanation, new ones get an
/// empty one, and those without a message go. Also what was changed.
pub fn updated(found: &Found, explanations: &Explanations) -> (Explanations, Vec<String>) {
    let mut report = Vec::new();
    let mut stale: Vec<&Explanation> = (explanations.list.iter())
        .filter(|entry| !found.messages.contains_key(&entry.text))
        .collect();
    let missing: BTreeSet<&String> = (found.messages.keys())
        .filter(|text| explanations.of(text).is_none())
        .collect();
    // The most similar pairs first.
    let mut pairs: Vec<(f64, &String, &str)> = Vec::new();
    for text in &missing {
        for entry in &stale {
            let similarity = strsim::normalized_levenshtein(text, &entry.text);
            if similarity >= SIMILAR {
                pairs.push((similarity, text, &entry.text));
            }
        }
    }
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut renamed: Vec<(&String, &Explanation)> = Vec::new();
    for (_, text, old) in pairs {
        let is_done = renamed.iter().any(|(done, _)| *done == text);
        if let Some(at) = stale
            .iter()
            .position(|entry| entry.text == old)
            .filter(|_| !is_done)
        {
            report.push(format!("changed: `{old}`\n     to: `{text}`"));
            renamed.push((text, stale.remove(at)));
        }
    }
    let list = found.messages.keys().map(|text| {
        let known = explanations.of(text);
        let known = known.or_else(|| {
            renamed
                .iter()
                .find(|(own, _)| *own == text)
                .map(|(_, entry)| *entry)
        });
        if known.is_none() {
            report.push(format!("new: `{text}`"));
        }
        Explanation {
            text: text.clone(),
            ..known.cloned().unwrap_or_default()
        }
    });
    let list = list.collect();
    report.extend(
        stale
            .iter()
            .map(|entry| format!("removed: `{}`", entry.text)),
    );
    (Explanations { list }, report)
}

/// The page `docs/reference/messages.md`.
pub fn page(found: &Found, explanations: &Explanations) -> String {
    let mut page = String::from(INTRODUCTION);
    for level in Level::ALL {
        // Writing to a String does not fail.
        let _ = write!(page, "\n## {}\n", level.name());
        let messages = found
            .messages
            .iter()
            .filter(|(_, message)| message.level == level);
        for (text, _) in messages {
            let Some(entry) = explanations
                .of(text)
                .filter(|entry| !entry.cause.is_empty())
            else {
                continue;
            };
            let _ = write!(
                page,
                "\n### `{}`\n\n{}\n\n- What to do: {}\n",
                text.replace('`', "'"),
                entry.cause.replace(". ", ".\n"),
                entry.action
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Message;

    fn found(texts: &[&str]) -> Found {
        let message = |text: &&str| {
            let message = Message {
                level: Level::Error,
                path: "a.rs".to_owned(),
                line: 7,
            };
            ((*text).to_owned(), message)
        };
        Found {
            messages: texts.iter().map(message).collect(),
            unknown: BTreeSet::new(),
        }
    }

    fn explanation(text: &str) -> Explanation {
        Explanation {
            text: text.to_owned(),
            cause: format!("Cause of {text}."),
            action: "Wait.".to_owned(),
        }
    }

    fn explanations(texts: &[&str]) -> Explanations {
        Explanations {
            list: texts.iter().map(|text| explanation(text)).collect(),
        }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let mut written = explanations(&["cannot \"open\" {path}: {error}", "a\\b"]);
        written.list[1].action = String::new();
        assert_eq!(Explanations::read(&written.write()), Ok(written));
        assert!(Explanations::read("[[message]]\ntext = 'a'\n").is_err());
    }

    #[test]
    fn a_message_without_an_explanation_and_an_explanation_without_a_message_are_found() {
        let problems = |messages: &[&str], texts: &[&str]| {
            unexplained(&found(messages), &explanations(texts)).len()
        };
        assert_eq!(problems(&["a", "b"], &["a", "b"]), 0);
        assert_eq!(problems(&["a", "b"], &["a"]), 1);
        assert_eq!(problems(&["a"], &["a", "b"]), 1);
        let mut empty = explanations(&["a"]);
        empty.list[0].cause = String::new();
        assert_eq!(unexplained(&found(&["a"]), &empty).len(), 1);
        let mut unknown = found(&[]);
        unknown.unknown.insert("a.rs:1".to_owned());
        assert_eq!(unexplained(&unknown, &explanations(&[])).len(), 1);
    }

    #[test]
    fn a_changed_text_keeps_its_explanation() {
        let (now, report) = updated(
            &found(&["cannot open the file {path}", "something new", "same"]),
            &explanations(&["same", "cannot open {path}", "this is gone"]),
        );
        let causes: Vec<_> = now.list.iter().map(|entry| entry.cause.as_str()).collect();
        assert_eq!(
            causes,
            ["Cause of cannot open {path}.", "Cause of same.", ""]
        );
        assert_eq!(report.len(), 3, "{report:?}");
    }

    #[test]
    fn the_page_has_each_message_under_its_level() {
        let page = page(&found(&["a", "b"]), &explanations(&["b"]));
        assert!(page.contains("\n## ERROR\n\n### `b`\n\nCause of b.\n\n- What to do: Wait.\n"));
        assert!(!page.contains("### `a`"));
    }
}
