//! Response bodies: sends what the application returned, which is a list, a file, or any iterable.
//!
//! Headers are sent with the first bytes that are not empty, so an error before them still gives a clean 500. A piece
//! is transmitted before the next one is requested, unless it completes the announced length.

use std::sync::Arc;
use std::time::Instant;

use lockgate_http::{BodyLength, Refusal, RequestHead};
use lockgate_worker::{BodyError, ClientGone, FileSent, Reply, SharedFile};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::file_wrapper::FileWrapper;
use super::progress::{Progress, queue};
use super::start_response::Responder;
use crate::interpreter::deferred_drops;
use crate::wsgi::logged_environ::LoggedEnviron;

/// Blocks of a `FileWrapper` may be gathered; this many bytes are sent at a time.
const FILE_BATCH: usize = 64 * 1024;

/// Why a response is incomplete.
pub(crate) enum Failure {
    /// The application raised an exception.
    Raised(PyErr),
    /// The application broke a rule of PEP 3333.
    Violation(String),
    /// The body of the request was refused while the application read it, and the application let the exception through.
    Refused {
        /// Status of the response.
        status: u16,
    },
    /// The client has disconnected.
    ClientGone,
}

impl Failure {
    /// What the exception of a read means that the application has not caught; `error` is what the read has found.
    pub(crate) fn after(self, py: Python<'_>, error: Option<BodyError>) -> Self {
        let (Self::Raised(raised), Some(error)) = (&self, error) else {
            return self;
        };
        // Or an exception that has its text, such as Django's UnreadablePostError.
        let text = (raised.value(py).str()).map_or_else(|_| String::new(), |text| text.to_string());
        let is_read = match error {
            BodyError::Ended => {
                raised.is_instance_of::<PyValueError>(py) && text.ends_with(&error.to_string())
            }
            _ => raised.is_instance_of::<PyOSError>(py) && text == error.to_string(),
        };
        match error {
            _ if !is_read => self,
            // Within the call, a read ends early only at the request's deadline, which has been logged.
            BodyError::Truncated | BodyError::Ended => Self::ClientGone,
            BodyError::TooSlow => Self::refused(Refusal::BodyTooSlow),
            BodyError::Refused(refusal) => Self::refused(refusal),
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::Refused {
            status: refusal.status(),
        }
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<ClientGone> for Failure {
    fn from(_: ClientGone) -> Self {
        Self::ClientGone
    }
}

/// When pieces of an iterable are transmitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlushPolicy {
    /// Each one before the next one is requested (PEP 3333, "Buffering and Streaming").
    EachPiece,
    /// Gathered: the iterable is the server's own wrapper around a file.
    Batches,
}

/// A response body that is being sent.
pub(crate) struct Transmission<'a, 'py> {
    pub(crate) py: Python<'py>,
    pub(crate) responder: &'a Responder,
    pub(crate) reply: &'a mut Reply,
    pub(crate) request: &'a RequestHead,
    pub(crate) progress: Progress,
    /// Set by `finish`: announced bytes that the application did not produce.
    pub(crate) missing: Option<u64>,
    /// What the access log shows of environ, if that can change until `finish`.
    pub(crate) logged: Option<LoggedEnviron<'a, 'py>>,
    pub(crate) is_head: bool,
    pub(crate) is_sendfile_on: bool,
}

impl Transmission<'_, '_> {
    /// Sends the whole body and finishes the reply.
    ///
    /// # Errors
    /// The reply is left as it is, for the caller to fail or abort.
    pub(crate) fn send(&mut self, result: &Bound<'_, PyAny>) -> Result<(), Failure> {
        if !self.reply.is_started() {
            if let Ok(list) = result.cast_exact::<PyList>() {
                return match list.len() {
                    1 => self.send_only(&list.get_item(0)?),
                    _ => self.send_all(list.iter()),
                };
            }
            if let Ok(tuple) = result.cast_exact::<PyTuple>() {
                return match tuple.len() {
                    1 => self.send_only(&tuple.get_item(0)?),
                    _ => self.send_all(tuple.iter()),
                };
            }
        }
        if let Ok(wrapper) = result.cast_exact::<FileWrapper>() {
            return self.send_file(result, wrapper.get());
        }
        self.send_each(result, BodyLength::Unknown, FlushPolicy::EachPiece)
    }

    /// A sequence of one piece.
    fn send_only(&mut self, piece: &Bound<'_, PyAny>) -> Result<(), Failure> {
        let bytes = bytes_of(piece)?;
        let length = bytes.as_bytes().len();
        self.begin(self.length_of(length as u64))?;
        if length > 0 && self.reply.allows_body() {
            queue(self.reply, bytes.clone(), &mut self.progress)?;
        }
        self.finish();
        Ok(())
    }

    /// A sequence whose pieces all exist: its length is known, and nothing blocks.
    fn send_all<'py>(
        &mut self,
        pieces: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> Result<(), Failure> {
        let pieces = pieces
            .map(|piece| bytes_of(&piece).cloned())
            .collect::<Result<Vec<_>, _>>()?;
        let total = pieces
            .iter()
            .map(|piece| piece.as_bytes().len() as u64)
            .sum();
        self.begin(self.length_of(total))?;
        if self.reply.allows_body() {
            for piece in pieces {
                if !piece.as_bytes().is_empty() {
                    queue(self.reply, piece, &mut self.progress)?;
                }
            }
        }
        self.finish();
        Ok(())
    }

    fn send_file(
        &mut self,
        result: &Bound<'_, PyAny>,
        wrapper: &FileWrapper,
    ) -> Result<(), Failure> {
        let Some(region) = wrapper.region(result.py()) else {
            return self.send_each(result, BodyLength::Unknown, FlushPolicy::Batches);
        };
        if !self.is_sendfile_on {
            return self.send_each(
                result,
                BodyLength::Known(region.length),
                FlushPolicy::Batches,
            );
        }
        let file = Arc::new(SharedFile::new(region.file));
        if !self.reply.is_started() {
            self.commit()?;
            let (request, offset) = (self.request, region.offset);
            match self.is_head && region.length == 0 {
                // See `length_of`.
                true => self.reply.start(BodyLength::Unknown),
                false => {
                    let sent = (self.reply).start_file(request, &file, offset, region.length)?;
                    if sent == FileSent::Selected {
                        self.progress.announced = None;
                        self.finish();
                        return Ok(());
                    }
                }
            }
        }
        let left = self
            .progress
            .announced
            .map(|announced| announced.saturating_sub(self.progress.produced));
        let length = left.map_or(region.length, |left| left.min(region.length));
        if length > 0 && self.reply.allows_body() {
            self.progress.produced += length;
            self.reply.send_file(file, region.offset, length)?;
        }
        self.finish();
        Ok(())
    }

    /// Any iterable.
    fn send_each(
        &mut self,
        result: &Bound<'_, PyAny>,
        length: BodyLength,
        policy: FlushPolicy,
    ) -> Result<(), Failure> {
        let batch = if policy == FlushPolicy::Batches {
            FILE_BATCH
        } else {
            0
        };
        let mut pieces = self
            .lend(|| result.try_iter())
            .map_err(|error| not_iterable(result, error))?;
        let mut queued = 0;
        loop {
            let Some(piece) = self.lend(|| pieces.next()) else {
                break;
            };
            let piece = piece?;
            let bytes = bytes_of(&piece)?;
            let size = bytes.as_bytes().len();
            if size == 0 {
                // Some applications yield empty strings repeatedly while they wait for events.
                if !self.reply.is_over() {
                    self.reply.check_client(Instant::now())?;
                }
                continue;
            }
            if self.reply.is_over() {
                self.progress.produced += size as u64;
                self.progress.is_cut = true;
                return Ok(());
            }
            if !self.reply.is_started() {
                self.begin(length)?;
            }
            if !self.reply.allows_body() {
                self.finish();
                return Ok(());
            }
            let sent = queue(self.reply, bytes.clone(), &mut self.progress)?;
            queued += size;
            if sent.is_complete {
                // The client has the whole announced body. The application is still iterated, to see whether there is
                // more and to run the code after its last piece.
                self.finish();
                // A file may be longer than the length that the application announced: that is no error.
                self.progress.is_cut &= policy == FlushPolicy::EachPiece;
                if sent.is_cut || policy == FlushPolicy::Batches {
                    return Ok(());
                }
            } else if queued > batch {
                self.reply.flush()?;
                queued = 0;
                // Otherwise a long stream would keep every piece that it has sent.
                deferred_drops::run(self.py);
            }
        }
        if !self.reply.is_over() {
            if !self.reply.is_started() {
                self.begin(self.length_of(0))?;
            }
            self.finish();
        }
        Ok(())
    }

    /// Runs code of the application, which may call `write` and `client_disconnected`.
    fn lend<T>(&mut self, iterate: impl FnOnce() -> T) -> T {
        self.responder
            .lend_to_iteration(self.py, self.reply, &mut self.progress, iterate)
    }

    /// Queues the head.
    fn begin(&mut self, length: BodyLength) -> Result<(), Failure> {
        self.commit()?;
        self.reply.start(length);
        Ok(())
    }

    /// Sets the head.
    fn commit(&mut self) -> Result<(), Failure> {
        if !self.responder.commit(self.py, self.reply) {
            return Err(Failure::Violation(
                "the application gave a body without a successful call of start_response()"
                    .to_owned(),
            ));
        }
        self.progress.announced = self.reply.head().content_length();
        Ok(())
    }

    /// The length to announce for a body of `total` bytes, unless the application has set one.
    fn length_of(&self, total: u64) -> BodyLength {
        // A HEAD is often answered with an empty body, which does not have the length of the GET response.
        if self.is_head && total == 0 {
            BodyLength::Unknown
        } else {
            BodyLength::Known(total)
        }
    }

    fn finish(&mut self) {
        if let Some(logged) = &self.logged {
            logged.record(self.reply);
        }
        if let Err(short) = self.reply.finish() {
            self.missing = Some(short.missing);
        }
    }
}

fn bytes_of<'a, 'py>(piece: &'a Bound<'py, PyAny>) -> Result<&'a Bound<'py, PyBytes>, Failure> {
    piece.cast::<PyBytes>().map_err(|_| {
        Failure::Violation(format!(
            "the application's iterable gave {}, not bytes",
            type_name(piece)
        ))
    })
}

/// The application returned an object without `__iter__`, or its `__iter__` raised an exception.
fn not_iterable(result: &Bound<'_, PyAny>, error: PyErr) -> Failure {
    let py = result.py();
    if error.is_instance_of::<PyTypeError>(py) && error.traceback(py).is_none() {
        let kind = type_name(result);
        Failure::Violation(format!(
            "the application returned {kind}, which is not iterable"
        ))
    } else {
        Failure::Raised(error)
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "something".to_owned(), |name| name.to_string())
}
