//! Threads that Python knows: the server's own are started by `threading.Thread`.

use std::io;
use std::sync::{Mutex, PoisonError};

use lockgate_observe::Level;
use lockgate_worker::app::ThreadBody;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::exceptions;

/// The stack of a thread on most systems with glibc. musl gives 128 KiB, in which thirty calls from C to Python and back
/// end the process with SIGSEGV.
const STACK: usize = 8 << 20;

/// Gives the threads that Python starts from now on a stack as with glibc, where the C library gives less.
pub(crate) fn enlarge_stacks(py: Python<'_>, log: &ErrorLog) {
    if !cfg!(target_env = "musl") {
        return;
    }
    if let Err(error) = set_stack_size(py, STACK) {
        let message = format!(
            "the threads keep the stacks that the C library gives: {}",
            exceptions::summary(py, &error)
        );
        log.write(Level::Warning, &message);
    }
}

/// Sets the size, unless the program has set one.
fn set_stack_size(py: Python<'_>, bytes: usize) -> PyResult<()> {
    let stack_size = py.import("_thread")?.getattr("stack_size")?;
    // It returns the size before, which is 0 when none was set.
    let before: usize = stack_size.call1((bytes,))?.extract()?;
    if before != 0 {
        stack_size.call1((before,))?;
    }
    Ok(())
}

/// The package that has replaced Python's threads and locks (gevent, eventlet), if any.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn patched_by(py: Python<'_>) -> PyResult<Option<String>> {
    patching(py)?.call_method0("patched_by")?.extract()
}

fn patching(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("lockgate.patching")
}

/// Starts a thread that Python knows: thread-locals, debuggers and tracing work in it, and its thread state lives as
/// long as the thread. It is a daemon thread, so that exiting the interpreter does not wait for it.
///
/// # Errors
/// When the system cannot create a thread.
pub(crate) fn spawn(name: String, body: ThreadBody) -> io::Result<()> {
    Python::attach(|py| -> PyResult<()> {
        let target = Bound::new(
            py,
            Target {
                body: Mutex::new(Some(body)),
                is_in_own_process: true,
            },
        )?;
        if patched_by(py)?.is_some() {
            let start = patching(py)?.call_method0("start_new_thread")?;
            return start.call1((target, ())).map(drop);
        }
        let options = PyDict::new(py);
        options.set_item("target", target)?;
        options.set_item("name", name)?;
        options.set_item("daemon", true)?;
        let thread = py
            .import("threading")?
            .getattr("Thread")?
            .call((), Some(&options))?;
        thread.call_method0("start").map(drop)
    })
    .map_err(|error| io::Error::other(Python::attach(|py| exceptions::summary(py, &error))))
}

/// Starts a thread in a process that is not the server's own: `start` is called with a function to run and a name.
///
/// # Errors
/// When it raises an exception.
pub(crate) fn spawn_with(start: &Py<PyAny>, name: String, body: ThreadBody) -> io::Result<()> {
    Python::attach(|py| -> PyResult<()> {
        let target = Target {
            body: Mutex::new(Some(body)),
            is_in_own_process: false,
        };
        start.call1(py, (Bound::new(py, target)?, name)).map(drop)
    })
    .map_err(|error| io::Error::other(Python::attach(|py| exceptions::summary(py, &error))))
}

/// The target of a pool thread; runs once.
#[pyclass(frozen, module = "lockgate._lockgate")]
struct Target {
    body: Mutex<Option<ThreadBody>>,
    /// The process is a worker, whose exit does not wait for this thread.
    is_in_own_process: bool,
}

#[pymethods]
impl Target {
    fn __call__(&self, py: Python<'_>) {
        let body = self
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(body) = body else {
            return;
        };
        if self.is_in_own_process {
            let entered = (py.import("lockgate.shutdown"))
                .and_then(|module| module.call_method0("enter_server_thread"));
            if let Err(error) = entered {
                error.write_unraisable(py, None);
            }
        }
        body();
    }
}
