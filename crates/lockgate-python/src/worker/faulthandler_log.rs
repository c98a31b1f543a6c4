//! Crash log of `faulthandler`: where a worker that crashes writes the stacks of its threads, which is the file of the
//! error log, or standard error.
//!
//! Invariant: the descriptor passed to Python keeps its number for the life of the worker. Switching to another file
//! then does not need the GIL, which a call may hold for long.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lockgate_config::LogTarget;
use lockgate_worker::log::open_file;
use lockgate_worker::os::replace;
use pyo3::prelude::*;

/// The file of the crash log.
#[derive(Debug)]
pub(crate) struct FaulthandlerLog {
    /// `None`: standard error, which is never reopened.
    file: Option<(PathBuf, Mutex<OwnedFd>)>,
}

impl FaulthandlerLog {
    /// Opens the error log's target for stacks.
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

    /// Makes a worker that crashes or is ended by SIGABRT write the stacks of all its threads here first. That works
    /// without the GIL, so it shows a call that never releases it. The application may override this.
    ///
    /// # Errors
    /// When there is no usable descriptor.
    pub(crate) fn enable(&self, py: Python<'_>) -> PyResult<()> {
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

    /// Reopens the file after log rotation.
    ///
    /// # Errors
    /// When that fails; the old file stays in use.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let Some((path, file)) = &self.file else {
            return Ok(());
        };
        let fresh = open_file(path)?;
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&mut file, &fresh)
    }
}
