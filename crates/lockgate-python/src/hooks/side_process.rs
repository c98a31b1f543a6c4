//! What every side process does first.

use lockgate_observe::Level;
use lockgate_supervisor::WorkerContext;
use pyo3::prelude::*;

use super::PythonHooks;
use crate::interpreter::exceptions;
use crate::process::privileges;
use crate::process::title::{self, Role};
use crate::worker::startup::CANNOT_START;

impl PythonHooks {
    /// In a side process: its title, and the workers' user. The error is its exit code.
    pub(super) fn become_side_process(
        &self,
        role: Role,
        name: &str,
        context: &WorkerContext,
    ) -> Result<(), i32> {
        Python::attach(|py| {
            title::set(py, &self.config, role);
            privileges::change_user(py, &self.config).map_err(|error| {
                let problem = exceptions::summary(py, &error);
                let message = format!("the {name} cannot start: cannot change user: {problem}");
                self.log.write(Level::Error, &message);
                CANNOT_START
            })
        })?;
        // Otherwise the supervisor has exited meanwhile.
        context.identity_changed().then_some(()).ok_or(0)
    }
}
