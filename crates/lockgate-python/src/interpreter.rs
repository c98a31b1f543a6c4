//! Threads and the GIL: starting Python threads, switch interval, process exit, and references dropped without the GIL.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockgate_worker::app::ThreadBody;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::exceptions;
use crate::wsgi;

/// Objects whose last owner did not hold the GIL; the next thread that is attached drops them. PyO3's own pool would be
/// checked at every attach, under one lock for all threads.
static GRAVEYARD: Mutex<Vec<Py<PyBytes>>> = Mutex::new(Vec::new());
static HAS_GRAVES: AtomicBool = AtomicBool::new(false);

/// Keeps a reference until a thread is attached.
pub(crate) fn bury(object: Py<PyBytes>) {
    let mut graveyard = GRAVEYARD.lock().unwrap_or_else(PoisonError::into_inner);
    graveyard.push(object);
    HAS_GRAVES.store(true, Ordering::Release);
}

/// Whether references wait to be dropped.
pub(crate) fn has_graves() -> bool {
    HAS_GRAVES.load(Ordering::Acquire)
}

/// Drops the references that wait.
pub(crate) fn empty_graveyard(_attached: Python<'_>) {
    if has_graves() {
        // No thread waits for the GIL while it holds this lock, so taking the lock attached cannot deadlock.
        let objects = {
            let mut graveyard = GRAVEYARD.lock().unwrap_or_else(PoisonError::into_inner);
            HAS_GRAVES.store(false, Ordering::Release);
            std::mem::take(&mut *graveyard)
        };
        drop(objects);
    }
}

/// Flushes Python's standard streams.
pub(crate) fn flush_streams(py: Python<'_>) {
    if let Ok(sys) = py.import("sys") {
        for name in ["stdout", "stderr"] {
            // A closed or broken stream has nothing to flush.
            let _ = sys
                .getattr(name)
                .and_then(|stream| stream.call_method0("flush"));
        }
    }
}

/// Flushes the standard streams and leaves the process at once. Not exit(): pool threads may still be in calls that
/// never end, and finalizing the interpreter under them would crash.
pub(crate) fn leave(py: Python<'_>, code: i32) -> ! {
    flush_streams(py);
    let _ = py
        .import("os")
        .and_then(|os| os.call_method1("_exit", (code,)));
    std::process::abort()
}

/// Sets the switch interval: how long a thread may compute while another one waits for the GIL.
///
/// # Errors
/// When Python rejects the value.
pub(crate) fn set_switch_interval(py: Python<'_>, interval: Duration) -> PyResult<()> {
    py.import("sys")?
        .call_method1("setswitchinterval", (interval.as_secs_f64(),))
        .map(drop)
}

/// The switch interval: how long a thread may compute while another one waits for the GIL.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn switch_interval(py: Python<'_>) -> PyResult<Duration> {
    let seconds: f64 = py
        .import("sys")?
        .call_method0("getswitchinterval")?
        .extract()?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
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

/// The target of a pool thread; runs once.
#[pyclass(frozen, module = "lockgate._lockgate")]
struct Target {
    body: Mutex<Option<ThreadBody>>,
}

#[pymethods]
impl Target {
    fn __call__(&self, py: Python<'_>) {
        let body = self
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(body) = body {
            let entered = (py.import("lockgate.shutdown"))
                .and_then(|module| module.call_method0("enter_server_thread"));
            if let Err(error) = entered {
                error.write_unraisable(py, None);
            }
            body();
            // While still attached: thread-local destructors run after Python has deleted the thread state.
            wsgi::forget_thread(py);
        }
    }
}
