//! Publishing: what `lockgate.publish` and the admin listener append to the broadcast log.

mod publisher;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use lockgate_config::PushConfig;
use lockgate_push::{Message, MessageError};
use lockgate_shm::{AppendError, Log};
use lockgate_supervisor::standalone_broadcast_log;
use lockgate_worker::monotonic_nanos;
use pyo3::prelude::*;

pub(crate) use publisher::{Publisher, install};

/// The broadcast log, and how large a message may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broadcast {
    pub(crate) log: Log,
    limit: usize,
}

/// A message that is checked and encoded. The moment in its record is that of the monotonic clock, in nanoseconds.
struct Record<'a> {
    message: &'a Message,
    bytes: Vec<u8>,
    now: u64,
}

/// Why a message is not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// A rule that it breaks.
    Message(MessageError),
    /// The log does not take it.
    Log(AppendError),
}

impl Broadcast {
    /// `None` where there is no log.
    pub(crate) fn new(log: Option<Log>, config: &PushConfig) -> Option<Self> {
        let limit = config.message_limit;
        log.map(|log| Self { log, limit })
    }

    /// Bytes of the largest message.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Publishes a message; waits while another thread or process publishes.
    ///
    /// # Errors
    /// When the message breaks a rule or is too large.
    pub(crate) fn publish(&self, message: &Message) -> Result<(), PublishError> {
        let record = self.record(message)?;
        self.append(&record)
    }

    /// Whether the message could be published.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub(crate) fn check(&self, message: &Message) -> Result<(), PublishError> {
        message.check(self.limit).map_err(PublishError::Message)
    }

    fn record<'a>(&self, message: &'a Message) -> Result<Record<'a>, PublishError> {
        self.check(message)?;
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        Ok(Record {
            message,
            bytes,
            now: monotonic_nanos(),
        })
    }

    fn append(&self, record: &Record<'_>) -> Result<(), PublishError> {
        let (channel, id) = record.names();
        let appended = self.log.append(channel, id, &record.bytes, record.now);
        appended.map(drop).map_err(PublishError::Log)
    }

    /// Whether it is published; if not, another thread or process publishes at this moment.
    fn try_append(&self, record: &Record<'_>) -> Result<bool, PublishError> {
        let (channel, id) = record.names();
        let appended = (self.log).try_append(channel, id, &record.bytes, record.now);
        appended
            .map(|sequence| sequence.is_some())
            .map_err(PublishError::Log)
    }
}

impl Record<'_> {
    fn names(&self) -> (&[u8], &[u8]) {
        let id = self.message.id.as_deref().unwrap_or_default();
        (self.message.channel.as_bytes(), id.as_bytes())
    }
}

impl PublishError {
    /// Whether the message is at fault, and not the server.
    pub(crate) fn is_of_message(&self) -> bool {
        !matches!(self, Self::Log(AppendError::Lock(_)))
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(MessageError::TooLarge { size, limit }) => write!(
                out,
                "the message has {size} bytes, and push_message_limit = {limit}: publish less, such as where to get it, \
                 or raise the limit"
            ),
            Self::Message(error) => error.fmt(out),
            Self::Log(AppendError::TooLarge) => out.write_str(
                "the message with its id and channel is larger than a quarter of push_memory: publish less, or raise it",
            ),
            Self::Log(error) => error.fmt(out),
        }
    }
}

impl Error for PublishError {}

/// The broadcast log of a program that embeds servers.
static OF_PROGRAM: Mutex<Option<Log>> = Mutex::new(None);

/// The broadcast log for an embedded server with these settings. All such servers of a program share one, because
/// `lockgate.publish` names no server; its size is that of the first server with `push`.
///
/// # Errors
/// When the system provides no memory, or Python raises an exception.
pub(crate) fn log_of_program(py: Python<'_>, config: &PushConfig) -> PyResult<Option<Log>> {
    let log = log_of_servers(config)?;
    if config.is_enabled || log.is_none() {
        install(py, log, config)?;
    }
    Ok(log.filter(|_| config.is_enabled))
}

/// The log of the servers so far and of this one.
fn log_of_servers(config: &PushConfig) -> io::Result<Option<Log>> {
    let mut log = OF_PROGRAM.lock().unwrap_or_else(PoisonError::into_inner);
    if log.is_none() && config.is_enabled {
        *log = Some(standalone_broadcast_log(config)?);
    }
    Ok(*log)
}
