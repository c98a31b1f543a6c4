//! `wsgi.errors`: a text stream that writes to the error log.
//!
//! Whole lines are written in one write each, so that lines of several threads and processes never mix.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lockgate_observe::{append_text, reads_as_event};
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyString};

/// A writable text stream. Each thread has its own.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct ErrorStream {
    log: Arc<ErrorLog>,
    /// The beginning of a line whose end is not written yet.
    partial: Mutex<Vec<u8>>,
    has_partial: AtomicBool,
}

/// A line without a newline is written at this size.
const LONGEST_LINE: usize = 64 * 1024;

impl ErrorStream {
    pub(crate) fn new(log: Arc<ErrorLog>) -> Self {
        Self {
            log,
            partial: Mutex::default(),
            has_partial: AtomicBool::new(false),
        }
    }

    /// Ends a line that the request left open: the next text belongs to another request or to the server.
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

    /// Buffers text; returns the bytes to write now.
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

    /// Writes without the GIL: the log may be a pipe that is full.
    fn put(&self, py: Python<'_>, lines: Vec<u8>) {
        if !lines.is_empty() {
            let lines = set_apart(lines);
            py.detach(|| self.log.raw(&lines));
        }
    }
}

#[pymethods]
impl ErrorStream {
    /// Writes text; returns its length in characters.
    #[pyo3(signature = (text, /))]
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let whole = self.accept(py, &text_bytes(text)?);
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

    /// Writes an unfinished line and ends it: the next line of the log may be another thread's.
    fn flush(&self, py: Python<'_>) {
        self.end_line(py);
    }

    /// False, even if the log is a terminal.
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

/// Indents lines that look like events of the server by a space.
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

/// Text as bytes. Lone surrogates are bytes that Python could not decode, and become those bytes.
pub(crate) fn text_bytes<'text>(text: &'text Bound<'_, PyString>) -> PyResult<Cow<'text, [u8]>> {
    match text.to_str() {
        Ok(text) => Ok(Cow::Borrowed(text.as_bytes())),
        Err(_) => Ok(Cow::Owned(encode(text)?.as_bytes().to_vec())),
    }
}

fn encode<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    // Surrogates outside U+DC80..U+DCFF stand for no byte; an escaped log line is better than an exception.
    let encoded = text
        .call_method1("encode", ("utf-8", "surrogateescape"))
        .or_else(|_| text.call_method1("encode", ("utf-8", "backslashreplace")))?;
    Ok(encoded.cast_into::<PyBytes>()?)
}
