//! The house rules as checks. Each takes a path and a text and returns the violations of its rule.
//!
//! Paths are relative to the repository's root and separated by `/`.

use std::fmt;

mod cycles;
mod documents;
mod floors;
mod modules;
mod rust_text;
mod sources;
mod words;

pub use cycles::module_cycles;
pub use documents::{change_fragment, decision_index, links};
pub use floors::{dependency_floors, floor_zero_bans};
pub use modules::ModuleGraph;
pub(crate) use modules::is_test;
pub use sources::{
    file_length, forbids_unsafe, module_documentation, module_names, unproven_unwraps, unsafe_rooms,
};
pub use words::{has_prose, plain_words};

/// One violation of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file.
    pub path: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do, in one sentence.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The crate that a path lies in: `crates/lockgate-http/src/lib.rs` gives `lockgate-http`.
fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}
