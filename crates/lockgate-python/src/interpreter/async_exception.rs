//! Asynchronous exceptions: raises `RequestTimeout` in a thread at its request's deadline, and reads the thread's stack.

use lockgate_config::Gil;
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::traceback::Traceback;
use super::{exceptions, gil};
use crate::ffi;

pyo3::create_exception!(
    lockgate,
    RequestTimeout,
    PyBaseException,
    "The request has taken longer than request_timeout, and its client has been answered.\n\n\
     Raised in the thread that runs it. Not an Exception, so that code which handles those does not go on."
);

/// Python's identifier of the current thread.
///
/// # Errors
/// When Python has no `_thread` module.
pub(crate) fn current_thread_id(py: Python<'_>) -> PyResult<u64> {
    py.import("_thread")?.call_method0("get_ident")?.extract()
}

/// The stack of a thread; `None` when it runs no Python code.
pub(crate) fn traceback_of(py: Python<'_>, thread: u64, log: &ErrorLog) -> Option<Traceback> {
    let traceback = match gil() {
        Gil::Always | Gil::Enabled => Traceback::of_thread(py, thread),
        Gil::Disabled => Traceback::of_running_thread(py, thread),
    };
    traceback.unwrap_or_else(|error| {
        let message = format!(
            "cannot read the stack of a thread: {}",
            exceptions::summary(py, &error)
        );
        py.detach(|| log.write(Level::Warning, &message));
        None
    })
}

/// Makes the thread raise [`RequestTimeout`].
pub(crate) fn raise_in(py: Python<'_>, thread: u64) {
    raise(thread, &py.get_type::<RequestTimeout>());
}

/// Makes the thread raise an exception of this class.
pub(crate) fn raise(thread: u64, exception: &Bound<'_, PyType>) {
    // A thread that has ended in the meantime needs no interruption.
    let _is_there = ffi::set_async_exception(thread, Some(exception), exception.py());
}

/// Cancels an exception that is pending for the current thread.
pub(crate) fn cancel(py: Python<'_>) {
    if let Ok(thread) = current_thread_id(py) {
        let _is_there = ffi::set_async_exception(thread, None, py);
    }
}
