//! The logs below Python's loggers `gunicorn.error` and `gunicorn.access` (`lockgate.gunicorn.loggers`).

use std::io;
use std::sync::Arc;

use lockgate_config::{Config, LogLevel};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};

use crate::interpreter::exceptions;
use crate::wsgi::{ErrorStream, text_bytes};

/// Levels of Python's `logging`.
const CRITICAL: i64 = 50;
const ERROR: i64 = 40;
const WARNING: i64 = 30;
const INFO: i64 = 20;
const DEBUG: i64 = 10;

/// The logs that the loggers write to, beside the error log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loggers {
    access: Option<Arc<ErrorLog>>,
}

impl Loggers {
    /// Creates the loggers, before the application is imported.
    ///
    /// # Errors
    /// When the access log cannot be opened, or Python raises an exception.
    pub(crate) fn install(
        py: Python<'_>,
        config: &Config,
        log: &Arc<ErrorLog>,
    ) -> Result<Self, String> {
        let access = match &config.access_log {
            Some(target) => Some(Arc::new(
                ErrorLog::open(target, LogLevel::Info)
                    .map_err(|error| format!("access_logfile: {error}"))?,
            )),
            None => None,
        };
        let installed = || -> PyResult<()> {
            let stream = |log: &Arc<ErrorLog>| Py::new(py, ErrorStream::new(Arc::clone(log)));
            let arguments = (
                level_number(config.log_level),
                event_writer(py, Arc::clone(log))?,
                stream(log)?,
                access.as_ref().map(stream).transpose()?,
            );
            py.import("lockgate.gunicorn.loggers")?
                .call_method1("install", arguments)
                .map(drop)
        };
        installed().map_err(|error| {
            let problem = exceptions::summary(py, &error);
            format!("cannot create the loggers gunicorn.error and gunicorn.access: {problem}")
        })?;
        Ok(Self { access })
    }

    /// Reopens the access log after its file was renamed.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        self.access.as_ref().map_or(Ok(()), |log| log.reopen())
    }

    /// Logs how many access lines were lost, if the log accepts lines again.
    pub(crate) fn report_losses(&self) {
        if let Some(log) = &self.access {
            log.report_losses();
        }
    }
}

/// A Python function of level, logger and message, which writes an event whatever its level.
fn event_writer(py: Python<'_>, log: Arc<ErrorLog>) -> PyResult<Bound<'_, PyCFunction>> {
    let write = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let (level, logger, message): (i64, Bound<'_, PyString>, Bound<'_, PyString>) =
            arguments.extract()?;
        let (logger, message) = (text_bytes(&logger)?, text_bytes(&message)?);
        // Without the GIL: the log may be a pipe that is full.
        arguments.py().detach(|| {
            let text = String::from_utf8_lossy(&message);
            log.write_record(level_of(level), &String::from_utf8_lossy(&logger), &text);
        });
        PyResult::Ok(())
    };
    PyCFunction::new_closure(py, None, None, write)
}

fn level_of(number: i64) -> Level {
    match number {
        CRITICAL.. => Level::Critical,
        ERROR.. => Level::Error,
        WARNING.. => Level::Warning,
        INFO.. => Level::Info,
        _ => Level::Debug,
    }
}

fn level_number(level: LogLevel) -> i64 {
    match level {
        LogLevel::Critical => CRITICAL,
        LogLevel::Error => ERROR,
        LogLevel::Warning => WARNING,
        LogLevel::Info => INFO,
        LogLevel::Debug => DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_between_two_counts_as_the_lower_one() {
        let table = [
            (0, Level::Debug),
            (10, Level::Debug),
            (20, Level::Info),
            (25, Level::Info),
            (30, Level::Warning),
            (49, Level::Error),
            (50, Level::Critical),
            (1000, Level::Critical),
        ];
        for (number, level) in table {
            assert_eq!(level_of(number), level, "{number}");
        }
    }
}
