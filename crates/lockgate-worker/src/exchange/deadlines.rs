//! Request deadlines: the running calls, until when each may run, and which thread may answer its client. The watcher
//! and [`ending`] enforce them.
//!
//! A connection has one owner, the thread that runs its request, also at the deadline. What changes hands is the right
//! to answer: it belongs to the first to take it under the call slot's lock, the owner when its response starts
//! ([`CallSlot::commit`]) or the watcher at the deadline. Without `request_timeout` and `slow_request` there are no
//! call slots.

pub(crate) mod call_slot;
pub(crate) mod ending;
pub(crate) mod records;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lockgate_config::{Config, Threads};

use self::call_slot::{Call, CallSlot, GRACE, Stage};
use self::ending::{ClientSocket, Handle, StreamHandle};
use self::records::Record;
use crate::exchange::request::Request;
use crate::exchange::route_limits::RouteLimits;
use crate::log::shown_target;

/// No GIL for this long: a call holds it in C code. Threads that compute in Python release it after the switch
/// interval, a few milliseconds.
const GIL_HELD_FROM: Duration = Duration::from_secs(1);

/// Why a worker asks to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceReason {
    /// A call was past its deadline, was interrupted, and did not end.
    StuckCall,
}

/// Passes on a worker's request to be replaced.
pub type AskForReplacement = Box<dyn Fn(ReplaceReason) + Send + Sync>;

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

/// With one thread a call that does not end blocks the whole worker: the shorter of the two limits ends it.
pub fn find_conflict(config: &Config) -> Option<String> {
    let routes = config.routes.routes.iter().map(|route| &route.rules);
    let of_routes = routes.filter_map(|rules| rules.request_timeout.flatten());
    let request_timeout = of_routes.chain(config.request_timeout).max()?;
    let timeout = config.timeout?;
    let is_single = matches!(config.threads, Threads::Count(count) if count.get() == 1);
    (is_single && timeout < request_timeout + GRACE).then(|| {
        format!(
            "timeout = {timeout:?} may end this worker before request_timeout = {request_timeout:?} ends a \
             request, because threads = 1: set timeout to at least {:?}",
            request_timeout + GRACE
        )
    })
}

/// The call slots of a worker, and the limits of its calls.
pub struct Deadlines {
    request_timeout: Option<Duration>,
    /// Where routes set limits: they have the time of each request.
    routes: Option<Arc<RouteLimits>>,
    pub(crate) slow_request: Option<Duration>,
    shows_queries: bool,
    call_slots: Mutex<Vec<Arc<CallSlot>>>,
    pub(crate) records: Mutex<Vec<Record>>,
    /// Since when the inspector has waited for the GIL.
    gil_awaited_since: Mutex<Option<Instant>>,
    pub(crate) ask_for_replacement: OnceLock<AskForReplacement>,
}

