//! Where a worker that crashes writes the stacks of its threads: the file of the error log, or standard error.
//! Knows nothing of when it crashes.
//!
//! Invariant: the descriptor that Python was told keeps its number for the life of the worker. So that another file takes
//! its place needs no interpreter, which some call may be holding for long.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lockgate_config::LogTarget;
use lockgate_worker::log::open_file;
use pyo3::prelude::*;
use rustix::io::{DupFlags, dup3};

/// See the module.
#[derive(Debug)]
pub(crate) struct StackLog {
    /// `None`: standard error, which nobody opens anew.
    file: Option<(PathBuf, Mutex<OwnedFd>)>,
}

impl StackLog {
    /// Opens what belongs to the error log's target.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        let LogTarget::File(path) = target else {
            return Ok(Self { file: None });
        };
        let file = OwnedFd::from(open_file(path)?);
        Ok(Self {
            file: Some((path.clone(), Mutex::new(file))),
        })
    }

    /// Has a worker that is ended by SIGABRT, or crashes, write the stacks of all its threads here first. That needs no
    /// interpreter, so it is how a call that never gives it away is found. An application that is loaded after this may
    /// decide otherwise.
    ///
    /// # Errors
    /// When there is nothing to write to.
    pub(crate) fn show_stacks_at_death(&self, py: Python<'_>) -> PyResult<()> {
        let enable = py.import("faulthandler")?.getattr("enable")?;
        match &self.file {
            Some((_, file)) => {
                let number = file
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_raw_fd();
                enable.call1((number,)).map(drop)
            }
            None => enable.call0().map(drop),
        }
    }

    /// Opens the file anew, after it was moved away.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let Some((path, file)) = &self.file else {
            return Ok(());
        };
        let fresh = open_file(path)?;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(dup3(&fresh, &mut file, DupFlags::CLOEXEC)?)
    }
}
