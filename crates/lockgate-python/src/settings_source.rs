//! The sources of the settings, kept so that a reload can read them again: arguments, environment and working directory
//! at the start of the server.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lockgate_config::{
    ConfSource, ConfSpec, Config, ConfigError, Inputs, Invocation, Resolved, SettingsFile,
    admin_address, config_path, resolve,
};
use lockgate_observe::AccessFormat;
use lockgate_supervisor::{Evaluation, EvaluationFailure, SERVICE_VARIABLES, ServiceManager};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::evaluation::{self, ConfFailure, SettingsError};
use crate::grip_key;
use crate::host;
use crate::interpreter::exceptions;
use crate::process::signals;
use crate::session_secret;

/// Read if it exists and no other file is named.
const DEFAULT_FILE: &str = "lockgate.toml";

/// gunicorn's file, read if there is no [`DEFAULT_FILE`].
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
    /// Whether it is `lockgate dev`, whose workers load the application again.
    pub(crate) is_development: bool,
}

impl Program {
    /// `lockgate dev`, with the configuration file that it has found.
    pub(crate) fn of_development(keywords: String, config: Option<OsString>) -> Self {
        Self {
            keywords,
            config,
            reads_default_file: false,
            has_application: true,
            is_development: true,
        }
    }
}

/// The configuration file.
#[derive(Debug)]
pub(crate) enum FoundFile {
    None,
    Toml {
        path: PathBuf,
        text: String,
    },
    /// It has to be executed.
    Python(ConfSource),
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

    fn keywords(&self) -> Option<&str> {
        self.program().map(|program| program.keywords.as_str())
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

    /// Reads all settings, and waits for the evaluation of a configuration in Python.
    ///
    /// # Errors
    /// With every error that the operator has to correct: which value, from where, what to do.
    pub(crate) fn read(&self, py: Python<'_>) -> Result<Resolved, SettingsError> {
        let found = self.find_file();
        let evaluated = match &found {
            Ok(FoundFile::Python(_)) if self.asks_for_text() => {
                return self.resolve(Ok(FoundFile::None), None);
            }
            Ok(FoundFile::Python(source)) => {
                // Until the server has handlers of its own, signals end it and with it the evaluation. On another
                // thread, in a program that embeds the server, they are the program's.
                let _is_embedded = signals::prepare_supervisor(py);
                let evaluation = self.evaluate(source);
                Some(evaluation.and_then(|evaluation| py.detach(|| evaluation.wait())))
            }
            _ => None,
        };
        self.resolve(found, evaluated)
    }

    /// Whether the command line asks for help or the version. Then no configuration is executed.
    fn asks_for_text(&self) -> bool {
        let resolved = resolve(&Inputs {
            arguments: &self.arguments,
            environment: &self.settings_environment(),
            file: None,
            keywords: self.keywords(),
            host: &host::facts(),
        });
        resolved.is_ok_and(|resolved| is_text(&resolved.invocation))
    }

    /// Starts the evaluation of a configuration in Python.
    pub(crate) fn evaluate(&self, source: &ConfSource) -> Result<Evaluation, EvaluationFailure> {
        evaluation::start(source, self.directory(), &self.environment, &self.arguments)
    }

    /// The settings with this file, and with the result of its evaluation if it is in Python.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub(crate) fn resolve(
        &self,
        found: Result<FoundFile, String>,
        evaluated: Option<Result<String, EvaluationFailure>>,
    ) -> Result<Resolved, SettingsError> {
        let evaluated = evaluated.transpose();
        let file = match (&found, &evaluated) {
            (Ok(FoundFile::Toml { path, text }), _) => Some(SettingsFile::Toml { path, text }),
            (Ok(FoundFile::Python(source)), Ok(Some(evaluated))) => {
                Some(SettingsFile::Python { source, evaluated })
            }
            (Ok(FoundFile::Python(source)), Err(failure)) => {
                return Err(SettingsError::Conf(ConfFailure::new(source, failure)));
            }
            _ => None,
        };
        let resolved = resolve(&Inputs {
            arguments: &self.arguments,
            environment: &self.settings_environment(),
            file,
            keywords: self.keywords(),
            host: &host::facts(),
        });
        let is_default =
            matches!(&found, Ok(FoundFile::Toml { path, .. }) if path == Path::new(DEFAULT_FILE));
        let mut errors: Vec<String> = found.err().into_iter().collect();
        let mut resolved = match resolved {
            Ok(resolved) => resolved,
            Err(others) => {
                if let Some(failure) = ConfFailure::find(&others) {
                    return Err(SettingsError::Conf(failure));
                }
                errors.extend(ConfigError::texts(&others, !errors.is_empty()));
                return Err(errors.into());
            }
        };
        if let Some(directory) = &self.directory {
            resolved.config.make_absolute(directory);
        }
        resolved.config.is_development = self.program().is_some_and(|one| one.is_development);
        if is_default && self.located(Path::new(GUNICORN_FILE)).is_file() {
            resolved.notes.push(format!(
                "{GUNICORN_FILE} is in the working directory and is not read, because {DEFAULT_FILE} is there too: \
                 remove one of them (hooks are possible only in {GUNICORN_FILE}, which lockgate -c {GUNICORN_FILE} runs)"
            ));
        }
        errors.extend(check_format(&resolved).err());
        errors.extend(grip_key::read(&mut resolved).err());
        errors.extend(session_secret::read(&mut resolved).err());
        if resolved.config.preload && self.program().is_some_and(|one| one.has_application) {
            let origin = resolved.origins.of("preload");
            errors.push(format!(
                "preload = true (from {origin}): the workers of a program inherit what it has imported; remove it"
            ));
        }
        // Help is printed even when settings are wrong.
        if errors.is_empty() || is_text(&resolved.invocation) {
            Ok(resolved)
        } else {
            Err(errors.into())
        }
    }

