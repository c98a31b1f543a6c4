//! The sources of the settings, kept so that a reload can read them again: arguments, environment and working directory
//! at the start of the server.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lockgate_config::{
    ConfSpec, Config, ConfigError, Inputs, Invocation, Resolved, SettingsFile, admin_address,
    config_path, resolve,
};
use lockgate_observe::AccessFormat;
use lockgate_supervisor::{SERVICE_VARIABLES, ServiceManager};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::host;
use crate::interpreter::exceptions;

/// Read if it exists and no other file is named.
const DEFAULT_FILE: &str = "lockgate.toml";

/// gunicorn's file; not read, but a note is logged if it exists.
const GUNICORN_FILE: &str = "gunicorn.conf.py";

/// A program that serves its own application with a supervisor (`lockgate.serve`).
pub(crate) struct Program {
    /// Its settings, a JSON object.
    pub(crate) keywords: String,
    /// The configuration file that it names.
    pub(crate) config: Option<OsString>,
    /// Whether a configuration file under its usual name counts.
    pub(crate) reads_default_file: bool,
    /// Whether it has created the application, or creates it in each worker.
    pub(crate) has_application: bool,
}

/// The process's inputs before the server changed anything.
pub(crate) struct Sources {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// From `PWD` if that names the same directory: when a deploy switches a symbolic link in the path to another
    /// release, a reload uses the new release.
    directory: Option<PathBuf>,
    service_manager: ServiceManager,
    program: Option<Program>,
}

impl Sources {
    /// `pid` is the process that the service manager started.
    pub(crate) fn new(arguments: &[OsString], pid: u32) -> Self {
        let environment: Vec<_> = std::env::vars_os().collect();
        Self {
            arguments: arguments.to_vec(),
            directory: starting_directory(),
            service_manager: ServiceManager::of(&environment, pid),
            environment,
            program: None,
        }
    }

    /// The inputs of a program that has called `lockgate.serve`. Its command line is its own.
    pub(crate) fn of_program(program: Program) -> Self {
        let mut arguments: Vec<OsString> = vec!["lockgate".into()];
        if let Some(config) = &program.config {
            arguments.extend(["--config".into(), config.clone()]);
        }
        Self {
            program: Some(program),
            ..Self::new(&arguments, std::process::id())
        }
    }

