//! `wsgi.input`: the body of a request as a readable stream. Unless the body is streamed, it is complete before Python
//! runs, so a read never waits for the client. In both cases a read ends with the body.
//!
//! File reads release the GIL; when several threads read, each byte is returned once.

mod streamed;

use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockgate_worker::{Body, BodyBuffer, SpoolFile};
use pyo3::exceptions::{PyEOFError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use self::streamed::Streamed;

/// The stream. An empty one never changes, so requests without a body share it.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Input {
    source: Mutex<Source>,
}

enum Source {
    Ended,
    Memory { bytes: BodyBuffer, position: usize },
    Spooled(Spooled),
    Streamed(Streamed),
}

/// `buffer[start..]` was read from the file and not returned yet; `unread` bytes are still in the file.
struct Spooled {
    file: SpoolFile,
    unread: u64,
    buffer: Vec<u8>,
    start: usize,
}

/// The minimum size of a read from a spooled body.
const BLOCK: usize = 64 * 1024;

impl Input {
    /// The stream of requests without a body.
    pub(crate) fn empty() -> Self {
        Self {
            source: Mutex::new(Source::Ended),
        }
    }

    pub(crate) fn new(body: Body) -> Self {
        let source = match body {
            Body::Empty => Source::Ended,
            Body::Memory(bytes) => Source::Memory { bytes, position: 0 },
            Body::Spooled { file, length } => Source::Spooled(Spooled {
                file,
                unread: length,
                buffer: Vec::new(),
                start: 0,
            }),
            Body::Stream(stream) => Source::Streamed(Streamed::new(stream)),
        };
        Self {
            source: Mutex::new(source),
        }
    }

    fn lock<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, Source> {
        self.source
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Input {
    /// At most `size` bytes; the rest of the body when `size` is negative or None.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.lock(py).take(py, limit(size))
    }

    /// Same as `read`: a read from a complete body takes one step.
    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, size)
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
            Self::Spooled(spooled) => spooled.take(py, limit),
            Self::Streamed(streamed) => streamed.take(py, limit),
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
            Self::Spooled(spooled) => spooled.take_line(py, limit),
            Self::Streamed(streamed) => streamed.take_line(py, limit),
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

/// Length of the first line with its newline, at most `limit`; the whole length when there is no newline.
fn line_length(bytes: &[u8], limit: Option<usize>) -> usize {
    let within = &bytes[..limit.map_or(bytes.len(), |limit| limit.min(bytes.len()))];
    memchr::memchr(b'\n', within).map_or(within.len(), |newline| newline + 1)
}

impl Spooled {
    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let left = self.buffered().len() as u64 + self.unread;
        let wanted = limit.map_or(left, |limit| left.min(limit as u64));
        let wanted = usize::try_from(wanted)
            .map_err(|_| PyValueError::new_err("the body is larger than memory"))?;
        if wanted < BLOCK {
            self.fill(py, wanted)?;
        }
        let from_buffer = wanted.min(self.buffered().len());
        PyBytes::new_with(py, wanted, |target| {
            let (head, tail) = target.split_at_mut(from_buffer);
            head.copy_from_slice(&self.buffered()[..from_buffer]);
            self.start += from_buffer;
            if tail.is_empty() {
                return Ok(());
            }
            let file = &mut self.file;
            py.detach(|| file.read_exact(tail)).map_err(truncated)?;
            self.unread -= tail.len() as u64;
            Ok(())
        })
    }

    fn take_line<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut searched = 0;
        loop {
            let length = line_length(self.buffered(), limit);
            let is_whole = length > searched && self.buffered()[length - 1] == b'\n';
            let is_enough =
                is_whole || limit.is_some_and(|limit| length >= limit) || self.unread == 0;
            if is_enough {
                let line = PyBytes::new(py, &self.buffered()[..length]);
                self.start += length;
                return Ok(line);
            }
            searched = length;
            self.fill(py, searched + BLOCK)?;
        }
    }

    /// Reads until `wanted` bytes are buffered or the file ends, at least a block at a time.
    fn fill(&mut self, py: Python<'_>, wanted: usize) -> PyResult<()> {
        let missing = wanted.saturating_sub(self.buffered().len()) as u64;
        if missing == 0 || self.unread == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let step = missing.max(BLOCK as u64).min(self.unread);
        let buffered = self.buffer.len();
        let (file, buffer) = (&mut self.file, &mut self.buffer);
        let read = py.detach(|| file.by_ref().take(step).read_to_end(buffer))?;
        self.unread -= read as u64;
        if (read as u64) < step {
            self.buffer.truncate(buffered + read);
            return Err(truncated(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn truncated(error: io::Error) -> PyErr {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return PyEOFError::new_err("the file that holds the request's body has shrunk");
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::line_length;

    #[test]
    fn a_line_ends_at_its_newline_its_limit_or_the_end() {
        let cases: [(&[u8], Option<usize>, usize); 7] = [
            (b"", None, 0),
            (b"ab", None, 2),
            (b"ab\ncd\n", None, 3),
            (b"ab\ncd\n", Some(2), 2),
            (b"ab\ncd\n", Some(3), 3),
            (b"ab\ncd\n", Some(0), 0),
            (b"\n", Some(9), 1),
        ];
        for (bytes, limit, expected) in cases {
            assert_eq!(line_length(bytes, limit), expected, "{bytes:?} {limit:?}");
        }
    }
}
