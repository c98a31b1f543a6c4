//! Log messages of the server, found in its source: level, text with placeholders, and where each is written.
//!
//! A message is the argument after a level (`log.write(Level::Error, &message)`), the field beside a field `level`, or
//! the argument of a function that logs its parameter. Its text is followed through variables, constants, branches and
//! functions of the same crate to the literals.

mod explanations;
mod flow;
mod source;
mod template;

pub use explanations::{Explanation, Explanations, page, unexplained, updated};

use std::collections::{BTreeMap, BTreeSet};

use flow::Flow;
use source::Crate;

/// The severity of a message; less severe ones are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server or a worker cannot continue.
    Critical,
    /// Something failed.
    Error,
    /// Something is wrong, but nothing has failed yet.
    Warning,
}

impl Level {
    /// Every level, most severe first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Error, Self::Warning];

    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its severity, the highest if it has several.
    pub level: Level,
    /// The file that writes it.
    pub path: String,
    /// The line of the call.
    pub line: usize,
}

/// The messages by their text, and the calls whose text could not be found.
#[derive(Debug, Default)]
pub struct Found {
    /// By text.
    pub messages: BTreeMap<String, Message>,
    /// `path:line` of calls without any fixed text.
    pub unknown: BTreeSet<String>,
}

/// Files with a call whose text comes from elsewhere.
const DYNAMIC: &[&str] = &[
    // What the application writes to `wsgi.errors`.
    "lockgate-worker/src/log/error_log.rs",
    // Errors of the application, listed where they are logged.
    "lockgate-python/src/worker/warm_up.rs",
    // Which child processes were ended with a worker.
    "lockgate-supervisor/src/child/exit_watch.rs",
    // Errors that are messages themselves; see `flow::ERRORS`.
    "lockgate-supervisor/src/startup.rs",
];

/// The messages of the crates, given the sources of each.
///
/// # Errors
///
/// A file that is not Rust.
pub fn find(crates: &BTreeMap<String, Vec<(String, String)>>) -> syn::Result<Found> {
    let mut found = Found::default();
    for (name, files) in crates {
        if !name.starts_with("lockgate")
            || ["lockgate-observe", "lockgate-http"].contains(&name.as_str())
        {
            continue;
        }
        let parsed = Crate::parse(files)?;
        for site in Flow::new(&parsed).sites() {
            let texts: Vec<String> = (site.texts.iter())
                .map(template::Template::text)
                .filter(|text| template::has_words(text))
                .collect();
            let is_dynamic = DYNAMIC.iter().any(|path| site.path.ends_with(path));
            if texts.is_empty() && site.is_direct && !is_dynamic {
                found.unknown.insert(format!("{}:{}", site.path, site.line));
            }
            for text in texts {
                let message = Message {
                    level: site.level,
                    path: site.path.clone(),
                    line: site.line,
                };
                let known = found
                    .messages
                    .entry(text)
                    .or_insert_with(|| message.clone());
                if message.level < known.level {
                    *known = message;
                }
            }
        }
    }
    Ok(found)
}
