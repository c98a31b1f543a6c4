//! What settings are resolved from: every source, as the caller has read it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{ConfSource, Host};

/// Every source of settings.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The command line; the first argument is the program's name.
    pub arguments: &'a [OsString],
    /// The variables of the process.
    pub environment: &'a [(OsString, OsString)],
    /// The configuration file, if there is one.
    pub file: Option<SettingsFile<'a>>,
    /// The keyword arguments of `lockgate.serve`: a JSON object of names and values. They override every other source.
    pub keywords: Option<&'a str>,
    /// The machine.
    pub host: &'a Host,
}

/// A configuration file and its content.
#[derive(Debug, Clone, Copy)]
pub enum SettingsFile<'a> {
    /// lockgate.toml.
    Toml {
        /// As messages name it.
        path: &'a Path,
        /// The content.
        text: &'a str,
    },
    /// gunicorn.conf.py.
    Python {
        /// As messages name it.
        source: &'a ConfSource,
        /// What `lockgate.gunicorn.evaluate` has written: a JSON object with the names that the file binds.
        evaluated: &'a str,
    },
}

/// A configuration file that the operator names. It must exist; the caller reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfSpec {
    /// A file in TOML.
    Toml(PathBuf),
    /// A file or a module in Python.
    Python(ConfSource),
}

impl ConfSpec {
    /// Parses gunicorn's notation: `PATH`, `file:PATH` or `python:MODULE`. The name tells Python from TOML: it ends in
    /// `.py`, or contains `gunicorn` and does not end in `.toml`, because gunicorn executes files of any name.
    pub fn parse(text: &str) -> Self {
        if let Some(module) = text.strip_prefix("python:") {
            return Self::Python(ConfSource::Module(module.to_owned()));
        }
        let path = PathBuf::from(text.strip_prefix("file:").unwrap_or(text));
        let has_extension = |wanted: &str| path.extension().is_some_and(|found| found == wanted);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_gunicorns = name.contains("gunicorn") && !has_extension("toml");
        if has_extension("py") || has_extension("pyc") || is_gunicorns {
            Self::Python(ConfSource::File(path))
        } else {
            Self::Toml(path)
        }
    }
}
