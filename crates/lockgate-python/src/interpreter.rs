//! Threads and the interpreter: who is attached, who starts, and where references go that die outside. Knows no WSGI.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockgate_worker::app::ThreadBody;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::exceptions;
use crate::wsgi;

/// Objects whose last owner had no interpreter at hand. Emptied by whoever is attached next; PyO3's own pool
/// would be asked at every attach, under one lock for all threads.
static GRAVEYARD: Mutex<Vec<Py<PyBytes>>> = Mutex::new(Vec::new());
static HAS_GRAVES: AtomicBool = AtomicBool::new(false);

/// Keeps a reference until somebody is attached.
pub(crate) fn bury(object: Py<PyBytes>) {
    let mut graveyard = GRAVEYARD.lock().unwrap_or_else(PoisonError::into_inner);
    graveyard.push(object);
    HAS_GRAVES.store(true, Ordering::Release);
}

/// Whether something was buried.
pub(crate) fn has_graves() -> bool {
    HAS_GRAVES.load(Ordering::Acquire)
}

/// Drops what was buried.
pub(crate) fn empty_graveyard(_attached: Python<'_>) {
    if has_graves() {
        // Nobody waits for the interpreter while holding this lock, so that taking it attached cannot deadlock.
        let objects = {
            let mut graveyard = GRAVEYARD.lock().unwrap_or_else(PoisonError::into_inner);
            HAS_GRAVES.store(false, Ordering::Release);
            std::mem::take(&mut *graveyard)
        };
        drop(objects);
    }
}

/// Writes out what Python's standard streams hold.
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

/// Leaves the process at once, with the standard streams flushed. Not exit(): crew threads may still be in calls that do
/// not end, and finalizing under them would crash.
pub(crate) fn leave(py: Python<'_>, code: i32) -> ! {
    flush_streams(py);
    let _ = py
        .import("os")
        .and_then(|os| os.call_method1("_exit", (code,)));
    std::process::abort()
}

/// Sets how long a thread may compute while another one waits for the interpreter.
///
/// # Errors
/// When Python refuses it.
pub(crate) fn set_switch_interval(py: Python<'_>, interval: Duration) -> PyResult<()> {
    py.import("sys")?
        .call_method1("setswitchinterval", (interval.as_secs_f64(),))
        .map(drop)
}

/// How long a thread may compute while another one waits for the interpreter.
///
/// # Errors
/// When Python does not say.
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
/// When Python does not say.
pub(crate) fn patched_by(py: Python<'_>) -> PyResult<Option<String>> {
    patching(py)?.call_method0("patched_by")?.extract()
}

fn patching(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("lockgate.patching")
}

/// Starts a thread that Python knows: thread-locals, debuggers and tracing work in it, and its state lives as long as it.
/// It is a daemon, so that leaving the interpreter does not wait for it.
///
/// # Errors
/// When the system has no thread to give.
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

/// What a crew thread runs, once.
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
            // While we are still attached: thread-local destructors run after Python has forgotten the thread.
            wsgi::forget_thread(py);
        }
    }
}
