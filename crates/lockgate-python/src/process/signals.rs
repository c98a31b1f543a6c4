//! Signals in a worker or fork server: the Python handlers that the application sees, and what they call in the server.
//! `lockgate.signals` installs them.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use lockgate_observe::Level;
use lockgate_supervisor::SignalRelay;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::children;
use crate::interpreter::exceptions;

/// What signals do in this process; empty in a fork server, which the supervisor ends.
static RELAY: Mutex<Option<SignalRelay>> = Mutex::new(None);

/// Resets signal dispositions to what the supervisor expects.
///
/// # Errors
/// When this is not the main thread.
pub(crate) fn prepare_supervisor(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("prepare_supervisor").map(drop)
}

/// Installs the handlers, in a worker or a fork server. Call before the application is imported.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let deliver = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let number: i32 = arguments.get_item(0)?.extract()?;
        if children::is_child() {
            return PyResult::Ok(false);
        }
        // Handlers run one at a time, on the main thread, so the lock is free.
        if let Some(relay) = RELAY
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            relay.raise(number);
        }
        Ok(true)
    };
    let deliver = PyCFunction::new_closure(py, None, None, deliver)?;
    module(py)?.call_method1("install", (deliver,)).map(drop)
}

/// Directs signals to the worker of this relay.
pub(crate) fn set_relay(relay: SignalRelay) {
    *RELAY.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay);
}

/// Makes every signal with a Python handler wake the main thread while it waits without the GIL. Call after the import
/// of the application, which may have set another wakeup descriptor; returns that one.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn wake_main_thread(py: Python<'_>, relay: &SignalRelay) -> PyResult<Option<RawFd>> {
    let descriptor = relay.wake_fd().as_raw_fd();
    let before: RawFd = module(py)?.call_method1("wake", (descriptor,))?.extract()?;
    Ok((before >= 0).then_some(before))
}

/// The same in a worker that has loaded the application: logs what is in the way.
pub(crate) fn wake_worker(py: Python<'_>, relay: &SignalRelay, log: &ErrorLog) {
    let message = match wake_main_thread(py, relay) {
        Ok(None) => return,
        Ok(Some(before)) => format!(
            "the application has called signal.set_wakeup_fd({before}) at its import: the worker replaces the \
             descriptor by its own"
        ),
        Err(error) => format!(
            "signal.set_wakeup_fd: {}; signal handlers of Python may run up to a second late",
            exceptions::summary(py, &error)
        ),
    };
    log.write(Level::Warning, &message);
}

/// Blocks the signals that the supervisor handles, also for a program that replaces this one by exec.
///
/// # Errors
/// When the system call fails.
pub(crate) fn block(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("block").map(drop)
}

/// Unblocks all signals.
///
/// # Errors
/// When the system call fails.
pub(crate) fn unblock(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("unblock").map(drop)
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("lockgate.signals")
}
