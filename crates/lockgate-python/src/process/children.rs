//! Processes that the application forks from a worker or a fork server: they release the worker's descriptors and
//! signal handlers (`lockgate.children`), and never continue as a worker.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{FORK_GATE, take_inherited_descriptors};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::ffi;
use crate::interpreter::{self, exceptions};

/// The application forked this process; only the forking thread exists in it.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// The current fork is the server's own, for example a fork server forks a worker.
static IS_OWN_FORK: AtomicBool = AtomicBool::new(false);

/// Descriptors that this process shares with the supervisor, by number.
static SHARED_WITH_SUPERVISOR: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Records the descriptors that this process shares with the supervisor.
pub(crate) fn note_descriptors(numbers: Vec<RawFd>) {
    *SHARED_WITH_SUPERVISOR
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = numbers;
}

/// Whether the application has forked this process.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// Forks a child of the server through Python's fork, which resets Python's locks and import machinery and runs every
/// at-fork hook.
///
/// # Errors
/// When Python raises an exception, or the system call fails.
pub(crate) fn fork(py: Python<'_>) -> PyResult<u32> {
    // Output of the import that is still buffered would be written once more by each child.
    interpreter::flush_streams(py);
    IS_OWN_FORK.store(true, Ordering::Relaxed);
    let pid = py.import("os").and_then(|os| os.call_method0("fork"));
    IS_OWN_FORK.store(false, Ordering::Relaxed);
    pid?.extract()
}

/// As [`fork`], twice; see [`Hooks::fork_twice`](lockgate_supervisor::Hooks::fork_twice).
///
/// # Errors
/// When Python raises an exception, or the system call fails.
pub(crate) fn fork_twice(py: Python<'_>, report: &mut dyn FnMut(io::Result<u32>)) -> PyResult<u32> {
    interpreter::flush_streams(py);
    // As os.fork() does.
    py.import("sys")?.call_method1("audit", ("os.fork",))?;
    IS_OWN_FORK.store(true, Ordering::Relaxed);
    let pid = ffi::fork_twice(py, report);
    IS_OWN_FORK.store(false, Ordering::Relaxed);
    Ok(pid?)
}

/// Registers an at-fork hook that prepares every process the application forks from this one. Call once in a worker or
/// fork server.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn prepare_forked_children(py: Python<'_>) -> PyResult<()> {
    register(py, "prepare_forked_children")
}

/// Registers an at-fork hook that closes the sockets of an embedded worker in every process that this one forks. Signal
/// dispositions belong to the program.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn prepare_children_of_program(py: Python<'_>) -> PyResult<()> {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    // A child of the program that serves itself: its calls do not end with the process.
    IS_CHILD.store(false, Ordering::Relaxed);
    if IS_REGISTERED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    register(py, "prepare_children_of_program")
}

/// Calls the function of `lockgate.children` with what the hooks do.
fn register(py: Python<'_>, function: &str) -> PyResult<()> {
    let inherited = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        FORK_GATE.reset_in_child();
        if IS_OWN_FORK.load(Ordering::Relaxed) {
            return None;
        }
        IS_CHILD.store(true, Ordering::Relaxed);
        let mut numbers = take_inherited_descriptors();
        // Reported once: afterwards the numbers may be reused by the child. The lock is held briefly, by attached
        // threads only, and the forking thread was attached: no other thread held it.
        if let Ok(mut shared) = SHARED_WITH_SUPERVISOR.try_lock() {
            numbers.append(&mut shared);
        }
        Some(numbers)
    };
    let inherited = PyCFunction::new_closure(py, None, None, inherited)?;
    let begin_fork = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| FORK_GATE.begin_fork();
    let begin_fork = PyCFunction::new_closure(py, None, None, begin_fork)?;
    let end_fork = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| FORK_GATE.end_fork();
    let end_fork = PyCFunction::new_closure(py, None, None, end_fork)?;
    py.import("lockgate.children")?
        .call_method1(function, (inherited, begin_fork, end_fork))
        .map(drop)
}

/// Ends a child that has returned from the application's call: the request, its connection and the worker's threads
/// belong to its parent.
#[inline]
pub(crate) fn exit_if_child(py: Python<'_>, log: &ErrorLog, outcome: Result<(), &PyErr>) {
    if is_child() {
        exit(py, log, outcome);
    }
}

#[cold]
fn exit(py: Python<'_>, log: &ErrorLog, outcome: Result<(), &PyErr>) -> ! {
    let code = match outcome {
        Ok(()) => {
            let advice = "a child process that the application forked has returned from the application's call and \
                          exits now (end it with os._exit, or use multiprocessing)";
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

/// As Python does it: None is 0, an integer itself, anything else 1.
fn exit_code(py: Python<'_>, error: &PyErr) -> i32 {
    let code = error.value(py).getattr("code");
    match code {
        Ok(code) if code.is_none() => 0,
        Ok(code) => code.extract().unwrap_or(1),
        Err(_) => 1,
    }
}
