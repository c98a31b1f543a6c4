//! The call slot of a worker thread: the call that it runs, and the right to answer its client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ending::{ClientSocket, Ending};
use crate::client::Client;
use crate::exchange::request_id::RequestId;
use crate::log::access_log::Entry;

/// Time between the deadline, with its interruption, and the conclusion that the thread is stuck: an application may
/// first have to roll back a transaction.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// If the GIL cannot be acquired for this long, the record is written without its stack.
const LOG_AFTER: Duration = Duration::from_millis(500);

/// A slow request is sampled when it becomes slow and each time its age has doubled, at most this often.
pub(crate) const MAX_SAMPLES: usize = 4;

/// The progress of a call and its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no call.
    #[default]
    Idle,
    /// A thread has the request and waits for the GIL.
    Waiting,
    /// The application is running; there is no response yet.
    Open,
    /// The response has begun; some of it may have been sent.
    Committed,
    /// The response is complete and the connection has another owner. The call may still be in `close()`.
    Answered,
}

/// What happened to a call at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) at: Instant,
    /// What the client got; `None` when it had its response already.
    pub(crate) ending: Option<Ending>,
    pub(crate) is_logged: bool,
    pub(crate) is_stuck: bool,
}

/// What the watcher has to do for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Expire,
    /// Write the record without a stack.
    LogWithoutStack,
    /// Declare the thread stuck.
    DeclareStuck,
    Sample,
}

pub(crate) struct Call {
    /// Counts the calls of this thread, so that nothing meant for one call reaches the next.
    pub(crate) number: u64,
    pub(crate) stage: Stage,
    pub(crate) began: Instant,
    pub(crate) ready_at: Instant,
    /// `request_timeout` of its route.
    pub(crate) limit: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) next_sample: Option<Instant>,
    pub(crate) samples: Vec<(Duration, Option<String>)>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) is_interrupted: bool,
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) client: Option<Arc<Client>>,
    pub(crate) client_socket: ClientSocket,
    pub(crate) entry: Option<Box<Entry>>,
    /// The response is complete, and the connection waits for `close()`.
    pub(crate) is_held: bool,
}

impl Call {
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        if self.stage == Stage::Idle {
            return None;
        }
        if let Some(expiry) = &self.expiry {
            let since = now.saturating_duration_since(expiry.at);
            return if !expiry.is_logged && since >= LOG_AFTER {
                Some(Due::LogWithoutStack)
            } else if !expiry.is_stuck && since >= GRACE {
                Some(Due::DeclareStuck)
            } else {
                None
            };
        }
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if has_come(self.deadline) {
            Some(Due::Expire)
        } else if has_come(self.next_sample) {
            Some(Due::Sample)
        } else {
            None
        }
    }

    pub(crate) fn is_stuck(&self) -> bool {
        let has_connection = match self.stage {
            Stage::Idle => false,
            Stage::Answered => self.is_held,
            _ => true,
        };
        has_connection && self.expiry.is_some_and(|expiry| expiry.is_stuck)
    }

    /// When the next action is due, as far as is known now.
    pub(crate) fn next(&self) -> Option<Instant> {
        match (self.stage, &self.expiry) {
            (Stage::Idle, _) => None,
            (_, Some(expiry)) if !expiry.is_logged => Some(expiry.at + LOG_AFTER),
            (_, Some(expiry)) => (!expiry.is_stuck).then_some(expiry.at + GRACE),
            (_, None) => [self.deadline, self.next_sample]
                .into_iter()
                .flatten()
                .min(),
        }
    }
}

/// The call that one worker thread runs, shared with the watcher.
pub struct CallSlot {
    /// The application's number for the thread.
    pub(crate) thread: u64,
    pub(crate) call: Mutex<Call>,
}

/// The right to answer has passed to the watcher.
#[derive(Debug)]
pub struct Expired;

impl CallSlot {
    pub(crate) fn new(thread: u64, now: Instant) -> Self {
        Self {
            thread,
            call: Mutex::new(Call {
                number: 0,
                stage: Stage::Idle,
                began: now,
                ready_at: now,
                limit: None,
                deadline: None,
                next_sample: None,
                samples: Vec::new(),
                expiry: None,
                is_interrupted: false,
                method: Vec::new(),
                target: Vec::new(),
                request_id: None,
                client: None,
                client_socket: ClientSocket::default(),
                entry: None,
                is_held: false,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Call> {
        // The fields are plain; only an allocation can panic under this lock.
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The application is about to be called. False when the deadline has passed meanwhile.
    pub fn on_called(&self) -> bool {
        let mut call = self.lock();
        if call.expiry.is_some() {
            return false;
        }
        call.stage = Stage::Open;
        true
    }

    /// Sets how the client can be reached, and the access-log entry, which belongs to the thread that answers.
    pub fn set_client_socket(&self, client_socket: ClientSocket, entry: Option<Box<Entry>>) {
        let mut call = self.lock();
        call.client_socket = client_socket;
        call.entry = entry;
    }

    /// The owner is about to answer: from now on only the owner may.
    ///
    /// # Errors
    /// [`Expired`] when the watcher has the right to answer already.
    pub fn commit(&self) -> Result<Option<Box<Entry>>, Expired> {
        let mut call = self.lock();
        if call.expiry.is_some() {
            return Err(Expired);
        }
        call.stage = Stage::Committed;
        Ok(call.entry.take())
    }

    /// The owner passes the connection on and no longer touches it from here. Returns what the client got if the
    /// deadline came first. `is_held`: the connection's slot stays in use until the call is over.
    pub fn release(&self, is_held: bool) -> (Option<Box<Entry>>, Option<Ending>) {
        let mut call = self.lock();
        call.stage = Stage::Answered;
        call.is_held = is_held;
        if !is_held {
            call.client_socket = ClientSocket::default();
        }
        let ending = call.expiry.and_then(|expiry| expiry.ending);
        (call.entry.take(), ending)
    }

    /// The application has taken the connection over: the call has no deadline, and it may take as long as it likes.
    pub fn unwatch(&self) {
        self.lock().stage = Stage::Idle;
    }

    pub fn record_queue_time(&self, queued: Duration) {
        if let Some(entry) = &mut self.lock().entry {
            entry.queued = queued;
        }
    }

    pub fn record_environ(&self, values: Vec<(String, String)>) {
        if let Some(entry) = &mut self.lock().entry {
            entry.environ = values;
        }
    }

    pub fn skip_access_log(&self) {
        if let Some(entry) = &mut self.lock().entry {
            entry.is_skipped = true;
        }
    }

    pub fn is_expired(&self) -> bool {
        self.lock().expiry.is_some()
    }
}
