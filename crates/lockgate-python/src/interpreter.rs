//! The Python interpreter: the GIL's switch interval, process exit, and below it threads, garbage collection, tracebacks
//! and exceptions.

pub(crate) mod async_exception;
pub(crate) mod deferred_drops;
pub(crate) mod exceptions;
pub(crate) mod gc;
pub(crate) mod thread_local_gc;
pub(crate) mod threads;
pub(crate) mod traceback;

use std::time::Duration;

use lockgate_config::Gil;
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::ffi;

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

/// Whether Python runs one thread at a time. A free-threaded build does too once an extension module was imported that
/// needs the GIL, and then for good.
pub(crate) fn gil() -> Gil {
    if !ffi::IS_FREE_THREADED_BUILD {
        return Gil::Always;
    }
    Python::attach(|py| {
        let answer = py
            .import("sys")
            .and_then(|sys| sys.call_method0("_is_gil_enabled"))
            .and_then(|answer| answer.is_truthy());
        // A Python that does not say so is older than free threading.
        match answer.unwrap_or(true) {
            true => Gil::Enabled,
            false => Gil::Disabled,
        }
    })
}

/// Sets the switch interval: how long a thread may compute while another one waits for the GIL.
pub(crate) fn set_switch_interval(py: Python<'_>, interval: Duration, log: &ErrorLog) {
    let seconds = interval.as_secs_f64();
    let set = py
        .import("sys")
        .and_then(|sys| sys.call_method1("setswitchinterval", (seconds,)));
    if let Err(error) = set {
        let message = format!(
            "switch_interval: {}; Python keeps its own",
            exceptions::summary(py, &error)
        );
        log.write(Level::Warning, &message);
    }
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
