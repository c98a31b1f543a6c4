//! Request deadlines: the running calls, until when each may run, and which thread may answer its client. The watcher
//! and [`ending`] enforce them.
//!
//! A connection has one owner, the thread that runs its request, also at the deadline. What changes hands is the right
//! to answer: it belongs to the first to take it under the call slot's lock, the owner when its response starts
//! ([`CallSlot::commit`]) or the watcher at the deadline. With neither setting on there are no stations.

mod ending;
mod records;
mod watcher;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockgate_config::{Config, Threads};

use self::records::Record;
use crate::descriptors::TrackedFd;
use crate::exchange::request::Client;
use crate::log::access_log::Entry;
use crate::log::shown_target;
use crate::queue::Exchange;
use crate::transport::AbortHandle;

pub use self::ending::Ending;
pub use self::watcher::start;

/// Time between the deadline, with its interruption, and the conclusion that the thread is stuck: an application may
/// first have to roll back a transaction.
const GRACE: Duration = Duration::from_secs(5);

/// If the GIL cannot be acquired for this long, the record is written without its stack.
const TELL_AFTER: Duration = Duration::from_millis(500);

/// No GIL for this long: a call holds it in C code. Threads that compute in Python release it after the switch
/// interval, a few milliseconds.
const HELD_FROM: Duration = Duration::from_secs(1);

/// A slow request is sampled when it becomes slow and each time its age has doubled, at most this often.
const SAMPLES_AT_MOST: usize = 4;

/// Why a worker asks to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceReason {
    /// A call was past its deadline, was interrupted, and did not end.
    StuckCall,
}

/// Passes on a worker's request to be replaced.
pub type AskForReplacement = Box<dyn Fn(ReplaceReason) + Send + Sync>;

/// The progress of a call and its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// There is no call.
    #[default]
    Idle,
    /// A thread has the request and waits for the GIL.
    QueueExpiry,
    /// The application is running; there is no response yet.
    Open,
    /// The response has begun; some of it may have been sent.
    Committed,
    /// The response is complete and the connection has another owner. The call may still be in `close()`.
    Answered,
}

/// What happened to a call at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expiry {
    at: Instant,
    /// What the client got; `None` when it had its response already.
    ending: Option<Ending>,
    is_logged: bool,
    is_stuck: bool,
}

/// How to reach a client without the connection's owner.
pub struct Line {
    pub abort: Weak<dyn AbortHandle>,
    pub is_head_request: bool,
    /// No earlier output is pending, so an answer may be written to the socket.
    pub is_clear: bool,
}

impl Default for Line {
    /// Reaches no client.
    fn default() -> Self {
        Self {
            abort: Weak::<TrackedFd>::new(),
            is_head_request: false,
            is_clear: false,
        }
    }
}

/// What the watcher should do about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Expire,
    /// Write the record without a stack.
    LogWithoutStack,
    /// Declare the thread stuck.
    DeclareStuck,
    Sample,
}

struct Call {
    /// Counts the calls of this thread, so that nothing meant for one call reaches the next.
    number: u64,
    stage: Stage,
    began: Instant,
    ready_at: Instant,
    deadline: Option<Instant>,
    next_sample: Option<Instant>,
    samples: Vec<(Duration, Option<String>)>,
    expiry: Option<Expiry>,
    is_interrupted: bool,
    method: Vec<u8>,
    target: Vec<u8>,
    client: Option<Arc<Client>>,
    line: Line,
    entry: Option<Box<Entry>>,
    /// The response is complete, and the connection waits for `close()`.
    is_held: bool,
}

