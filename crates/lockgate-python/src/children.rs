//! Processes that the application forks from a worker or a template: what they give back, and that none of them goes on as
//! a worker. `lockgate.children` gives it back.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::take_inherited_descriptors;
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::{exceptions, interpreter};

/// This process was forked by the application and has only the thread that did it.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// The fork that goes on is the server's own: a template makes a worker.
static IS_OWN_FORK: AtomicBool = AtomicBool::new(false);

/// Descriptors of this process that it shares with the supervisor, by number.
static SHARED_WITH_SUPERVISOR: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// These are the descriptors that this process shares with the supervisor.
pub(crate) fn note_descriptors(numbers: Vec<RawFd>) {
    *SHARED_WITH_SUPERVISOR
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = numbers;
}

/// Whether the application has forked this process.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Makes a child of the server's own by Python's fork, so that its locks, its import machinery and every at-fork hook
/// follow.
///
/// # Errors
/// When Python or the system refuses.
pub(crate) fn fork(py: Python<'_>) -> PyResult<u32> {
    // What the import printed would be in the buffers of each child, and written by each of them.
    interpreter::flush_streams(py);
    IS_OWN_FORK.store(true, Ordering::Relaxed);
    let pid = py.import("os").and_then(|os| os.call_method0("fork"));
    IS_OWN_FORK.store(false, Ordering::Relaxed);
    pid?.extract()
}

/// Has every process that the application forks from this one settle first. To be called in a worker or a template, once.
///
/// # Errors
/// When Python refuses.
pub(crate) fn settle_when_forked(py: Python<'_>) -> PyResult<()> {
    let inherited = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        if IS_OWN_FORK.load(Ordering::Relaxed) {
            return None;
        }
        IS_CHILD.store(true, Ordering::Relaxed);
        let mut numbers = take_inherited_descriptors();
        // Told once, as those: from then on they may become the child's own. The lock is held for moments, by an attached
        // thread, and this one was attached when it forked: nobody had it.
        if let Ok(mut shared) = SHARED_WITH_SUPERVISOR.try_lock() {
            numbers.append(&mut shared);
        }
        Some(numbers)
    };
    let inherited = PyCFunction::new_closure(py, None, None, inherited)?;
    py.import("lockgate.children")?
        .call_method1("settle_when_forked", (inherited,))
        .map(drop)
}

/// A child that has come back from the application's call ends here: the request, its connection and the worker's
/// threads are its parent's.
#[inline]
pub(crate) fn end_here(py: Python<'_>, log: &ErrorLog, outcome: Result<(), &PyErr>) {
    if is_child() {
        end(py, log, outcome);
    }
}

#[cold]
fn end(py: Python<'_>, log: &ErrorLog, outcome: Result<(), &PyErr>) -> ! {
    let code = match outcome {
        Ok(()) => {
            let advice = "a child process that the application forked came back from the application's call; \
                          it ends here (end it with os._exit, or use multiprocessing)";
            log.write(Level::Warning, advice);
            0
        }
        Err(error) if error.is_instance_of::<PySystemExit>(py) => exit_code(py, error),
        Err(error) => {
            let traceback = exceptions::traceback(py, error);
            log.write(
                Level::Error,
                &format!("A child process that the application forked failed\n{traceback}"),
            );
            1
        }
    };
    interpreter::leave(py, code)
}

/// As Python has it: nothing is 0, a number itself, anything else 1.
fn exit_code(py: Python<'_>, error: &PyErr) -> i32 {
    let code = error.value(py).getattr("code");
    match code {
        Ok(code) if code.is_none() => 0,
        Ok(code) => code.extract().unwrap_or(1),
        Err(_) => 1,
    }
}
