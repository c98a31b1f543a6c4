//! Looks at a thread's Python stack, and interrupts what it runs. Decides neither when nor why.

use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use crate::frames::Frames;
use crate::{exceptions, ffi};

pyo3::create_exception!(
    lockgate,
    RequestTimeout,
    PyBaseException,
    "The request has taken longer than request_timeout, and its client has been answered.\n\n\
     Raised in the thread that runs it. Not an Exception, so that code which handles those does not go on."
);

/// What Python calls the present thread.
///
/// # Errors
/// When the interpreter has no threads.
pub(crate) fn present_thread(py: Python<'_>) -> PyResult<u64> {
    py.import("_thread")?.call_method0("get_ident")?.extract()
}

/// The stack of a thread; nothing when it runs no Python code.
pub(crate) fn stack(py: Python<'_>, thread: u64, log: &ErrorLog) -> Option<Frames> {
    Frames::of_thread(py, thread).unwrap_or_else(|error| {
        let message = format!(
            "cannot look at a thread's stack: {}",
            exceptions::summary(py, &error)
        );
        py.detach(|| log.write(Level::Warning, &message));
        None
    })
}

/// Has the thread raise [`RequestTimeout`].
pub(crate) fn interrupt(py: Python<'_>, thread: u64) {
    // A thread that has ended meanwhile has nothing to interrupt.
    let _is_there = ffi::set_async_exception(thread, Some(&py.get_type::<RequestTimeout>()), py);
}

/// What the present thread was to raise and has not is not raised any more.
pub(crate) fn forget(py: Python<'_>) {
    if let Ok(thread) = present_thread(py) {
        let _is_there = ffi::set_async_exception(thread, None, py);
    }
}
