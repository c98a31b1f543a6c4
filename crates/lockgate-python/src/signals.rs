//! Signals as the application sees them: the handlers that Python has in a worker or a template, and what they lead to.
//! `lockgate.signals` installs them.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use lockgate_supervisor::SignalRelay;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::children;

/// What signals do in this process; nothing in a template, which its supervisor ends.
static RELAY: Mutex<Option<SignalRelay>> = Mutex::new(None);

/// Leaves the dispositions of signals as the supervisor wants to find them.
///
/// # Errors
/// When this is not the main thread.
pub(crate) fn prepare_supervisor(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("prepare_supervisor").map(drop)
}

/// Installs the handlers, in a worker or a template. To be called before the application is imported.
///
/// # Errors
/// When Python refuses.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let deliver = |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let number: i32 = arguments.get_item(0)?.extract()?;
        if children::is_child() {
            return PyResult::Ok(false);
        }
        // Handlers run one at a time, on the main thread; the lock is never waited for.
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

/// From now on signals do what they do in the worker of this relay.
pub(crate) fn lead_to(relay: SignalRelay) {
    *RELAY.lock().unwrap_or_else(PoisonError::into_inner) = Some(relay);
}

/// Has every signal with a Python handler wake the main thread while it waits outside the interpreter. To be called after
/// the import of the application, which may have set another descriptor; gives that one.
///
/// # Errors
/// When Python refuses.
pub(crate) fn wake_main_thread(py: Python<'_>, relay: &SignalRelay) -> PyResult<Option<RawFd>> {
    let descriptor = relay.wake_fd().as_raw_fd();
    let before: RawFd = module(py)?.call_method1("wake", (descriptor,))?.extract()?;
    Ok((before >= 0).then_some(before))
}

/// Signals wait from here on, also in a program that replaces this one.
///
/// # Errors
/// When the system refuses.
pub(crate) fn block(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("block").map(drop)
}

/// No signal is blocked from here on.
///
/// # Errors
/// When the system refuses.
pub(crate) fn unblock(py: Python<'_>) -> PyResult<()> {
    module(py)?.call_method0("unblock").map(drop)
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("lockgate.signals")
}
