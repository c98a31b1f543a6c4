//! Tests of the crate through its public functions.

mod access;
mod admin;
mod command_line;
mod edge;
mod gunicorn;
mod gunicorn_names;
mod https;
mod logging;
mod messages;
mod precedence;
mod push;
mod reference;
mod routes;
mod sessions;
mod values;

use std::ffi::OsString;
use std::path::Path;

use crate::{ConfigError, Gil, Host, Inputs, Resolved, SettingsFile, resolve};

const MACHINE: Host = Host {
    affinity: 2,
    cpu_quota: Some(2.0),
    memory_limit: None,
    memory_total: 24 << 30,
    // So that every setting can have its values.
    gil: Gil::Disabled,
    measures_memory: true,
};

/// Arguments without the program's name.
type Arguments = &'static [&'static str];
/// Names and values.
type Variables = &'static [(&'static str, &'static str)];
/// The text of a lockgate.toml.
type File = Option<&'static str>;

/// Resolves arguments (without the program's name), variables and the text of a lockgate.toml.
fn given(
    arguments: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Resolved, Vec<ConfigError>> {
    let environment: Vec<_> = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    resolve(&Inputs {
        arguments: &command(arguments),
        environment: &environment,
        file: file.map(|text| SettingsFile::Toml {
            path: Path::new("lockgate.toml"),
            text,
        }),
        keywords: None,
        host: &MACHINE,
    })
}

fn command(arguments: &[&str]) -> Vec<OsString> {
    ["lockgate"]
        .iter()
        .chain(arguments)
        .map(OsString::from)
        .collect()
}

/// The error messages that these must give, one per line.
fn refused(arguments: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> String {
    match given(arguments, variables, file) {
        Ok(resolved) => panic!(
            "{arguments:?} {variables:?} {file:?} was taken:\n{}",
            resolved.print()
        ),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}

/// The values that settings refuse, of the tables that have a file of their own.
fn refused_elsewhere()
-> impl Iterator<Item = &'static (&'static str, &'static [(&'static str, &'static str)])> {
    let tables = [
        access::REFUSED,
        admin::REFUSED,
        edge::REFUSED,
        gunicorn::REFUSED,
        https::REFUSED,
        logging::REFUSED,
        push::REFUSED,
        routes::REFUSED,
        sessions::REFUSED,
    ];
    tables.into_iter().flatten()
}
