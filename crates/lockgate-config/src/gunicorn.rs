//! gunicorn's side of the configuration: its file in Python, its hooks, and what its settings mean here.

use std::fmt;
use std::path::{Path, PathBuf};

mod hooks;
pub use hooks::HookName;

mod worker_class;
pub use worker_class::WorkerClass;

pub(crate) mod cfg;
pub(crate) mod page;
pub(crate) mod threads;

pub(crate) mod command_arguments;
pub(crate) mod evaluated;
pub(crate) mod foreign;
mod names;
mod nearest;
mod shell_words;

/// What a configuration written for gunicorn asks for, beyond settings that Lockgate has too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GunicornConfig {
    /// The configuration file in Python.
    pub conf: Option<ConfSource>,
    /// What the file contained when it was evaluated. Processes that start later execute this, so that a file that was
    /// changed takes effect at a reload, as in gunicorn, and a broken one ends no worker.
    pub conf_text: Option<String>,
    /// The hooks that it defines, in the order of [`HookName::ALL`].
    pub hooks: Vec<HookName>,
    /// `logger_class`: the path of a class of loggers.
    pub logger_class: Option<String>,
    /// `logconfig`: a file for `logging.config.fileConfig`.
    pub logconfig: Option<PathBuf>,
    /// `logconfig_json`: a file with a dictionary for `logging.config.dictConfig`.
    pub logconfig_json: Option<PathBuf>,
    /// Whether the file has a `logconfig_dict`.
    pub has_logconfig_dict: bool,
    /// `worker_class`, if one is given.
    pub worker_class: Option<WorkerClass>,
}

impl GunicornConfig {
    /// What the file defines that no other source can: its hooks, and a dictionary for logging.
    pub(crate) fn definitions(&self) -> Option<String> {
        let dictionary = self.has_logconfig_dict.then_some("logconfig_dict");
        let hooks = self.hooks.iter().map(|hook| hook.name());
        let names: Vec<&str> = hooks.chain(dictionary).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Makes relative paths absolute: the file's is relative to `start`, the others to `directory`.
    pub(crate) fn make_absolute(&mut self, start: &Path, directory: &Path) {
        if let Some(ConfSource::File(path)) = &mut self.conf {
            *path = start.join(&*path);
        }
        let files = [&mut self.logconfig, &mut self.logconfig_json];
        for path in files.into_iter().flatten() {
            *path = directory.join(&*path);
        }
    }
}

/// Where a configuration in Python is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfSource {
    /// A file.
    File(PathBuf),
    /// A module that is imported: `python:MODULE`.
    Module(String),
}

impl fmt::Display for ConfSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Module(module) => write!(f, "python:{module}"),
        }
    }
}