impl Call {
    fn due(&self, now: Instant) -> Option<Due> {
        if self.stage == Stage::Idle {
            return None;
        }
        if let Some(expiry) = &self.expiry {
            let since = now.saturating_duration_since(expiry.at);
            return if !expiry.is_logged && since >= TELL_AFTER {
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

    fn is_stuck(&self) -> bool {
        let has_connection = match self.stage {
            Stage::Idle => false,
            Stage::Answered => self.is_held,
            _ => true,
        };
        has_connection && self.expiry.is_some_and(|expiry| expiry.is_stuck)
    }

    /// When the next action is due, as far as is known now.
    fn next(&self) -> Option<Instant> {
        match (self.stage, &self.expiry) {
            (Stage::Idle, _) => None,
            (_, Some(expiry)) if !expiry.is_logged => Some(expiry.at + TELL_AFTER),
            (_, Some(expiry)) => (!expiry.is_stuck).then_some(expiry.at + GRACE),
            (_, None) => [self.deadline, self.next_sample]
                .into_iter()
                .flatten()
                .min(),
        }
    }
}

/// The call that one worker thread runs.
pub struct CallSlot {
    /// The application's number for the thread.
    thread: u64,
    call: Mutex<Call>,
}

/// The right to answer has passed to the watcher.
#[derive(Debug)]
pub struct Expired;

impl CallSlot {
    fn new(thread: u64, now: Instant) -> Self {
        Self {
            thread,
            call: Mutex::new(Call {
                number: 0,
                stage: Stage::Idle,
                began: now,
                ready_at: now,
                deadline: None,
                next_sample: None,
                samples: Vec::new(),
                expiry: None,
                is_interrupted: false,
                method: Vec::new(),
                target: Vec::new(),
                client: None,
                line: Line::default(),
                entry: None,
                is_held: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
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
    pub fn set_client_socket(&self, line: Line, entry: Option<Box<Entry>>) {
        let mut call = self.lock();
        call.line = line;
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
        call.line = Line::default();
        let ending = call.expiry.and_then(|expiry| expiry.ending);
        (call.entry.take(), ending)
    }

    pub fn record_environ(&self, values: Vec<(String, String)>) {
        if let Some(entry) = &mut self.lock().entry {
            entry.environ = values;
        }
    }

    pub fn is_expired(&self) -> bool {
        self.lock().expiry.is_some()
    }
}

/// A request's deadline, for the application to read and to extend.
#[derive(Clone)]
pub struct Deadline {
    call_slot: Arc<CallSlot>,
    number: u64,
}

impl Deadline {
    /// Time left for the request; zero once it is over.
    pub fn remaining(&self, now: Instant) -> Duration {
        let call = self.call_slot.lock();
        match call.deadline {
            Some(deadline) if self.is_current(&call) => deadline.saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }

    /// Gives the request `time` from now on, if that is more than it has left. Returns the time it then has: zero when
    /// the deadline has passed already.
    pub fn extend(&self, time: Duration, now: Instant) -> Duration {
        {
            let mut call = self.call_slot.lock();
            if self.is_current(&call)
                && let (Some(deadline), Some(later)) = (call.deadline, now.checked_add(time))
            {
                call.deadline = Some(deadline.max(later));
            }
        }
        self.remaining(now)
    }

    /// Whether the request was ended by its deadline.
    pub fn is_expired(&self) -> bool {
        let call = self.call_slot.lock();
        call.number == self.number && call.expiry.is_some()
    }

    fn is_current(&self, call: &Call) -> bool {
        call.number == self.number && call.stage != Stage::Idle && call.expiry.is_none()
    }
}

/// With one thread a call that does not end blocks the whole worker: the deadline that comes first acts.
pub fn find_conflict(config: &Config) -> Option<String> {
    let (timeout, request_timeout) = (config.timeout?, config.request_timeout?);
    let is_single = matches!(config.threads, Threads::Count(count) if count.get() == 1);
    (is_single && timeout < request_timeout + GRACE).then(|| {
        format!(
            "timeout = {timeout:?} may end this worker, which has one thread, before request_timeout = \
             {request_timeout:?} has ended a request: make timeout at least {:?}",
            request_timeout + GRACE
        )
    })
}

/// The stations of a worker, with their limits.
pub struct Deadlines {
    request_timeout: Option<Duration>,
    slow_request: Option<Duration>,
    shows_queries: bool,
    call_slots: Mutex<Vec<Arc<CallSlot>>>,
    records: Mutex<Vec<Record>>,
    /// Since when a thread has waited for the GIL to look at a stack.
    asked_at: Mutex<Option<Instant>>,
    ask_for_replacement: OnceLock<AskForReplacement>,
}

impl Deadlines {
    /// `None` when no setting asks for calls to be watched.
    pub fn new(config: &Config) -> Option<Self> {
        if config.request_timeout.is_none() && config.slow_request.is_none() {
            return None;
        }
        Some(Self {
            request_timeout: config.request_timeout,
            slow_request: config.slow_request,
            shows_queries: config.log_style.shows_queries,
            call_slots: Mutex::default(),
            records: Mutex::default(),
            asked_at: Mutex::default(),
            ask_for_replacement: OnceLock::new(),
        })
    }

    /// Adds a call slot for a worker thread.
    pub fn register(&self, thread: u64) -> Arc<CallSlot> {
        let call_slot = Arc::new(CallSlot::new(thread, Instant::now()));
        self.call_slots().push(Arc::clone(&call_slot));
        call_slot
    }

    /// A worker thread ends.
    pub fn unregister(&self, call_slot: &Arc<CallSlot>) {
        self.call_slots()
            .retain(|other| !Arc::ptr_eq(other, call_slot));
    }

    /// A thread has taken this request.
    pub fn begin(&self, call_slot: &Arc<CallSlot>, exchange: &mut Exchange, now: Instant) {
        {
            let mut call = call_slot.lock();
            call.number += 1;
            call.stage = Stage::QueueExpiry;
            call.began = now;
            call.ready_at = exchange.ready_at;
            call.deadline = self.request_timeout.map(|limit| exchange.ready_at + limit);
            call.next_sample = self.slow_request.map(|threshold| now + threshold);
            call.samples.clear();
            call.expiry = None;
            call.is_held = false;
            call.is_interrupted = false;
            call.method.clear();
            call.method
                .extend_from_slice(exchange.request.head.method());
            call.target.clear();
            let target = shown_target(exchange.request.head.target(), self.shows_queries);
            call.target.extend_from_slice(target);
            let client = exchange.request.client();
            if !(call.client.as_ref()).is_some_and(|known| Arc::ptr_eq(known, client)) {
                call.client = Some(Arc::clone(client));
            }
            call.line = Line::default();
            call.entry = None;
        }
        if self.request_timeout.is_some() {
            exchange.channel.watch_deadline(call_slot);
        }
    }

    /// The deadline of the call that a thread runs, if there are deadlines.
    pub fn deadline_of(&self, call_slot: &Arc<CallSlot>) -> Option<Deadline> {
        self.request_timeout?;
        let number = call_slot.lock().number;
        Some(Deadline {
            call_slot: Arc::clone(call_slot),
            number,
        })
    }

    /// The call is over, with any outcome. Called attached: an interruption is either seen here or has not begun.
    pub fn end(&self, call_slot: &CallSlot, now: Instant) -> bool {
        let mut call = call_slot.lock();
        call.stage = Stage::Idle;
        call.line = Line::default();
        call.entry = None;
        let is_interrupted = std::mem::take(&mut call.is_interrupted);
        if let Some(record) = Record::of_end(&mut call, self, now) {
            drop(call);
            self.leave(record);
        }
        is_interrupted
    }

    /// Number of calls that are stuck and whose connections only their threads can close.
    pub fn stuck(&self) -> usize {
        self.call_slots()
            .iter()
            .filter(|call_slot| call_slot.lock().is_stuck())
            .count()
    }

    /// Whether a stuck call keeps the GIL from all other threads.
    pub fn is_interpreter_held(&self, now: Instant) -> bool {
        let asked_at = *self.asked_at();
        asked_at.is_some_and(|at| now.saturating_duration_since(at) >= HELD_FROM)
    }

    fn asked_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_replacement(&self, ask: AskForReplacement) {
        // The first handler stays.
        let _already_set = self.ask_for_replacement.set(ask);
    }

    fn call_slots(&self) -> MutexGuard<'_, Vec<Arc<CallSlot>>> {
        self.call_slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record for the watcher to write: threads that run calls do not wait for logs.
    fn leave(&self, record: Record) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::response::Presence;
    use crate::seams::Client;
    use lockgate_config::AppSpec;

    const LIMIT: Duration = Duration::from_secs(10);

    fn config() -> Config {
        Config::with_defaults(AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        })
    }

    fn watched(request_timeout: Option<Duration>, slow_request: Option<Duration>) -> Deadlines {
        let mut config = config();
        config.request_timeout = request_timeout;
        config.slow_request = slow_request;
        Deadlines::new(&config).unwrap()
    }

    fn exchange(ready_at: Instant) -> Exchange {
        Exchange {
            request: Box::default(),
            channel: Box::new(Client(Presence::There)),
            ready_at,
            ready_nanos: 0,
            was_in_backlog: false,
        }
    }

    fn expire(call_slot: &CallSlot, at: Instant) {
        call_slot.lock().expiry = Some(Expiry {
            at,
            ending: Some(Ending::Refused),
            is_logged: false,
            is_stuck: false,
        });
    }

    #[test]
    fn what_is_due_follows_from_the_age_of_the_call() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let deadlines = watched(Some(LIMIT), Some(Duration::from_secs(2)));
        let call_slot = deadlines.register(1);
        assert_eq!(call_slot.lock().due(at(99_999)), None, "no call");
        // It has waited for a second: that counts towards the deadline, not towards the duration of the call.
        deadlines.begin(&call_slot, &mut exchange(start), at(1000));
        for (millis, due) in [
            (1000, None),
            (2999, None),
            (3000, Some(Due::Sample)),
            (9999, Some(Due::Sample)),
            (10_000, Some(Due::Expire)),
        ] {
            assert_eq!(call_slot.lock().due(at(millis)), due, "{millis} ms");
        }
        assert_eq!(call_slot.lock().next(), Some(at(3000)));
        expire(&call_slot, at(10_000));
        for (millis, is_logged, is_stuck, due) in [
            (10_499, false, false, None),
            (10_500, false, false, Some(Due::LogWithoutStack)),
            (10_500, true, false, None),
            (14_999, true, false, None),
            (15_000, true, false, Some(Due::DeclareStuck)),
            (15_000, true, true, None),
        ] {
            let mut call = call_slot.lock();
            let expiry = call.expiry.as_mut().unwrap();
            (expiry.is_logged, expiry.is_stuck) = (is_logged, is_stuck);
            assert_eq!(
                call.due(at(millis)),
                due,
                "{millis} ms, {is_logged}, {is_stuck}"
            );
        }
        deadlines.end(&call_slot, at(16_000));
        assert_eq!(call_slot.lock().due(at(99_999)), None);
        assert_eq!(call_slot.lock().next(), None);
    }

    #[test]
    fn only_one_of_owner_and_watcher_answers() {
        let now = Instant::now();
        let deadlines = watched(Some(LIMIT), None);
        let call_slot = deadlines.register(1);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        assert!(call_slot.on_called());
        assert!(call_slot.commit().is_ok());
        assert!(call_slot.commit().is_ok(), "a response may be replaced");
        assert_eq!(call_slot.release(false).1, None);
        deadlines.end(&call_slot, now);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        expire(&call_slot, now);
        assert!(!call_slot.on_called());
        assert!(call_slot.commit().is_err());
        assert_eq!(call_slot.release(false).1, Some(Ending::Refused));
        deadlines.end(&call_slot, now);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        assert!(call_slot.on_called(), "the next call has its own deadline");
    }

    #[test]
    fn a_deadline_is_extended_and_never_shortened_and_only_while_it_is_ahead() {
        let now = Instant::now();
        let deadlines = watched(Some(LIMIT), None);
        let call_slot = deadlines.register(1);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        let deadline = deadlines.deadline_of(&call_slot).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(deadline.remaining(now), LIMIT);
        assert_eq!(deadline.extend(seconds(3), now), LIMIT);
        assert_eq!(deadline.extend(seconds(30), now), seconds(30));
        assert_eq!(deadline.remaining(now + seconds(20)), seconds(10));
        expire(&call_slot, now + seconds(30));
        assert_eq!(deadline.extend(seconds(30), now), Duration::ZERO);
        assert!(deadline.is_expired());
        deadlines.end(&call_slot, now);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        assert_eq!(deadline.extend(seconds(99), now), Duration::ZERO);
        assert!(!deadline.is_expired());
        let next = deadlines.deadline_of(&call_slot).unwrap();
        assert_eq!(next.remaining(now), LIMIT);
    }

    #[test]
    fn stuck_calls_count_while_they_have_a_connection() {
        let now = Instant::now();
        let deadlines = watched(Some(LIMIT), None);
        let call_slot = deadlines.register(1);
        deadlines.begin(&call_slot, &mut exchange(now), now);
        assert!(call_slot.on_called());
        expire(&call_slot, now);
        assert_eq!(deadlines.stuck(), 0);
        if let Some(expiry) = &mut call_slot.lock().expiry {
            expiry.is_stuck = true;
        }
        assert_eq!(deadlines.stuck(), 1);
        call_slot.release(false);
        assert_eq!(deadlines.stuck(), 0);
        call_slot.release(true);
        assert_eq!(deadlines.stuck(), 1, "its connection waits for close()");
        deadlines.end(&call_slot, now);
        assert_eq!(deadlines.stuck(), 0);
    }

    #[test]
    fn with_one_thread_the_shorter_timeout_is_pointed_out() {
        let seconds = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        for (threads, timeout, request_timeout, is_logged) in [
            (1, 30, 60, true),
            (1, 30, 30, true),
            (1, 34, 30, true),
            (1, 35, 30, false),
            (1, 0, 60, false),
            (1, 30, 0, false),
            (2, 30, 60, false),
        ] {
            let mut config = config();
            config.threads = Threads::Count(threads.try_into().unwrap());
            config.timeout = seconds(timeout);
            config.request_timeout = seconds(request_timeout);
            let found = find_conflict(&config);
            assert_eq!(
                found.is_some(),
                is_logged,
                "{threads}, {timeout}, {request_timeout}: {found:?}"
            );
        }
    }

    #[test]
    fn nothing_is_watched_unless_a_setting_asks_for_it() {
        assert!(Deadlines::new(&config()).is_none());
        let slow = watched(None, Some(LIMIT));
        let call_slot = slow.register(1);
        assert!(slow.deadline_of(&call_slot).is_none());
    }
}
