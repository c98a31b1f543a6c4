//! `wsgi.errors`: text that the application writes to the error log. Knows no request.
//!
//! Whole lines go out in one write each, so that lines of several threads and processes never mix.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lockgate_observe::{append_text, reads_as_event};
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyString};

/// A text stream for writing. Each thread has its own.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct ErrorStream {
    log: Arc<ErrorLog>,
    /// The beginning of a line whose end is not written yet.
    partial: Mutex<Vec<u8>>,
    has_partial: AtomicBool,
}

/// A line without an end is written out at this size.
const LONGEST_LINE: usize = 64 * 1024;

impl ErrorStream {
    pub(crate) fn new(log: Arc<ErrorLog>) -> Self {
        Self {
            log,
            partial: Mutex::default(),
            has_partial: AtomicBool::new(false),
        }
    }

    /// Ends a line that the request left open: what comes next is another request's, or the server's.
    pub(crate) fn end_line(&self, py: Python<'_>) {
        if self.has_partial.load(Ordering::Relaxed) {
            let mut text = self.take_partial(py);
            if !text.is_empty() {
                text.push(b'\n');
                self.put(py, text);
            }
        }
    }

    fn take_partial(&self, py: Python<'_>) -> Vec<u8> {
        let mut partial = self
            .partial
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        self.has_partial.store(false, Ordering::Relaxed);
        std::mem::take(&mut *partial)
    }

    /// Takes text in; gives what is to be written now.
    fn accept(&self, py: Python<'_>, text: &[u8]) -> Vec<u8> {
        let mut partial = self
            .partial
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner);
        append_text(&mut partial, text);
        let end = memchr::memrchr(b'\n', &partial).map_or(0, |newline| newline + 1);
        let rest = partial.split_off(end);
        let mut whole = std::mem::replace(&mut *partial, rest);
        if partial.len() > LONGEST_LINE {
            whole.append(&mut partial);
            whole.push(b'\n');
        }
        self.has_partial
            .store(!partial.is_empty(), Ordering::Relaxed);
        whole
    }

    /// Writes outside the interpreter: a log may be a pipe that nobody empties.
    fn put(&self, py: Python<'_>, lines: Vec<u8>) {
        if !lines.is_empty() {
            let lines = set_apart(lines);
            py.detach(|| self.log.raw(&lines));
        }
    }
}

#[pymethods]
impl ErrorStream {
    /// Writes text; gives its length in characters.
    #[pyo3(signature = (text, /))]
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let whole = match text.to_str() {
            Ok(text) => self.accept(py, text.as_bytes()),
            // Lone surrogates: bytes that Python could not decode are shown as bytes.
            Err(_) => self.accept(py, encode(text)?.as_bytes()),
        };
        self.put(py, whole);
        text.len()
    }

    /// Writes each text of an iterable.
    #[pyo3(signature = (lines, /))]
    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    /// Writes out what has no line end yet, with one: the next line of the log may be another thread's.
    fn flush(&self, py: Python<'_>) {
        self.end_line(py);
    }

    /// Not a terminal, whatever the log is connected to.
    fn isatty(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    fn readable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    #[getter]
    fn errors(&self) -> &'static str {
        "surrogateescape"
    }

    #[getter]
    fn name(&self) -> &'static str {
        "<wsgi.errors>"
    }

    #[getter]
    fn mode(&self) -> &'static str {
        "w"
    }
}

/// Lines that could pass for events of the server move a space to the right.
fn set_apart(lines: Vec<u8>) -> Vec<u8> {
    if !lines.split(|&byte| byte == b'\n').any(reads_as_event) {
        return lines;
    }
    let mut apart = Vec::with_capacity(lines.len() + 16);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        if reads_as_event(line) {
            apart.push(b' ');
        }
        apart.extend_from_slice(line);
    }
    apart
}

fn encode<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    // Surrogates outside U+DC80..U+DCFF stand for no byte; a log line is better than an exception about it.
    let encoded = text
        .call_method1("encode", ("utf-8", "surrogateescape"))
        .or_else(|_| text.call_method1("encode", ("utf-8", "backslashreplace")))?;
    Ok(encoded.cast_into::<PyBytes>()?)
}
