//! Tables of the file, and what messages about one of them say: which table is meant, and which of its keys.

use crate::notation::quoted;
use crate::raw_value::{Entry, RawValue, ValueError};
use crate::suggestions;

/// A table that is being read.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// What it is, with an article: `a mount`.
    what: &'static str,
    /// The keys that tell it from other tables of its kind, where it has them.
    identity: &'static [&'static str],
    pub(super) entries: &'a [Entry],
}

/// What the tables of one kind have in common.
pub(super) struct TableKind {
    /// What it is, with an article: `a mount`.
    pub(super) what: &'static str,
    /// The keys that tell it from other tables of its kind, where it has them.
    pub(super) identity: &'static [&'static str],
    /// An example, for a value that is none.
    pub(super) example: &'static str,
}

impl TableKind {
    /// The table that this value is.
    pub(super) fn table<'a>(&self, raw: &'a RawValue) -> Result<Table<'a>, ValueError> {
        match raw {
            RawValue::Table(entries) => Ok(Table {
                what: self.what,
                identity: self.identity,
                entries,
            }),
            other => Err(ValueError {
                line: None,
                piece: Some(other.to_string()),
                requirement: format!("must be a table such as {}", self.example),
            }),
        }
    }

    /// The tables of a list; one table is a list of its own.
    pub(super) fn tables<'a>(&self, raw: &'a RawValue) -> Result<Vec<Table<'a>>, ValueError> {
        let items = match raw {
            RawValue::List(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        items.iter().map(|item| self.table(item)).collect()
    }
}

impl Table<'_> {
    /// An error in the value of a key.
    pub(super) fn refuse(&self, entry: &Entry, error: ValueError) -> ValueError {
        let others = self.identity.iter().filter(|name| **name != entry.key);
        let mut pairs: Vec<String> = self
            .entries
            .iter()
            .filter(|other| others.clone().any(|name| *name == other.key))
            .map(|other| format!("{} = {}", key(&other.key), other.value))
            .collect();
        let piece = error.piece.unwrap_or_else(|| entry.value.to_string());
        pairs.push(format!("{} = {piece}", key(&entry.key)));
        ValueError {
            line: error.line.or(entry.line),
            piece: Some(format!("{{ {} }}", pairs.join(", "))),
            requirement: error.requirement,
        }
    }

    /// An error of the table as a whole.
    pub(super) fn incomplete(&self, requirement: impl Into<String>) -> ValueError {
        let pairs: Vec<String> = self
            .entries
            .iter()
            .map(|entry| format!("{} = {}", key(&entry.key), entry.value))
            .collect();
        let piece = match pairs.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{ {} }}", pairs.join(", ")),
        };
        ValueError {
            line: self.entries.first().and_then(|entry| entry.line),
            piece: Some(piece),
            requirement: requirement.into(),
        }
    }

    /// An error of the table as a whole, of which the keys that identify it are shown.
    pub(super) fn place(&self, requirement: &str) -> ValueError {
        let is_identity = |entry: &&Entry| self.identity.contains(&entry.key.as_str());
        let entries: Vec<Entry> = self.entries.iter().filter(is_identity).cloned().collect();
        let shown = match entries.is_empty() {
            true => self.entries,
            false => &entries,
        };
        Table {
            entries: shown,
            ..*self
        }
        .incomplete(requirement)
    }

    /// The error about a key that there is not. `keys` are the names and what to write for each.
    pub(super) fn unknown(&self, entry: &Entry, keys: &[(&str, &str)]) -> ValueError {
        let candidates: Vec<(String, String)> = keys
            .iter()
            .map(|(name, answer)| ((*name).to_owned(), (*answer).to_owned()))
            .collect();
        let own = keys.iter().filter(|(name, answer)| name == answer);
        let own: Vec<&str> = own.map(|(name, _)| *name).collect();
        let advice = match suggestions::suggest(&entry.key, &candidates) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("the keys are {}", own.join(", ")),
        };
        let error = format!("unknown key of {}; {advice}", self.what);
        self.refuse(entry, error.into())
    }
}

/// A key as it is written in the file.
pub(super) fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// A table as it is written in the file.
pub(super) fn inline(pairs: &[String]) -> String {
    match pairs {
        [] => "{}".to_owned(),
        pairs => format!("{{ {} }}", pairs.join(", ")),
    }
}
