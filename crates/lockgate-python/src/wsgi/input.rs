//! `wsgi.input`: the body of a request as a readable stream, which ends with the body.
//!
//! Reads of files and of the connection release the GIL; when several threads read, each byte is returned once. A body
//! that is streamed (`stream_request_body`) has reads that wait for the client.

mod buffered;
mod lines;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockgate_worker::{Body, BodyBuffer};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

pub(crate) use buffered::StreamStatus;
use buffered::{Buffered, Reader};
use lines::line_length;

/// The stream. An empty one never changes, so requests without a body share it.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Input {
    source: Mutex<Source>,
}

enum Source {
    Ended,
    Memory { bytes: BodyBuffer, position: usize },
    Buffered(Buffered),
}

impl Input {
    /// The stream of requests without a body.
    pub(crate) fn empty() -> Self {
        Self {
            source: Mutex::new(Source::Ended),
        }
    }

    /// The stream of a body. If that is streamed, also returns its status.
    pub(crate) fn new(body: Body) -> (Self, Option<Arc<StreamStatus>>) {
        let mut status = None;
        let source = match body {
            Body::Empty => Source::Ended,
            Body::Memory(bytes) => Source::Memory { bytes, position: 0 },
            Body::Spooled { file, length } => {
                Source::Buffered(Buffered::new(Reader::spooled(file, length)))
            }
            Body::Stream(stream) => {
                let shared = Arc::default();
                status = Some(Arc::clone(&shared));
                Source::Buffered(Buffered::new(Reader::streamed(stream, shared)))
            }
        };
        let source = Mutex::new(source);
        (Self { source }, status)
    }

    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, Source> {
        self.source
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Input {
    /// At most `size` bytes, and fewer only at the end of the body; the rest of the body when `size` is negative or None.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).take(py, limit(size))
    }

    /// As `read`, but returns what there is: of a streamed body, what the client has sent. Waits only for the first byte.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).take_available(py, limit(size))
    }

    /// Fills a writable buffer; returns the number of bytes.
    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = PyMemoryView::from(buffer)?.call_method1("cast", ("B",))?;
        let room: usize = view.getattr("nbytes")?.extract()?;
        let bytes = self.lock(py).take(py, Some(room))?;
        let length = bytes.as_bytes().len();
        view.set_item(PySlice::new(py, 0, length as isize, 1), bytes)?;
        Ok(length)
    }

    /// One line with its newline, or at most `size` bytes of it.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).take_line(py, limit(size))
    }

    /// Lines until the end of the body, or until their total length reaches `hint`.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        // As in io.IOBase: None, zero and negative hints mean every line.
        let enough = hint
            .and_then(|hint| usize::try_from(hint).ok())
            .filter(|&hint| hint > 0);
        let mut total = 0;
        loop {
            let line = self.lock(py).take_line(py, None)?;
            let length = line.as_bytes().len();
            if length == 0 {
                return Ok(lines);
            }
            lines.append(line)?;
            total += length;
            if enough.is_some_and(|enough| total >= enough) {
                return Ok(lines);
            }
        }
    }

    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.lock(py).take_line(py, None)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    /// Does nothing: the server closes the body.
    fn close(&self) {}

    fn flush(&self) {}

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    fn isatty(&self) -> bool {
        false
    }

    #[getter]
    fn closed(&self) -> bool {
        false
    }
}

/// None and negative sizes mean no limit.
fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

impl Source {
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self {
            Self::Ended => Ok(PyBytes::new(py, b"")),
            Self::Memory { bytes, position } => {
                let left = bytes.len() - *position;
                let length = limit.map_or(left, |limit| limit.min(left));
                self.take_from_memory(py, length)
            }
            Self::Buffered(buffered) => buffered.take(py, limit),
        }
    }

    fn take_available<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self {
            Self::Buffered(buffered) => buffered.take_available(py, limit),
            Self::Ended | Self::Memory { .. } => self.take(py, limit),
        }
    }

    fn take_line<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match self {
            Self::Ended => Ok(PyBytes::new(py, b"")),
            Self::Memory { bytes, position } => {
                let length = line_length(&bytes[*position..], limit);
                self.take_from_memory(py, length)
            }
            Self::Buffered(buffered) => buffered.take_line(py, limit),
        }
    }

    /// The next `length` bytes, which must be available. The last byte frees the body.
    fn take_from_memory<'py>(
        &mut self,
        py: Python<'py>,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let Self::Memory { bytes, position } = self else {
            return Ok(PyBytes::new(py, b""));
        };
        let end = *position + length;
        let taken = PyBytes::new(py, &bytes[*position..end]);
        *position = end;
        if end == bytes.len() {
            *self = Self::Ended;
        }
        Ok(taken)
    }
}
