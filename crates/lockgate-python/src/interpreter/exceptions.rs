//! Formats Python exceptions for the log. Never fails: an exception that cannot be formatted is summarized.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// The whole traceback with chained exceptions, as Python prints it, without the trailing newline.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    format(py, error).map_or_else(|_| summary(py, error), |text| text.trim_end().to_owned())
}

/// The exception as Python code gets it. Before CPython 3.12 a fetched error does not have its traceback attached.
pub(crate) fn with_traceback<'py>(py: Python<'py>, error: &PyErr) -> Bound<'py, PyAny> {
    let value = error.value(py).clone().into_any();
    if let Some(traceback) = error.traceback(py) {
        // An exception without it is better than none.
        let _attached = value.setattr(pyo3::intern!(py, "__traceback__"), traceback);
    }
    value
}

/// One line, such as `ValueError: message`.
pub(crate) fn summary(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py);
    let name = kind.name().map_or_else(
        |_| "exception".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let Ok(text) = error.value(py).str() else {
        return name;
    };
    let text = text.to_string_lossy();
    if text.is_empty() {
        name
    } else {
        format!("{name}: {text}")
    }
}

/// The traceback from its first frame on that is not of Lockgate's own Python code, such as middleware; None if all
/// frames are.
fn from_application<'py>(traceback: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = traceback.py();
    let mut rest = traceback.clone();
    while !rest.is_none() {
        let globals = rest
            .getattr(pyo3::intern!(py, "tb_frame"))?
            .getattr(pyo3::intern!(py, "f_globals"))?;
        // Code that was executed with a dict of its own may have no name, or another object there.
        let name = globals.call_method1(pyo3::intern!(py, "get"), ("__name__",))?;
        let name = name.extract::<String>().unwrap_or_default();
        if name != "lockgate" && !name.starts_with("lockgate.") {
            return Ok(Some(rest));
        }
        rest = rest.getattr(pyo3::intern!(py, "tb_next"))?;
    }
    Ok(None)
}

fn format(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    // Before CPython 3.12 a fetched error does not have its traceback attached to the exception.
    let traceback = error.traceback(py).map(Bound::into_any);
    let frames = match &traceback {
        Some(traceback) => from_application(traceback)?.or(Some(traceback.clone())),
        None => None,
    };
    let arguments = (error.get_type(py), error.value(py), frames);
    let lines = py
        .import("traceback")?
        .call_method1("format_exception", arguments)?;
    let text = PyString::new(py, "").call_method1("join", (lines,))?;
    Ok(text.cast_into::<PyString>()?.to_string_lossy().into_owned())
}

/// Errors that an application sees only because its requests do not run on the main thread; CPython's own texts.
const OFF_THE_MAIN_THREAD: [&str; 3] = [
    "signal only works in main thread",
    "There is no current event loop in thread",
    "SQLite objects created in a thread can only be used in that same thread",
];

/// Advice for a traceback that the application would not have under a sync worker.
pub(crate) fn hint(traceback: &str) -> Option<&'static str> {
    let last = traceback.lines().next_back()?;
    let is_known = OFF_THE_MAIN_THREAD.iter().any(|words| last.contains(words));
    is_known.then_some(
        "  hint: requests do not run on the main thread; docs/threads.md has the cure under \"From sync workers\"",
    )
}