impl Deadlines {
    /// `None` when no setting asks for calls to be watched.
    pub fn new(config: &Config, routes: Option<Arc<RouteLimits>>) -> Option<Self> {
        let has_deadlines = match &routes {
            None => config.request_timeout.is_some(),
            Some(routes) => routes.has_deadlines(),
        };
        if !has_deadlines && config.slow_request.is_none() {
            return None;
        }
        Some(Self {
            request_timeout: config.request_timeout,
            routes,
            slow_request: config.slow_request,
            shows_queries: config.log_style.shows_queries,
            call_slots: Mutex::default(),
            records: Mutex::default(),
            gil_awaited_since: Mutex::default(),
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

    /// A thread has taken a request that was complete at `ready_at`. Returns whether the request has a deadline, which
    /// its writer has to watch.
    pub fn begin(
        &self,
        call_slot: &CallSlot,
        request: &Request,
        ready_at: Instant,
        now: Instant,
    ) -> bool {
        let limit = match &self.routes {
            None => self.request_timeout,
            Some(routes) => routes.of_request(request).request_timeout,
        };
        {
            let mut call = call_slot.lock();
            call.number += 1;
            call.stage = Stage::Waiting;
            call.began = now;
            call.ready_at = ready_at;
            call.limit = limit;
            call.deadline = limit.map(|limit| ready_at + limit);
            call.next_sample = self.slow_request.map(|threshold| now + threshold);
            call.samples.clear();
            call.expiry = None;
            call.is_held = false;
            call.is_interrupted = false;
            call.method.clear();
            call.method.extend_from_slice(request.head.method());
            call.target.clear();
            let target = shown_target(request.head.target(), self.shows_queries);
            call.target.extend_from_slice(target);
            call.request_id.clone_from(&request.admitted.request_id);
            let client = request.client();
            if !(call.client.as_ref()).is_some_and(|known| Arc::ptr_eq(known, client)) {
                call.client = Some(Arc::clone(client));
            }
            call.client_socket = ClientSocket::default();
            call.entry = None;
        }
        limit.is_some()
    }

    /// The deadline of the call that a thread runs, if there are deadlines.
    pub fn deadline_of(&self, call_slot: &Arc<CallSlot>) -> Option<Deadline> {
        let number = {
            let call = call_slot.lock();
            call.limit?;
            call.number
        };
        Some(Deadline {
            call_slot: Arc::clone(call_slot),
            number,
        })
    }

    /// The call is over, with any outcome. Called attached: an interruption is either seen here or has not begun.
    pub fn end(&self, call_slot: &CallSlot, now: Instant) -> bool {
        let mut call = call_slot.lock();
        let is_watched = std::mem::take(&mut call.stage) != Stage::Idle;
        call.client_socket = ClientSocket::default();
        call.entry = None;
        let is_interrupted = std::mem::take(&mut call.is_interrupted);
        if !is_watched {
            return is_interrupted;
        }
        if let Some(record) = Record::ended(&mut call, self.slow_request, now) {
            drop(call);
            self.queue_record(record);
        }
        is_interrupted
    }

    /// Number of connections that wait for stuck calls only.
    pub fn stuck(&self) -> usize {
        let mut connections = 0;
        let mut multiplexed: Vec<(Arc<dyn StreamHandle>, usize)> = Vec::new();
        for call_slot in &*self.call_slots() {
            let call = call_slot.lock();
            if !call.is_stuck() {
                continue;
            }
            match &call.client_socket.handle {
                Handle::Connection(_) => connections += 1,
                Handle::Stream(handle, _) => {
                    let Some(handle) = handle.upgrade() else {
                        continue;
                    };
                    let mut known = multiplexed.iter_mut();
                    match known.find(|(other, _)| Arc::ptr_eq(other, &handle)) {
                        Some((_, calls)) => *calls += 1,
                        None => multiplexed.push((handle, 1)),
                    }
                }
            }
        }
        let waiting = multiplexed
            .iter()
            .filter(|(one, calls)| one.waits_for(*calls));
        connections + waiting.count()
    }

    /// Whether a call holds the GIL and no other thread can get it.
    pub fn is_gil_held(&self, now: Instant) -> bool {
        let gil_awaited_since = *self.gil_awaited_since();
        gil_awaited_since.is_some_and(|at| now.saturating_duration_since(at) >= GIL_HELD_FROM)
    }

    pub(crate) fn gil_awaited_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.gil_awaited_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_replacement(&self, ask: AskForReplacement) {
        // The first handler stays.
        let _already_set = self.ask_for_replacement.set(ask);
    }

    pub(crate) fn call_slots(&self) -> MutexGuard<'_, Vec<Arc<CallSlot>>> {
        self.call_slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record for the watcher to write: threads that run calls do not wait for logs.
    fn queue_record(&self, record: Record) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::call_slot::{Due, Expiry};
    use super::ending::Ending;
    use super::*;
    use lockgate_config::AppSpec;
    use lockgate_http::LocalResponse;
    use lockgate_http::http2::StreamId;

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
        Deadlines::new(&config, None).unwrap()
    }

    fn begin(deadlines: &Deadlines, call_slot: &CallSlot, ready_at: Instant, now: Instant) {
        deadlines.begin(call_slot, &Request::default(), ready_at, now);
    }

    fn expire(call_slot: &CallSlot, at: Instant) {
        call_slot.lock().expiry = Some(Expiry {
            at,
            ending: Some(Ending::Answered { body_bytes: 0 }),
            is_logged: false,
            is_stuck: false,
        });
    }

    #[test]
    fn the_due_action_follows_from_the_age_of_the_call() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let deadlines = watched(Some(LIMIT), Some(Duration::from_secs(2)));
        let call_slot = deadlines.register(1);
        assert_eq!(call_slot.lock().due(at(99_999)), None, "no call");
        // It has waited for a second: that counts towards the deadline, not towards the duration of the call.
        begin(&deadlines, &call_slot, start, at(1000));
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
        begin(&deadlines, &call_slot, now, now);
        assert!(call_slot.on_called());
        assert!(call_slot.commit().is_ok());
        assert!(call_slot.commit().is_ok(), "a response may be replaced");
        assert_eq!(call_slot.release(false).1, None);
        deadlines.end(&call_slot, now);
        begin(&deadlines, &call_slot, now, now);
        expire(&call_slot, now);
        assert!(!call_slot.on_called());
        assert!(call_slot.commit().is_err());
        let answered = Ending::Answered { body_bytes: 0 };
        assert_eq!(call_slot.release(false).1, Some(answered));
        deadlines.end(&call_slot, now);
        begin(&deadlines, &call_slot, now, now);
        assert!(call_slot.on_called(), "the next call has its own deadline");
    }

    #[test]
    fn a_deadline_can_only_be_extended_and_only_before_it_passes() {
        let now = Instant::now();
        let deadlines = watched(Some(LIMIT), None);
        let call_slot = deadlines.register(1);
        begin(&deadlines, &call_slot, now, now);
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
        begin(&deadlines, &call_slot, now, now);
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
        begin(&deadlines, &call_slot, now, now);
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

    /// A closed connection whose requests run.
    struct Running(usize);

    impl StreamHandle for Running {
        fn answer(&self, _: StreamId, _: &LocalResponse, _: bool) -> bool {
            true
        }

        fn reset(&self, _: StreamId) {}

        fn waits_for(&self, calls: usize) -> bool {
            self.0 == calls
        }
    }

    #[test]
    fn a_multiplexed_connection_is_stuck_once_and_only_if_all_its_calls_are() {
        let now = Instant::now();
        for (running, stuck, is_held, expected) in [
            (1, 1, false, 1),
            (3, 3, false, 1),
            (3, 2, false, 0),
            (1, 1, true, 1),
        ] {
            let deadlines = watched(Some(LIMIT), None);
            let connection: Arc<dyn StreamHandle> = Arc::new(Running(running));
            for number in 0..stuck {
                let call_slot = deadlines.register(number);
                begin(&deadlines, &call_slot, now, now);
                let client_socket = ClientSocket {
                    handle: Handle::Stream(Arc::downgrade(&connection), StreamId::default()),
                    ..ClientSocket::default()
                };
                call_slot.set_client_socket(client_socket, None);
                assert!(call_slot.on_called());
                expire(&call_slot, now);
                call_slot.lock().expiry.as_mut().unwrap().is_stuck = true;
                if is_held {
                    call_slot.release(true);
                }
            }
            assert_eq!(deadlines.stuck(), expected, "{running} {stuck} {is_held}");
            drop(connection);
            assert_eq!(deadlines.stuck(), 0, "it is gone");
        }
    }

    #[test]
    fn a_timeout_below_request_timeout_is_reported_with_one_thread() {
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
        assert!(Deadlines::new(&config(), None).is_none());
        let slow = watched(None, Some(LIMIT));
        let call_slot = slow.register(1);
        assert!(slow.deadline_of(&call_slot).is_none());
    }
}
