//! The directories of static files: those of the settings are tried, and with `static = "auto"` the imported
//! applications are asked for their own (`lockgate.static_auto`).

use std::fs::read_dir;
use std::path::PathBuf;
use std::time::Duration;

use lockgate_config::{Config, StaticMount, StaticSources};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::interpreter::exceptions;
use crate::loading::Loaded;

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

/// Replaces `auto` in the settings by what the applications have declared. Without a log it is silent: all workers of a
/// generation find the same.
pub(crate) fn resolve(
    py: Python<'_>,
    config: &mut Config,
    loaded: &Loaded,
    log: Option<&ErrorLog>,
) {
    if config.static_files.sources != StaticSources::Auto {
        return;
    }
    let mut rows = Vec::new();
    let mut mounts = Vec::new();
    let root = &config.root_path;
    let applications = std::iter::once((None, &loaded.server)).chain(
        (config.routes.mounts())
            .map(|(route, _)| Some(route))
            .zip(loaded.mounts.iter().map(|mount| &mount.application)),
    );
    for (number, (route, application)) in (0..).zip(applications) {
        let (of_application, path) = match route {
            None => (String::new(), root.clone()),
            Some(route) => (
                format!("mount {route}: "),
                [root, route.path.as_str()].concat(),
            ),
        };
        let (found, notes) = find(py, application.bind(py), &path).unwrap_or_else(|error| {
            let problem = exceptions::summary(py, &error);
            let note = format!("the search has failed: {problem}");
            (Vec::new(), vec![note])
        });
        let warn = |note: &str| {
            let note = [&of_application, note].concat();
            if let Some(log) = log {
                log.write(Level::Warning, &format!("static = auto: {note}"));
            }
        };
        notes.iter().for_each(|note| warn(note));
        for row in found {
            if route.is_some() && !is_below(&row.0, &path) {
                warn(&outside(&row));
                continue;
            }
            let application = (!loaded.mounts.is_empty()).then_some(number);
            mounts.push(StaticMount {
                application,
                ..mount(row.clone())
            });
            rows.push(row);
        }
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
    // In development the framework serves its own files, behind what `lockgate dev` puts around the application.
    let level = match rows.is_empty() && !config.is_development {
        true => Level::Warning,
        false => Level::Info,
    };
    if let Some(log) = log {
        log.write(level, &message);
    }
    config.static_files.sources = match rows.is_empty() {
        true => StaticSources::Off,
        false => StaticSources::List(mounts),
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

/// Whether the path is this one, or below it.
fn is_below(path: &str, above: &str) -> bool {
    (path.strip_prefix(above)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn outside((path, .., origin): &Row) -> String {
    let path = shown(path);
    format!(
        "{origin} is at {path}, which is outside of the mount, and is not served: for Django, write STATIC_URL = \
         \"static/\", without a slash at its start"
    )
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
