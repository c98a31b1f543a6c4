//! The origin of a value, as messages name it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::ConfSource;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// The default: no source gave a value.
    #[default]
    Default,
    /// An environment variable: `LOCKGATE_WORKERS`, or one that the platform sets (`WEB_CONCURRENCY`, `PORT`).
    Variable(String),
    /// A line of the configuration file; lines count from 1.
    File {
        /// The file, as the caller named it.
        path: PathBuf,
        /// The line that holds the value.
        line: usize,
    },
    /// A name in a configuration in Python.
    Conf {
        /// The file or module, as the caller named it.
        source: ConfSource,
        /// The line that binds the name, if it is known.
        line: Option<usize>,
    },
    /// A flag, by its first long spelling: `--workers`.
    Flag(String),
    /// A flag in the variable GUNICORN_CMD_ARGS.
    CommandArguments(String),
    /// The positional argument: the application.
    Argument,
    /// A keyword argument of `lockgate.serve`.
    Keyword(String),
}

impl Origin {
    /// Another line of the same file.
    pub(crate) fn at_line(&self, line: usize) -> Self {
        match self {
            Self::File { path, .. } => Self::File {
                path: path.clone(),
                line,
            },
            other => other.clone(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Conf {
                source,
                line: Some(line),
            } => write!(f, "{source} line {line}"),
            Self::Conf { source, line: None } => write!(f, "{source}"),
            Self::Keyword(name) => write!(f, "serve({name}=…)"),
            Self::Flag(flag) => f.write_str(flag),
            Self::CommandArguments(flag) => write!(f, "{flag} in GUNICORN_CMD_ARGS"),
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
    /// The origin of the setting with this canonical name.
    pub fn of(&self, name: &str) -> &Origin {
        static DEFAULT: Origin = Origin::Default;
        self.given.get(name).unwrap_or(&DEFAULT)
    }

    pub(crate) fn record(&mut self, name: &'static str, origin: Origin) {
        self.given.insert(name, origin);
    }
}
