//! The directories of static files: those of the settings are tried, and with `static = "auto"` the imported application
//! is asked for its own (`lockgate.static_auto`).

use std::fs::read_dir;
use std::path::PathBuf;
use std::time::Duration;

use lockgate_config::{Config, StaticMount, StaticSources};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::interpreter::exceptions;

/// A mount as Python gives it: path, directories, index, patterns of immutable names, seconds, further fields,
/// and where it was found.
type Row = (
    String,
    Vec<PathBuf>,
    Option<String>,
    Vec<String>,
    Option<u64>,
    Vec<(String, String)>,
    String,
);

/// Logs which directories of the settings this process cannot read. They may be made later.
pub(crate) fn check_directories(config: &Config, log: &ErrorLog) {
    for mount in config.static_files.mounts() {
        for directory in &mount.dirs {
            if let Err(error) = read_dir(directory) {
                let message = format!(
                    "static: the directory {} at {} cannot be read: {error}; its files are not served until it can be",
                    directory.display(),
                    shown(&mount.path)
                );
                log.write(Level::Warning, &message);
            }
        }
    }
}

/// Replaces `auto` in the settings by what the application has declared.
pub(crate) fn resolve(
    py: Python<'_>,
    config: &mut Config,
    application: &Bound<'_, PyAny>,
    log: &ErrorLog,
) {
    if config.static_files.sources != StaticSources::Auto {
        return;
    }
    let (rows, notes) = find(py, application, &config.root_path).unwrap_or_else(|error| {
        let problem = exceptions::summary(py, &error);
        (
            Vec::new(),
            vec![format!("the search has failed: {problem}")],
        )
    });
    for note in notes {
        log.write(Level::Warning, &format!("static = auto: {note}"));
    }
    let message = match rows.is_empty() {
        true => {
            "static = auto has found no static files in the application; to serve a directory, write static = \
             [{ path = \"/static\", dir = \"…\" }]"
                .to_owned()
        }
        false => {
            let places: Vec<String> = rows.iter().map(described).collect();
            format!("static = auto serves {}", places.join(", "))
        }
    };
    let level = if rows.is_empty() {
        Level::Warning
    } else {
        Level::Info
    };
    log.write(level, &message);
    config.static_files.sources = match rows.is_empty() {
        true => StaticSources::Off,
        false => StaticSources::List(rows.into_iter().map(mount).collect()),
    };
}

fn find(
    py: Python<'_>,
    application: &Bound<'_, PyAny>,
    root_path: &str,
) -> PyResult<(Vec<Row>, Vec<String>)> {
    py.import("lockgate.static_auto")?
        .call_method1("find", (application, root_path))?
        .extract()
}

fn mount((path, dirs, index, immutable, max_age, headers, _): Row) -> StaticMount {
    StaticMount {
        index,
        immutable,
        max_age: max_age.map(Duration::from_secs),
        headers,
        ..StaticMount::new(path, dirs)
    }
}

fn described((path, dirs, _, immutable, _, _, origin): &Row) -> String {
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let names = match immutable.is_empty() {
        true => "",
        false => ", files with hashed names are immutable",
    };
    let dirs = dirs.join(" and ");
    [shown(path), " from ", &dirs, " (", origin, names, ")"].concat()
}

/// A mount's path as an operator writes it.
fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}
