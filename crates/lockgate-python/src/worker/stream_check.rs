//! Checks that a worker forked by a fork server can write to its standard streams. A fork copies locks but not the
//! threads that hold them: a stream lock that was held during the fork is never released in the worker.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::interpreter::threads;

/// How long the check may take. Nothing is written, so a slow reader does not matter.
const PATIENCE: Duration = Duration::from_secs(1);

const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Writes an empty string to each stream and flushes it, on another thread, as a request does. Returns the stream that
/// hangs, if any.
///
/// # Errors
/// When the system cannot create a thread.
pub(crate) fn find_hanging_stream(py: Python<'_>) -> PyResult<Option<&'static str>> {
    let (sender, receiver) = channel();
    threads::spawn(
        "lockgate-streams".to_owned(),
        Box::new(move || {
            for name in STREAMS {
                Python::attach(|py| try_stream(py, name));
                // The receiver may have timed out.
                let _late = sender.send(name);
            }
        }),
    )?;
    Ok(py.detach(move || {
        let until = Instant::now() + PATIENCE;
        STREAMS.into_iter().find(|_| {
            let left = until.saturating_duration_since(Instant::now());
            receiver.recv_timeout(left).is_err()
        })
    }))
}

/// A stream that is closed, broken or None does not hang.
fn try_stream(py: Python<'_>, name: &str) {
    let tried = py.import("sys").and_then(|sys| {
        let stream = sys.getattr(name)?;
        stream.call_method1("write", ("",))?;
        stream.call_method0("flush")
    });
    drop(tried);
}
