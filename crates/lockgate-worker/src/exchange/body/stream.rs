//! A request body that the application reads while the client still sends it.
//!
//! The stream and the writer of the response belong to the same exchange and may be used by different threads: the
//! stream has the receiving half of the connection, or of its HTTP/2 stream, until the response ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockgate_http::Refusal;

/// Why a body ends before it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The client has closed the connection in the middle of the body.
    Truncated,
    /// The client sends more slowly than `body_min_rate` allows, or nothing for `body_timeout`.
    TooSlow,
    /// The body violates a rule or a limit.
    Refused(Refusal),
    /// The request has ended: its response is complete, or its deadline has passed.
    Ended,
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => {
                formatter.write_str("the client closed the connection before the body was complete")
            }
            Self::TooSlow => formatter
                .write_str("the client sent the body too slowly (body_timeout, body_min_rate)"),
            Self::Refused(refusal) => write!(formatter, "the body is not valid: {refusal}"),
            Self::Ended => formatter.write_str("the request has ended"),
        }
    }
}

impl std::error::Error for BodyError {}

/// One step of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This many bytes; 0 at the end of the body.
    Read(usize),
    /// Wait until the client has sent something, or until the deadline.
    Wait(Instant),
}

/// The receiving half of an exchange.
pub trait BodySource: Send {
    /// Reads into a buffer that is not empty, without waiting.
    ///
    /// # Errors
    /// The body has ended before it is complete; later calls return the same error.
    fn step(&mut self, into: &mut [u8], now: Instant) -> Result<Step, BodyError>;

    /// Waits until there may be something to read, or until the deadline. Called without the lock of the stream,
    /// through the value that this returns.
    fn waiter(&self) -> Option<Arc<dyn Waiter>>;
}

/// Waits for a client.
pub trait Waiter: Send + Sync {
    /// Waits until there may be something to read, until the connection ends, or for this time; it may return early.
    fn wait(&self, at_most: Duration);
}

/// The state that the readers and the writer of an exchange share.
pub struct SharedBody<S> {
    /// `None`: the request has ended.
    source: Mutex<Option<S>>,
}

impl<S: BodySource> SharedBody<S> {
    /// The body that `source` receives.
    pub fn new(source: S) -> Self {
        Self {
            source: Mutex::new(Some(source)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<S>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `visit` on the source, unless it was taken back.
    pub fn with<T>(&self, visit: impl FnOnce(&mut S) -> T) -> Option<T> {
        self.lock().as_mut().map(visit)
    }

    /// Ends the stream: later reads fail. Returns the source.
    pub fn take(&self) -> Option<S> {
        self.lock().take()
    }
}

trait ReadBody: Send + Sync {
    fn read(&self, into: &mut [u8]) -> Result<usize, BodyError>;
}

impl<S: BodySource> ReadBody for SharedBody<S> {
    fn read(&self, into: &mut [u8]) -> Result<usize, BodyError> {
        loop {
            let (waiter, until) = {
                let mut source = self.lock();
                let source = source.as_mut().ok_or(BodyError::Ended)?;
                match source.step(into, Instant::now())? {
                    Step::Read(count) => return Ok(count),
                    Step::Wait(until) => (source.waiter().ok_or(BodyError::Truncated)?, until),
                }
            };
            // Every outcome leads to the next step: it finds input, the end, or that the time is over.
            waiter.wait(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// See the module documentation.
#[derive(Clone)]
pub struct BodyStream {
    body: Arc<dyn ReadBody>,
    length: Option<u64>,
}

impl BodyStream {
    pub(crate) fn new<S: BodySource + 'static>(
        body: Arc<SharedBody<S>>,
        length: Option<u64>,
    ) -> Self {
        Self { body, length }
    }

    /// Bytes in the body, if the client has announced them.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Reads what has arrived, at least one byte; waits for the client if nothing has. 0: the body is complete.
    ///
    /// Called detached, on any thread. `into` must not be empty.
    ///
    /// # Errors
    /// The body ends before it is complete.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, BodyError> {
        debug_assert!(!into.is_empty(), "0 bytes are the end of the body");
        self.body.read(into)
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BodyStream")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
