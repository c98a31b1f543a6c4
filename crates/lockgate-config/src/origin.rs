//! Where a value came from, in the words that messages use. Knows no setting.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody gave it.
    #[default]
    Default,
    /// An environment variable: `LOCKGATE_WORKERS`, or one of the platform's (`WEB_CONCURRENCY`, `PORT`).
    Variable(String),
    /// A line of the configuration file; lines count from 1.
    File {
        /// The file, as the caller named it.
        path: PathBuf,
        /// The line that holds the value.
        line: usize,
    },
    /// A flag, by its first long spelling: `--workers`.
    Flag(String),
    /// The argument that is not a flag: the application.
    Argument,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Argument => f.write_str("the command line"),
        }
    }
}

/// The origin of every setting, by the setting's canonical name.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    given: BTreeMap<&'static str, Origin>,
}

impl Origins {
    /// Where the setting of this canonical name got its value.
    pub fn of(&self, name: &str) -> &Origin {
        static DEFAULT: Origin = Origin::Default;
        self.given.get(name).unwrap_or(&DEFAULT)
    }

    pub(crate) fn record(&mut self, name: &'static str, origin: Origin) {
        self.given.insert(name, origin);
    }
}
