//! From what was imported to what requests call: each application in its wrappers, with its context.

use lockgate_observe::Level;
use lockgate_supervisor::LoadFailure;
use pyo3::prelude::*;

use super::startup::cannot_start;
use crate::hooks::PythonHooks;
use crate::interpreter::exceptions;
use crate::loading::Loaded;
use crate::sessions::SessionWrapper;
use crate::wsgi::{Application, Applications, ImportedContext};

impl PythonHooks {
    /// The applications as requests call them.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn wrapped(
        &self,
        py: Python<'_>,
        loaded: Loaded,
    ) -> Result<Applications, LoadFailure> {
        let context = ImportedContext::take(py).map_err(|error| {
            cannot_start(format!("contextvars: {}", exceptions::summary(py, &error)))
        })?;
        let sessions = SessionWrapper::new(py, self.config.session.as_ref()).map_err(|error| {
            cannot_start(format!("session: {}", exceptions::summary(py, &error)))
        })?;
        let wrap = |application| {
            let wrapped = sessions.wrap(py, application).map_err(|error| {
                cannot_start(format!("session: {}", exceptions::summary(py, &error)))
            })?;
            let wrapped = self.uwsgi.wrap(py, wrapped).map_err(cannot_start)?;
            self.report_after_calls(py, wrapped)
        };
        self.log_left_out(&context);
        let server = Application::of_server(wrap(loaded.server)?, context);
        let mut mounts = Vec::new();
        for (mount, one) in self.config.routes.mounts().zip(loaded.mounts) {
            self.log_left_out(&one.context);
            let callable = match mount.1.has_session {
                true => wrap(one.application)?,
                false => {
                    let wrapped = self.uwsgi.wrap(py, one.application);
                    self.report_after_calls(py, wrapped.map_err(cannot_start)?)?
                }
            };
            mounts.push(Application::mounted(py, callable, one.context, mount));
        }
        Ok(Applications::new(server, mounts))
    }

    /// With `reload` the application reports at the end of each call what it has imported.
    fn report_after_calls(
        &self,
        py: Python<'_>,
        application: Py<PyAny>,
    ) -> Result<Py<PyAny>, LoadFailure> {
        match &self.file_reports {
            Some(reports) => reports.wrap(py, application).map_err(|error| {
                cannot_start(format!("reload: {}", exceptions::summary(py, &error)))
            }),
            None => Ok(application),
        }
    }

    /// Logs the context variables that the import of an application set and its requests do not see.
    fn log_left_out(&self, context: &ImportedContext) {
        if !context.left_out().is_empty() {
            let message = format!(
                "requests do not see these context variables that the import has set, because they hold objects that \
                 threads might not share: {}",
                context.left_out().join(", ")
            );
            self.log.write(Level::Debug, &message);
        }
    }
}
