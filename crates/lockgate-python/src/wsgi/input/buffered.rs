//! A body that is read with the GIL released: a spooled one from its file, a streamed one from the connection.
//!
//! Small reads and lines go through a buffer. Large reads go into the `bytes` object that the application gets.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use lockgate_worker::{BodyError, BodyStream, SpoolFile};
use pyo3::exceptions::{PyConnectionError, PyEOFError, PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::lines::line_length;
use crate::ffi;

/// The minimum size of a read into the buffer.
const BLOCK: usize = 64 * 1024;

/// The largest `bytes` object that is made for a body of unknown length before its end is seen.
const MOST_AHEAD: usize = 16 * 1024 * 1024;

/// What a streamed body and the call of its request know of each other.
#[derive(Default)]
pub(crate) struct StreamStatus {
    failure: OnceLock<BodyError>,
    is_closed: AtomicBool,
}

impl StreamStatus {
    /// Why the body could not be read to its end.
    pub(crate) fn failure(&self) -> Option<BodyError> {
        self.failure.get().copied()
    }

    /// The response has ended: what is buffered is not read any more.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

/// Where the bytes come from.
pub(super) enum Reader {
    /// `unread` bytes are still in the file.
    Spooled { file: SpoolFile, unread: u64 },
    /// `unread`: bytes that were not read yet, if the client has announced the length; 0 at the end of the body.
    Streamed {
        stream: BodyStream,
        unread: Option<u64>,
        status: Arc<StreamStatus>,
    },
}

impl Reader {
    pub(super) fn spooled(file: SpoolFile, length: u64) -> Self {
        Self::Spooled {
            file,
            unread: length,
        }
    }

    pub(super) fn streamed(stream: BodyStream, status: Arc<StreamStatus>) -> Self {
        let unread = stream.length();
        Self::Streamed {
            stream,
            unread,
            status,
        }
    }

    /// # Errors
    /// As a file that is closed.
    fn check_open(&self) -> PyResult<()> {
        match self {
            Self::Streamed { status, .. } if status.is_closed.load(Ordering::Relaxed) => {
                Err(closed())
            }
            Self::Spooled { .. } | Self::Streamed { .. } => Ok(()),
        }
    }

    /// Bytes to the end of the body, if that is known.
    fn unread(&self) -> Option<u64> {
        match self {
            Self::Spooled { unread, .. } => Some(*unread),
            Self::Streamed { unread, .. } => *unread,
        }
    }

    /// Reads at least one byte into a buffer that is not empty; 0 at the end of the body. Called detached.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadError> {
        match self {
            Self::Spooled { unread: 0, .. } => Ok(0),
            Self::Spooled { file, unread } => {
                let most =
                    usize::try_from(*unread).map_or(into.len(), |unread| unread.min(into.len()));
                let count = file.read(&mut into[..most]).map_err(ReadError::File)?;
                if count == 0 {
                    return Err(ReadError::FileHasShrunk);
                }
                *unread -= count as u64;
                Ok(count)
            }
            Self::Streamed {
                unread: Some(0), ..
            } => Ok(0),
            Self::Streamed {
                stream,
                unread,
                status,
            } => match stream.read(into) {
                Ok(0) => {
                    *unread = Some(0);
                    Ok(0)
                }
                Ok(count) => {
                    *unread = unread.map(|unread| unread.saturating_sub(count as u64));
                    Ok(count)
                }
                Err(error) => {
                    let _first_stays = status.failure.set(error);
                    Err(ReadError::Stream(error))
                }
            },
        }
    }
}

/// Why a read fails.
enum ReadError {
    File(io::Error),
    FileHasShrunk,
    Stream(BodyError),
}

impl From<ReadError> for PyErr {
    fn from(error: ReadError) -> Self {
        let error = match error {
            ReadError::File(error) => return error.into(),
            ReadError::FileHasShrunk => {
                return PyEOFError::new_err("the file that holds the request's body has shrunk");
            }
            ReadError::Stream(error) => error,
        };
        let text = error.to_string();
        // Subclasses of OSError, which Werkzeug and Django take for a client that has disconnected.
        match error {
            BodyError::Truncated => PyConnectionError::new_err(text),
            BodyError::TooSlow => PyTimeoutError::new_err(text),
            BodyError::Refused(_) => PyOSError::new_err(text),
            BodyError::Ended => closed(),
        }
    }
}

/// As a file that is closed.
fn closed() -> PyErr {
    PyValueError::new_err("read of wsgi.input after the request has ended")
}

/// `buffer[start..]` was read and not returned yet.
pub(super) struct Buffered {
    reader: Reader,
    buffer: Vec<u8>,
    start: usize,
}

impl Buffered {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            start: 0,
        }
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.reader.check_open()?;
        let left = (self.reader.unread()).map(|unread| unread + self.buffered().len() as u64);
        let wanted = match (left, limit) {
            (Some(left), Some(limit)) => left.min(limit as u64),
            (Some(left), None) => left,
            (None, Some(limit)) if limit <= MOST_AHEAD => limit as u64,
            (None, _) => return self.take_all(py, limit),
        };
        let wanted = usize::try_from(wanted)
            .map_err(|_| PyValueError::new_err("the body is larger than memory"))?;
        if wanted < BLOCK {
            self.fill(py, wanted)?;
            return Ok(self.take_from_buffer(py, wanted));
        }
        ffi::read_into_bytes(py, wanted, |target| {
            let from_buffer = target.len().min(self.buffered().len());
            if from_buffer > 0 {
                target[..from_buffer].copy_from_slice(&self.buffered()[..from_buffer]);
                self.start += from_buffer;
                return Ok(from_buffer);
            }
            self.reader.read(target)
        })
    }

    /// What is buffered; if nothing is, one read.
    pub(super) fn take_available<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.reader.check_open()?;
        let most = limit.unwrap_or(BLOCK);
        if most > 0 && self.buffered().is_empty() {
            py.detach(|| self.read_block(most.clamp(BLOCK, MOST_AHEAD)))?;
        }
        Ok(self.take_from_buffer(py, most))
    }

    pub(super) fn take_line<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.reader.check_open()?;
        let mut searched = 0;
        loop {
            let found = &self.buffered()[searched..];
            let length = searched + line_length(found, limit.map(|limit| limit - searched));
            let is_whole = length > searched && self.buffered()[length - 1] == b'\n';
            let is_enough = is_whole || limit.is_some_and(|limit| length >= limit);
            searched = length;
            if is_enough || py.detach(|| self.read_block(BLOCK))? == 0 {
                return Ok(self.take_from_buffer(py, length));
            }
        }
    }

    /// A body of unknown length, to its end or to the limit.
    fn take_all<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let limit = limit.unwrap_or(usize::MAX);
        self.fill(py, limit)?;
        Ok(self.take_from_buffer(py, limit))
    }

    /// At most `length` bytes of those that are buffered.
    fn take_from_buffer<'py>(&mut self, py: Python<'py>, length: usize) -> Bound<'py, PyBytes> {
        let length = length.min(self.buffered().len());
        let taken = PyBytes::new(py, &self.buffered()[..length]);
        self.start += length;
        taken
    }

    /// Reads until `wanted` bytes are buffered or the body ends.
    fn fill(&mut self, py: Python<'_>, wanted: usize) -> PyResult<()> {
        if self.buffered().len() >= wanted {
            return Ok(());
        }
        // Without the GIL between the reads: to get it back may take long beside threads that compute.
        Ok(py.detach(|| {
            while self.buffered().len() < wanted && self.read_block(BLOCK)? > 0 {}
            Ok::<_, ReadError>(())
        })?)
    }

    /// Reads once, at most `size` bytes; 0 at the end of the body. Called detached.
    fn read_block(&mut self, size: usize) -> Result<usize, ReadError> {
        let size = (self.reader.unread()).map_or(size, |unread| {
            usize::try_from(unread).map_or(size, |unread| unread.min(size))
        });
        // Of an announced length nothing is left.
        if size == 0 {
            return Ok(0);
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let end = self.buffer.len();
        self.buffer.resize(end + size, 0);
        let outcome = self.reader.read(&mut self.buffer[end..]);
        self.buffer
            .truncate(end + outcome.as_ref().copied().unwrap_or(0));
        outcome
    }
}