    /// The program that has called `lockgate.serve`, if there is one.
    pub(crate) fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }

    /// All variables at the start.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// The working directory at the start.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What the service manager passed to this process.
    pub(crate) fn service_manager(&self) -> &ServiceManager {
        &self.service_manager
    }

    /// The variables that settings are read from, without sockets that were passed to another process.
    fn settings_environment(&self) -> Vec<(OsString, OsString)> {
        let has_sockets = !self.service_manager.sockets.is_empty();
        let variables = self.environment.iter();
        variables
            .filter(|(name, _)| has_sockets || name != "LISTEN_FDS")
            .cloned()
            .collect()
    }

    /// Reads all settings.
    ///
    /// # Errors
    /// With every error that the operator has to correct: which value, from where, what to do.
    pub(crate) fn read(&self) -> Result<Resolved, Vec<String>> {
        let environment = self.settings_environment();
        let file = self.read_file(config_path(&self.arguments, &environment));
        let resolved = resolve(&Inputs {
            arguments: &self.arguments,
            environment: &environment,
            file: file.as_ref().ok().and_then(as_source),
            keywords: self.program().map(|program| program.keywords.as_str()),
            host: &host::facts(),
        });
        let is_configured = matches!(file, Ok(Some(_)));
        let mut errors: Vec<String> = file.err().into_iter().collect();
        let mut resolved = match resolved {
            Ok(resolved) => resolved,
            Err(others) => {
                errors.extend(others.iter().map(ToString::to_string));
                return Err(errors);
            }
        };
        if let Some(directory) = &self.directory {
            resolved.config.make_absolute(directory);
        }
        if !is_configured && self.located(Path::new(GUNICORN_FILE)).is_file() {
            resolved.notes.push(format!(
                "{GUNICORN_FILE} is in the working directory and is not read: move its settings to {DEFAULT_FILE}, \
                 where most have the same names, or remove it"
            ));
        }
        errors.extend(check_format(&resolved).err());
        if resolved.config.preload && self.program().is_some_and(|one| one.has_application) {
            let origin = resolved.origins.of("preload");
            errors.push(format!(
                "preload = true (from {origin}): the workers of a program inherit what it has imported; remove it"
            ));
        }
        // Help is printed even when settings are wrong.
        let is_text_only = matches!(
            resolved.invocation,
            Invocation::Help(_) | Invocation::Version(_)
        );
        if errors.is_empty() || is_text_only {
            Ok(resolved)
        } else {
            Err(errors)
        }
    }

    /// The address of the admin listener with these settings.
    ///
    /// # Errors
    /// When the setting is wrong, or its file cannot be read.
    pub(crate) fn admin_address(&self) -> Result<Option<String>, Vec<String>> {
        let environment = self.settings_environment();
        let file = self
            .read_file(config_path(&self.arguments, &environment))
            .map_err(|problem| vec![problem])?;
        let start = self.directory().unwrap_or(Path::new(""));
        match admin_address(&environment, as_source(&file), start) {
            Ok(address) => Ok(address.map(|address| address.to_string())),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    /// The configuration file with its path. A named file must exist; the default file may be missing.
    fn read_file(&self, named: Option<ConfSpec>) -> Result<Option<(PathBuf, String)>, String> {
        let is_named = named.is_some();
        let path = match named {
            None if self.program().is_some_and(|one| !one.reads_default_file) => return Ok(None),
            None => PathBuf::from(DEFAULT_FILE),
            Some(ConfSpec::Toml(path)) => path,
            Some(ConfSpec::Python(source)) => {
                return Err(format!(
                    "{source}: configuration files in Python are not supported; write the settings into \
                     {DEFAULT_FILE}, under the same names"
                ));
            }
        };
        match fs::read(self.located(&path)) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some((path, text))),
                Err(_) => Err(format!("{}: must be UTF-8", path.display())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(None),
            Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
        }
    }

    /// A path relative to the working directory at the start; the directory may have changed since.
    fn located(&self, path: &Path) -> PathBuf {
        match &self.directory {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }

    /// Changes working directory and environment of this process from those of `before` to those of `config`.
    ///
    /// # Errors
    /// When the directory does not exist, or Python rejects a variable.
    pub(crate) fn move_to(
        &self,
        py: Python<'_>,
        before: &Config,
        config: &Config,
    ) -> Result<(), String> {
        let directory = match &config.chdir {
            Some(directory) => Some(self.located(directory)),
            None => self.directory.clone(),
        };
        if let Some(directory) = directory {
            std::env::set_current_dir(&directory)
                .map_err(|error| format!("cannot change to {}: {error}", directory.display()))?;
        }
        self.change_environment(py, &before.env, &config.env)
            .map_err(|error| format!("env: {}", exceptions::summary(py, &error)))
    }

    /// Variables that are no longer set return to their original value.
    fn change_environment(
        &self,
        py: Python<'_>,
        before: &[(String, String)],
        now: &[(String, String)],
    ) -> PyResult<()> {
        if before == now {
            return Ok(());
        }
        let environ = py.import("os")?.getattr("environ")?;
        for (name, _) in before {
            let first = self
                .environment
                .iter()
                .find(|(known, _)| known == name.as_str())
                .filter(|_| !SERVICE_VARIABLES.contains(&name.as_str()));
            match first {
                Some((_, value)) => environ.set_item(name, value)?,
                None => environ.call_method1("pop", (name, py.None())).map(drop)?,
            }
        }
        set_environment(py, now)
    }
}

/// Checks the one value that lockgate-config cannot: log formats belong to lockgate-observe.
fn check_format(resolved: &Resolved) -> Result<(), String> {
    if resolved.config.gunicorn.logger_class.is_some() {
        // It may have atoms of its own.
        return Ok(());
    }
    let format = &resolved.config.access_log_format;
    AccessFormat::parse(format).map(drop).map_err(|error| {
        let origin = resolved.origins.of("access_logformat");
        format!("access_logformat = {format:?} (from {origin}): {error}")
    })
}

/// The settings of an embedded worker: those of its keyword arguments, a JSON object. Neither variables nor files count:
/// they are the program's.
///
/// # Errors
/// With every mistake.
pub(crate) fn embedded(keywords: &str) -> Result<Config, Vec<String>> {
    let texts = |mistakes: Vec<ConfigError>| -> Vec<String> {
        mistakes.iter().map(ToString::to_string).collect()
    };
    let inputs = Inputs {
        arguments: &["lockgate".into()],
        environment: &[],
        file: None,
        keywords: Some(keywords),
        host: &host::facts(),
    };
    let mut resolved = resolve(&inputs).map_err(texts)?;
    resolved.embed().map_err(texts)?;
    check_format(&resolved).map_err(|mistake| vec![mistake])?;
    if let Ok(directory) = std::env::current_dir() {
        resolved.config.make_absolute(&directory);
    }
    Ok(resolved.config)
}

/// Removes the variables that are meant for this process alone: the application, or a program that it starts, would
/// speak to the service manager in the server's name.
pub(crate) fn hide_service_manager(py: Python<'_>) -> PyResult<()> {
    let environ = py.import("os")?.getattr("environ")?;
    SERVICE_VARIABLES
        .iter()
        .try_for_each(|name| environ.call_method1("pop", (name, py.None())).map(drop))
}

/// Sets variables through `os.environ`, which keeps Python's copy and the process environment equal.
pub(crate) fn set_environment(py: Python<'_>, variables: &[(String, String)]) -> PyResult<()> {
    if variables.is_empty() {
        return Ok(());
    }
    let update = PyDict::new(py);
    for (name, value) in variables {
        update.set_item(name, value)?;
    }
    py.import("os")?
        .getattr("environ")?
        .call_method1("update", (update,))
        .map(drop)
}

fn as_source(file: &Option<(PathBuf, String)>) -> Option<SettingsFile<'_>> {
    let (path, text) = file.as_ref()?;
    Some(SettingsFile::Toml { path, text })
}

fn starting_directory() -> Option<PathBuf> {
    let real = std::env::current_dir().ok();
    let named = std::env::var_os("PWD")
        .map(PathBuf::from)
        .filter(|named| named.is_absolute());
    match (&real, named) {
        (Some(real), Some(named)) if is_same(real, &named) => Some(named),
        _ => real,
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}
