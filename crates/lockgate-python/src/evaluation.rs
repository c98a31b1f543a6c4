//! The evaluation of a configuration in Python, in a process of its own (`lockgate.gunicorn.evaluate`).

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lockgate_config::{ConfSource, ConfigError};
use lockgate_supervisor::{Evaluation, EvaluationFailure, SERVICE_VARIABLES, SettingsFailure};
use pyo3::prelude::*;

use crate::interpreter::exceptions;

/// Why the settings cannot be read.
#[derive(Debug)]
pub(crate) enum SettingsError {
    /// Mistakes of the operator: which value, from where, what to do.
    Mistakes(Vec<String>),
    /// A configuration in Python that has failed.
    Conf(ConfFailure),
}

/// How a configuration in Python has failed.
#[derive(Debug)]
pub(crate) struct ConfFailure {
    /// As messages name it.
    source: String,
    /// One line.
    why: String,
    /// Its traceback, if it has raised an exception.
    traceback: Option<String>,
}

impl ConfFailure {
    pub(crate) fn new(source: &ConfSource, failure: &EvaluationFailure) -> Self {
        Self {
            source: source.to_string(),
            why: failure.to_string(),
            traceback: None,
        }
    }

    /// The failure among the errors of `resolve`, if there is one.
    pub(crate) fn find(errors: &[ConfigError]) -> Option<Self> {
        errors.iter().find_map(|error| match error {
            ConfigError::UnreadableConf { source, problem } => {
                // The last line of a traceback names the exception.
                let why = problem.lines().next_back().unwrap_or_default();
                Some(Self {
                    source: source.to_string(),
                    why: why.to_owned(),
                    traceback: problem.contains('\n').then(|| problem.clone()),
                })
            }
            _ => None,
        })
    }

    /// For standard error, at the start.
    pub(crate) fn text(&self) -> String {
        let Self { source, why, .. } = self;
        let traceback = self.traceback.as_ref();
        let traceback = traceback.map_or_else(String::new, |text| format!("{text}\n"));
        format!("{traceback}lockgate: {source}: {why}\n")
    }
}

impl SettingsError {
    /// For an exception.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Mistakes(mistakes) => mistakes.join("\n"),
            Self::Conf(failure) => failure.text(),
        }
    }
}

impl From<Vec<String>> for SettingsError {
    fn from(mistakes: Vec<String>) -> Self {
        Self::Mistakes(mistakes)
    }
}

/// For the log, at a reload.
impl From<SettingsError> for SettingsFailure {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Mistakes(mistakes) => mistakes.join("; ").into(),
            SettingsError::Conf(ConfFailure {
                source,
                why,
                traceback,
            }) => Self {
                report: traceback.map(|text| format!("{source}\n{text}")),
                reason: format!("{source}: {why}"),
            },
        }
    }
}

/// Starts the evaluation of `source` in this directory and environment, those of the start of the server.
pub(crate) fn start(
    source: &ConfSource,
    directory: Option<&Path>,
    environment: &[(OsString, OsString)],
    arguments: &[OsString],
) -> Result<Evaluation, EvaluationFailure> {
    let command = Python::attach(|py| {
        py.import("lockgate.gunicorn.command")?
            .call_method0("evaluation")?
            .extract::<Vec<OsString>>()
            .map_err(|error| exceptions::summary(py, &error))
            .map_err(pyo3::exceptions::PyRuntimeError::new_err)
    });
    let words = command.map_err(|error| EvaluationFailure::NotStarted(error.to_string()))?;
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    let is_for_conf = |name: &OsString| !SERVICE_VARIABLES.iter().any(|own| name == own);
    let variables = environment.iter().filter(|(name, _)| is_for_conf(name));
    command
        .args(words)
        .arg(specification(source, directory))
        // The pipe of `Evaluation`.
        .arg("0")
        .args(arguments)
        .env_clear()
        .envs(variables.map(|(name, value)| (name, value)));
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    Evaluation::start(command, Evaluation::TIMEOUT, Instant::now())
}

/// `file:PATH` or `python:MODULE`, for `lockgate.gunicorn.conf.execute`.
pub(crate) fn specification(source: &ConfSource, directory: Option<&Path>) -> OsString {
    match source {
        ConfSource::File(path) => {
            let mut text = OsString::from("file:");
            text.push(directory.unwrap_or(Path::new("")).join(path));
            text
        }
        ConfSource::Module(module) => format!("python:{module}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf() -> ConfSource {
        ConfSource::File("gunicorn.conf.py".into())
    }

    #[test]
    fn a_traceback_is_shown_before_one_line_and_reported_once() {
        let traceback = "Traceback (most recent call last):\n  File x\nNameError: name 'x'";
        let errors = [
            ConfigError::MissingApplication,
            ConfigError::UnreadableConf {
                source: conf(),
                problem: traceback.to_owned(),
            },
        ];
        let failure = ConfFailure::find(&errors).unwrap();
        assert_eq!(
            failure.text(),
            format!("{traceback}\nlockgate: gunicorn.conf.py: NameError: name 'x'\n")
        );
        let failure = SettingsFailure::from(SettingsError::Conf(failure));
        assert_eq!(failure.reason, "gunicorn.conf.py: NameError: name 'x'");
        let report = format!("gunicorn.conf.py\n{traceback}");
        assert_eq!(failure.report, Some(report));
        assert!(ConfFailure::find(&errors[..1]).is_none());
    }

    #[test]
    fn a_configuration_that_has_ended_the_process_has_no_traceback() {
        let status = lockgate_supervisor::ExitStatus::Code(7);
        let failure = ConfFailure::new(&conf(), &EvaluationFailure::Exited(status));
        assert_eq!(
            failure.text(),
            "lockgate: gunicorn.conf.py: the process that evaluates the configuration exited with code 7 before the end \
             of the configuration\n"
        );
        let failure = SettingsFailure::from(SettingsError::Conf(failure));
        assert_eq!(failure.report, None);
    }

    #[test]
    fn a_file_is_given_with_its_whole_path() {
        let directory = Some(Path::new("/srv"));
        assert_eq!(
            specification(&conf(), directory),
            "file:/srv/gunicorn.conf.py"
        );
        let module = ConfSource::Module("site.conf".to_owned());
        assert_eq!(specification(&module, directory), "python:site.conf");
    }
}
