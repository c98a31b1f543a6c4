//! A value that its setting accepts and this machine cannot use, such as a file that is missing.

use std::fmt;

use crate::{Origin, Origins};

/// A value that its setting accepts and this machine cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableValue {
    /// The setting's canonical name.
    pub name: &'static str,
    /// As operators write it.
    pub value: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl UnusableValue {
    /// An error of the setting with this canonical name.
    pub fn new(name: &'static str, value: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            name,
            value: value.to_string(),
            problem: problem.to_string(),
        }
    }

    /// The text with the place of the value: `chdir = /srv (from --chdir): …`.
    pub fn with_origin(&self, origins: &Origins) -> String {
        let Self {
            name,
            value,
            problem,
        } = self;
        match origins.of(name) {
            Origin::Default => self.to_string(),
            origin => format!("{name} = {value} (from {origin}): {problem}"),
        }
    }
}

impl std::error::Error for UnusableValue {}

impl fmt::Display for UnusableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.name, self.value, self.problem)
    }
}
