//! The program that replaces this one at an upgrade, through `lockgate.successor`.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{fs, io};

use lockgate_supervisor::Successor;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::settings_source::Sources;

/// Device and inode of the extension module that this process runs.
static LOADED: OnceLock<(u64, u64)> = OnceLock::new();

/// Imports the module while it is the one of this version: at an upgrade the package on disk is another one.
///
/// # Errors
/// When it cannot be imported.
pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
    py.import("lockgate.successor")?;
    if let Some(identity) = identity_on_disk(py) {
        // A program that starts a second server runs the same module.
        LOADED.get_or_init(|| identity);
    }
    Ok(())
}

/// Whether the package on disk is another one than this process runs, or is gone.
pub(crate) fn is_replaced() -> bool {
    let loaded = LOADED.get();
    loaded.is_some_and(|loaded| Python::attach(identity_on_disk).as_ref() != Some(loaded))
}

fn identity_on_disk(py: Python<'_>) -> Option<(u64, u64)> {
    let module = py.import("lockgate._lockgate").ok()?;
    let path: PathBuf = module.getattr("__file__").ok()?.extract().ok()?;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The program that this process would become if it were started again.
///
/// # Errors
/// When it is unknown, or the server runs in a program.
pub(crate) fn find(sources: &Sources) -> io::Result<Successor> {
    if sources.program().is_some() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "lockgate.serve runs in a program, which cannot be replaced under it; restart the program",
        ));
    }
    let command: Vec<OsString> = Python::attach(|py| {
        py.import("lockgate.successor")?
            .call_method0("command")?
            .extract()
    })?;
    let mut command = command.into_iter();
    Ok(Successor {
        program: command.next().unwrap_or_default(),
        arguments: command.collect(),
        environment: sources.environment().to_vec(),
        directory: sources.directory().map(PathBuf::from),
    })
}

/// Replaces the program of this process, with this additional variable. Returns only on failure.
pub(crate) fn exec(successor: &Successor, (name, value): (&str, &str)) -> io::Error {
    let failed = Python::attach(|py| -> PyResult<()> {
        let environment = PyDict::new(py);
        for (name, value) in &successor.environment {
            environment.set_item(name, value)?;
        }
        environment.set_item(name, value)?;
        let arguments: Vec<_> = std::iter::once(&successor.program)
            .chain(&successor.arguments)
            .collect();
        let directory = successor.directory.as_ref().map(|path| path.as_os_str());
        py.import("lockgate.successor")?
            .call_method1("become", (arguments, environment, directory))
            .map(drop)
    });
    match failed {
        Ok(()) => io::Error::other("exec returned without an error"),
        Err(error) => error.into(),
    }
}