    /// The address of the admin listener with these settings.
    ///
    /// # Errors
    /// When the setting is wrong, or its file cannot be read.
    pub(crate) fn admin_address(&self) -> Result<Option<String>, Vec<String>> {
        let environment = self.settings_environment();
        // A configuration in Python is not executed for this.
        let file = match self.find_file().map_err(|problem| vec![problem])? {
            FoundFile::Toml { path, text } => Some((path, text)),
            FoundFile::Python(_) | FoundFile::None => None,
        };
        let file = (file.as_ref()).map(|(path, text)| SettingsFile::Toml { path, text });
        let start = self.directory().unwrap_or(Path::new(""));
        match admin_address(&environment, file, start) {
            Ok(address) => Ok(address.map(|address| address.to_string())),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    /// The configuration file. A named file must exist; of the default files the first one counts.
    pub(crate) fn find_file(&self) -> Result<FoundFile, String> {
        let named = config_path(&self.arguments, &self.settings_environment());
        let is_named = named.is_some();
        let path = match named {
            None if self.program().is_some_and(|one| !one.reads_default_file) => {
                return Ok(FoundFile::None);
            }
            None => PathBuf::from(DEFAULT_FILE),
            Some(ConfSpec::Toml(path)) => path,
            Some(ConfSpec::Python(source)) => {
                if let ConfSource::File(path) = &source {
                    fs::File::open(self.located(path))
                        .map_err(|error| format!("{source}: cannot be read: {error}"))?;
                }
                return Ok(FoundFile::Python(source));
            }
        };
        match fs::read(self.located(&path)) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(FoundFile::Toml { path, text }),
                Err(_) => Err(format!("{}: must be UTF-8", path.display())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {
                let gunicorns = PathBuf::from(GUNICORN_FILE);
                Ok(match self.located(&gunicorns).is_file() {
                    true => FoundFile::Python(ConfSource::File(gunicorns)),
                    false => FoundFile::None,
                })
            }
            Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
        }
    }

    /// Where the configuration file is, or would be; `None` if it is none that could change the settings.
    pub(crate) fn file_path(&self) -> Option<PathBuf> {
        match self.find_file().ok()? {
            FoundFile::Toml { path, .. } | FoundFile::Python(ConfSource::File(path)) => {
                Some(self.located(&path))
            }
            FoundFile::Python(_) => None,
            FoundFile::None => {
                let reads_default = self.program().is_none_or(|one| one.reads_default_file);
                reads_default.then(|| self.located(Path::new(DEFAULT_FILE)))
            }
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

/// The settings of an application that `lockgate dev` looks for: the application, if they name one, and the others.
///
/// # Errors
/// As for [`Sources::read`].
pub(crate) fn application_settings(
    py: Python<'_>,
    config: Option<OsString>,
) -> Result<(Option<String>, Config), SettingsError> {
    let read = |keywords: &str| {
        let program = Program::of_development(keywords.to_owned(), config.clone());
        Sources::of_program(program).read(py)
    };
    match read("{}") {
        Ok(resolved) => Ok((Some(resolved.config.app.to_string()), resolved.config)),
        Err(SettingsError::Mistakes(mistakes))
            if mistakes == [ConfigError::MissingApplication.to_string()] =>
        {
            Ok((None, read(r#"{"app": "application"}"#)?.config))
        }
        Err(others) => Err(others),
    }
}

/// The settings of `lockgate dev` in one process.
///
/// # Errors
/// As for [`Sources::read`], and for settings that need another process.
pub(crate) fn embedded_development(
    py: Python<'_>,
    keywords: String,
    config: Option<OsString>,
) -> Result<Config, SettingsError> {
    let program = Program::of_development(keywords, config);
    let mut resolved = Sources::of_program(program).read(py)?;
    resolved.embed().map_err(|mistakes| {
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        SettingsError::from(texts)
    })?;
    Ok(resolved.config)
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
    grip_key::read(&mut resolved).map_err(|mistake| vec![mistake])?;
    session_secret::read(&mut resolved).map_err(|mistake| vec![mistake])?;
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

fn is_text(invocation: &Invocation) -> bool {
    matches!(invocation, Invocation::Help(_) | Invocation::Version(_))
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
