//! Reports of the files that a process has loaded, through `lockgate.reloading`, if `reload` is set.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use lockgate_config::{Config, WorkerClass};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::interpreter::exceptions;

/// The reports of a process that has a pipe to the watcher.
pub(crate) struct FileReports {
    module: Py<PyModule>,
    log: Arc<ErrorLog>,
}

impl FileReports {
    /// Imports in the supervisor what workers need: they inherit it, and start sooner.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn prepare(py: Python<'_>, config: &Config) -> PyResult<()> {
        // gevent and eventlet warn if parts that they replace are in use already.
        let is_standard = !config.allow_patched_threads
            && config.gunicorn.worker_class != Some(WorkerClass::Gevent);
        py.import("lockgate.warming")?
            .call_method1("warm", (is_standard,))
            .map(drop)
    }

    /// Reports go to this pipe.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn start(
        py: Python<'_>,
        pipe: BorrowedFd<'_>,
        log: &Arc<ErrorLog>,
    ) -> PyResult<Self> {
        let module = py.import("lockgate.reloading")?;
        module.call_method1("start", (pipe.as_raw_fd(),))?;
        Ok(Self {
            module: module.unbind(),
            log: Arc::clone(log),
        })
    }

    /// The application is about to be loaded.
    pub(crate) fn begin_loading(&self, py: Python<'_>) {
        self.warn(py, self.module.bind(py).call_method0("begin_loading"));
    }

    /// The application has been loaded.
    pub(crate) fn finish_loading(&self, py: Python<'_>) {
        self.warn(py, self.module.bind(py).call_method0("finish_loading"));
    }

    /// The application could not be loaded.
    pub(crate) fn fail_loading(&self, py: Python<'_>, error: &PyErr) {
        let error = exceptions::with_traceback(py, error);
        let module = self.module.bind(py);
        self.warn(py, module.call_method1("fail_loading", (error,)));
    }

    /// The application, with a report at the end of each call.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn wrap(&self, py: Python<'_>, application: Py<PyAny>) -> PyResult<Py<PyAny>> {
        let module = self.module.bind(py);
        Ok(module.call_method1("reporting", (application,))?.unbind())
    }

    fn warn(&self, py: Python<'_>, reported: PyResult<Bound<'_, PyAny>>) {
        if let Err(error) = reported {
            let problem = exceptions::summary(py, &error);
            let message = format!("reload: cannot report the files of the application: {problem}");
            self.log.write(Level::Warning, &message);
        }
    }
}
