//! The settings that only this machine can judge: directories, users, certificates, log files, limits.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use lockgate_config::{Config, LogTarget, Resolved, UnusableValue};
use lockgate_observe::Level;
use lockgate_supervisor::check_certificates;
use lockgate_worker::log::{ErrorLog, create_missing, open_file};
use lockgate_worker::try_directory;
use pyo3::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::interpreter::exceptions;
use crate::process::privileges;
use crate::settings_source::set_environment;

/// Programs that the application starts inherit the limit, and some close every descriptor below it, one by one.
const MOST_DESCRIPTORS: u64 = 1 << 20;

/// Why this machine cannot serve with the settings.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A value that cannot be used.
    Value(UnusableValue),
    /// Anything else, in words.
    Other(String),
}

/// What operators read, with the place of each value.
pub(crate) fn texts(refusals: &[Refusal], resolved: &Resolved) -> Vec<String> {
    let text = |refusal: &Refusal| match refusal {
        Refusal::Value(unusable) => unusable.with_origin(&resolved.origins),
        Refusal::Other(text) => text.clone(),
    };
    refusals.iter().map(text).collect()
}

/// User and group of the workers, if configured.
pub(crate) type Identity = Option<(u32, u32)>;

/// Applies settings that only the system can judge, before anything is imported, bound or written. Returns the error
/// log, and the user and group of the workers.
pub(crate) fn prepare(
    py: Python<'_>,
    config: &Config,
) -> Result<(Arc<ErrorLog>, Identity), Vec<Refusal>> {
    let mut errors = Vec::new();
    if let Some(directory) = &config.chdir {
        let changed = std::env::set_current_dir(directory);
        errors.extend(named("chdir", directory, changed).err());
    }
    let identity =
        privileges::identity(py, config).map_err(|error| errors.push(refused_identity(py, &error)));
    if let Err(error) = set_environment(py, &config.env) {
        let problem = exceptions::summary(py, &error);
        errors.push(Refusal::Other(format!("env: {problem}")));
    }
    // Once the directory is the one that the workers have.
    let certificates = check_certificates(config).err().into_iter().flatten();
    errors.extend(certificates.map(Refusal::Value));
    match identity {
        Ok(identity) if errors.is_empty() => Ok((open_log(config, identity)?, identity)),
        _ => Err(errors),
    }
}

/// An error of `lockgate.privileges`.
fn refused_identity(py: Python<'_>, error: &PyErr) -> Refusal {
    let raised = error.value(py);
    let text = |name| -> PyResult<String> { raised.getattr(name)?.extract() };
    let known = ["user", "group"]
        .into_iter()
        .find(|known| text("setting").is_ok_and(|one| one == *known));
    match (known, text("value"), text("problem")) {
        (Some(name), Ok(value), Ok(problem)) => {
            Refusal::Value(UnusableValue::new(name, value, problem))
        }
        _ => Refusal::Other(raised.to_string()),
    }
}

/// Opens the error log, and tries the other files that are written to later, when an error would be harder to act on.
/// Missing log files are created as the workers' user, which has to reopen them.
fn open_log(config: &Config, identity: Identity) -> Result<Arc<ErrorLog>, Vec<Refusal>> {
    let mut errors = Vec::new();
    if let Some(target @ LogTarget::File(path)) = &config.access_log {
        let tried = create_missing(target, identity).and_then(|()| try_log(path));
        errors.extend(named("access_logfile", path, tried).err());
    }
    if let Some(directory) = &config.spool_dir {
        let tried = match directory.is_dir() {
            true => try_directory(directory),
            false => Err(io::Error::other("there is no such directory")),
        };
        errors.extend(named("spool_dir", directory, tried).err());
    }
    match ErrorLog::of(config, identity) {
        Ok(log) if errors.is_empty() => {
            let log = Arc::new(log);
            log.report_panics();
            Ok(log)
        }
        opened => {
            errors.extend(opened.err().map(Refusal::Value));
            Err(errors)
        }
    }
}

/// Adds the setting and its value to an error.
fn named<T>(setting: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, Refusal> {
    outcome.map_err(|error| Refusal::Value(UnusableValue::new(setting, path.display(), error)))
}

/// Opens a log file as it is opened later. Skips named pipes: opening one blocks until it has a reader.
fn try_log(path: &Path) -> io::Result<()> {
    if is_named_pipe(path) {
        return Ok(());
    }
    open_file(path).map(drop)
}

fn is_named_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Raises the soft limit of open files to the hard limit, for this process and its workers. The soft limit of 1,024
/// exists for programs that use select(2); a server needs more.
pub(crate) fn raise_descriptor_limit(log: &ErrorLog, connections: usize) {
    let present = getrlimit(Resource::Nofile);
    let wanted = present
        .maximum
        .unwrap_or(MOST_DESCRIPTORS)
        .min(MOST_DESCRIPTORS);
    if wanted < connections as u64 {
        let message = format!(
            "a worker may open {wanted} files (ulimit -Hn), fewer than worker_connections = {connections}: the limit of \
             files limits its connections"
        );
        log.write(Level::Warning, &message);
    }
    if present.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: present.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let message =
            format!("cannot raise the limit of open files to {wanted} (ulimit -n): {error}");
        log.write(Level::Warning, &message);
    }
}
