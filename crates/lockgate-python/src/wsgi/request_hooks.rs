//! gunicorn's hooks around each request (`lockgate.gunicorn.requests`), and access records through Python's loggers.

use lockgate_worker::Reply;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use super::response::progress::Progress;
use crate::interpreter::exceptions;

/// The hooks of this worker.
pub(crate) struct RequestHooks {
    object: Py<PyAny>,
    /// Python logs the requests that reach the application.
    records_access: bool,
}

impl RequestHooks {
    /// Hooks as `lockgate.gunicorn.requests.RequestHooks`.
    ///
    /// # Errors
    /// When that has no `records_access`.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            records_access: object.getattr("records_access")?.is_truthy()?,
            object: object.clone().unbind(),
        })
    }

    /// Logs an exception of the application through Python, if Python logs requests; false if it does not, or fails.
    pub(crate) fn log_exception(&self, py: Python<'_>, described: &str, error: &PyErr) -> bool {
        let failed = pyo3::intern!(py, "failed");
        self.records_access
            && (self.object.bind(py))
                .call_method1(failed, (described, exceptions::with_traceback(py, error)))
                .is_ok()
    }

    /// Calls `pre_request`.
    ///
    /// # Errors
    /// What the hook raises: the application is not called.
    pub(crate) fn begin<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        reply: &mut Reply,
    ) -> PyResult<HookedExchange<'py>> {
        if self.records_access {
            reply.skip_access_log();
        }
        let py = environ.py();
        let begin = pyo3::intern!(py, "begin");
        let begun = self.object.bind(py).call_method1(begin, (environ,))?;
        Ok(HookedExchange(begun))
    }
}

/// A request between its hooks.
pub(crate) struct HookedExchange<'py>(Bound<'py, PyAny>);

impl<'py> HookedExchange<'py> {
    /// Calls the application; what it passes to `start_response` is recorded.
    pub(crate) fn call(
        &self,
        application: &Bound<'py, PyAny>,
        start_response: &Bound<'py, PyCFunction>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = pyo3::intern!(self.0.py(), "call");
        self.0.call_method1(call, (application, start_response))
    }

    /// The response is complete, or has failed.
    ///
    /// # Errors
    /// An exception that is none of the hooks', such as the one at the request's deadline.
    pub(crate) fn responded(&self, reply: &mut Reply, progress: &Progress) -> PyResult<()> {
        let status = Some(reply.head().status()).filter(|&status| status > 0);
        let sent = (progress.announced).map_or(progress.produced, |announced| {
            announced.min(progress.produced)
        });
        let responded = pyo3::intern!(self.0.py(), "responded");
        self.0.call_method1(responded, (status, sent)).map(drop)
    }

    /// Calls `post_request`.
    ///
    /// # Errors
    /// As [`Self::responded`].
    pub(crate) fn ended(&self) -> PyResult<()> {
        let ended = pyo3::intern!(self.0.py(), "ended");
        self.0.call_method0(ended).map(drop)
    }
}
