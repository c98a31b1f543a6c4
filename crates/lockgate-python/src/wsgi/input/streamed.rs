//! A body that the client is still sending (`stream_request_body`). A read waits for the client, without the GIL.

use lockgate_worker::{BodyError, BodyStream};
use pyo3::exceptions::{PyConnectionResetError, PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::line_length;

/// Bytes received at a time where the caller's buffer cannot be used.
const BLOCK: usize = 64 * 1024;

/// `buffer[start..]` was received and not returned yet.
pub(super) struct Streamed {
    stream: BodyStream,
    buffer: Vec<u8>,
    start: usize,
    /// Bytes that are still to be received, if the client has announced them.
    left: Option<u64>,
    is_ended: bool,
}

impl Streamed {
    pub(super) fn new(stream: BodyStream) -> Self {
        Self {
            left: stream.length(),
            stream,
            buffer: Vec::new(),
            start: 0,
            is_ended: false,
        }
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// As many bytes as wanted; fewer only at the end of the body.
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let known = self.left.and_then(|left| {
            usize::try_from(left)
                .ok()
                .map(|left| self.buffered().len() + left)
        });
        let wanted = match (limit, known) {
            (Some(limit), Some(known)) => Some(limit.min(known)),
            (None, known) => known,
            // The length is not known: so large a buffer may never be needed.
            (Some(limit), None) => (limit <= BLOCK).then_some(limit),
        };
        match wanted {
            Some(wanted) if known.is_some() => self.take_exactly(py, wanted),
            _ => {
                let limit = limit.unwrap_or(usize::MAX);
                while !self.is_ended && self.buffered().len() < limit {
                    self.receive(py)?;
                }
                let length = limit.min(self.buffered().len());
                let taken = PyBytes::new(py, &self.buffered()[..length]);
                self.start += length;
                Ok(taken)
            }
        }
    }

    /// Receives into the new object, without a copy.
    fn take_exactly<'py>(
        &mut self,
        py: Python<'py>,
        wanted: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        PyBytes::new_with(py, wanted, |target| {
            let from_buffer = wanted.min(self.buffered().len());
            let (head, mut tail) = target.split_at_mut(from_buffer);
            head.copy_from_slice(&self.buffered()[..from_buffer]);
            self.start += from_buffer;
            let stream = &self.stream;
            while !tail.is_empty() {
                let count = py.detach(|| stream.read(tail)).map_err(error_of)?;
                if count == 0 {
                    return Err(error_of(BodyError::Truncated));
                }
                self.left = self.left.map(|left| left.saturating_sub(count as u64));
                tail = &mut tail[count..];
            }
            Ok(())
        })
    }

    pub(super) fn take_line<'py>(
        &mut self,
        py: Python<'py>,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        loop {
            let length = line_length(self.buffered(), limit);
            let is_whole = length > 0 && self.buffered()[length - 1] == b'\n';
            if is_whole || self.is_ended || limit.is_some_and(|limit| length >= limit) {
                let line = PyBytes::new(py, &self.buffered()[..length]);
                self.start += length;
                return Ok(line);
            }
            self.receive(py)?;
        }
    }

    /// Receives what has arrived, or waits for it.
    fn receive(&mut self, py: Python<'_>) -> PyResult<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let buffered = self.buffer.len();
        self.buffer.resize(buffered + BLOCK, 0);
        let (stream, room) = (&self.stream, &mut self.buffer[buffered..]);
        let outcome = py.detach(|| stream.read(room));
        let count = *outcome.as_ref().unwrap_or(&0);
        self.buffer.truncate(buffered + count);
        self.left = self.left.map(|left| left.saturating_sub(count as u64));
        self.is_ended = outcome.map_err(error_of)? == 0;
        Ok(())
    }
}

fn error_of(error: BodyError) -> PyErr {
    let text = error.to_string();
    match error {
        BodyError::Truncated => PyConnectionResetError::new_err(text),
        BodyError::TooSlow => PyTimeoutError::new_err(text),
        BodyError::Refused(_) => PyOSError::new_err(text),
        BodyError::Ended => PyValueError::new_err(text),
    }
}
