//! What the event loop and the writers of one connection's streams share, behind one lock.
//!
//! Invariants: writers queue output under the lock, and the event loop sends it. A connection is *marked* while the
//! event loop is going to send its output: of several responses only the first has to tell it.

use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockgate_http::LocalResponse;
use lockgate_http::http2::{Connection, ErrorCode, StreamId};
use lockgate_tls::TlsInfo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::state::State;
use crate::client::Client;
use crate::connection::inbox::Returned;
use crate::connection::link::Link;
use crate::detached_work::DetachedWork;
use crate::event_loop::context::Context;
use crate::event_loop::handle::SharedEventLoop;
use crate::exchange::deadlines::ending::StreamHandle;
use crate::exchange::writer::Held;
use crate::os::PEER_END;
use crate::transport::SharedTransport;

/// A thread that waits for its client looks this often whether a thread leads the event loop.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// See the module documentation.
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    event_loop: Arc<SharedEventLoop>,
    token: u64,
    pub(super) peer: Arc<Client>,
    pub(super) transport: Weak<dyn SharedTransport>,
    /// The connection is encrypted.
    pub(super) is_https: bool,
    /// The TLS session, if the application gets something of it.
    pub(super) tls: Option<Arc<TlsInfo>>,
    state: Mutex<State>,
    /// Something has changed that a thread waits for.
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(
        context: Arc<Context>,
        event_loop: Arc<SharedEventLoop>,
        link: &Link,
        connection: Connection,
        output: Vec<u8>,
    ) -> Self {
        let is_https = link.local.is_tls;
        let tls = (context.uses_tls_info)
            .then(|| link.transport.tls_info())
            .flatten();
        Self {
            context,
            event_loop,
            token: link.slot.token(),
            peer: Arc::clone(&link.client),
            transport: link.transport.share(),
            is_https,
            tls,
            state: Mutex::new(State::new(connection, output, is_https)),
            changed: Condvar::new(),
        }
    }

    /// The token of the connection's slot.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Only an allocation can panic under this lock, and that ends the process.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the threads that wait for a change.
    pub(super) fn wake(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Makes sure that the event loop sends what is queued, unless it is going to. Called attached by a thread that
    /// runs a request. If this thread still leads, the output of the turn is sent together.
    #[inline]
    pub(super) fn send_soon(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.is_marked, true) {
            return;
        }
        drop(state);
        if self.context.pool.defers_responses()
            && let Some(mut event_loop) = self.event_loop.try_lock()
        {
            return event_loop.defer_flush_of(self.token);
        }
        self.send_beyond_turn();
    }

    #[cold]
    fn send_beyond_turn(&self) {
        if !self.context.pool.is_single() {
            return self.notify_event_loop();
        }
        // No other thread would send it before the call has ended.
        (self.context.app).detached(DetachedWork::new(&mut || {
            if !self.drive_now() {
                self.notify_event_loop();
            }
        }));
    }

    /// As [`Shared::send_soon`], for a thread that may be detached, or lead.
    pub(super) fn send_from_outside(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.is_marked, true) {
            drop(state);
            self.notify_event_loop();
        }
    }

    /// As [`Shared::send_from_outside`], for a thread that is detached and leads nothing, while a thread runs the request.
    fn send_during_call(&self, state: MutexGuard<'_, State>) {
        self.send_from_outside(state);
        if self.context.pool.is_single() {
            // The only thread that runs the event loop is in the call.
            self.drive_now();
        }
    }

    /// The event loop drives the connection, wherever it is.
    pub(super) fn notify_event_loop(&self) {
        (self.context.inbox).push(Returned::Released(self.token), true);
    }

    /// A request has been reset by its client: waiting ones may have lost theirs.
    pub(super) fn report_abandoned(&self) {
        self.context.inbox.push(Returned::Abandoned, false);
    }

    /// Drives the connection on this thread, which is detached, if no other thread has the event loop.
    fn drive_now(&self) -> bool {
        let Some(mut event_loop) = self.event_loop.try_lock() else {
            return false;
        };
        event_loop.drive_now(self.token);
        true
    }

    /// Drives the connection on this thread, which is attached, if no other thread has the event loop.
    pub(super) fn drive_attached(&self) {
        (self.context.app).detached(DetachedWork::new(&mut || {
            self.drive_now();
        }));
    }

    /// Waits until `check` returns a value; `None`: the time is over. Called detached.
    pub(super) fn wait<T>(
        &self,
        at_most: Duration,
        mut check: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let pool = &self.context.pool;
        let until = Instant::now() + at_most;
        // Another thread should run the event loop meanwhile. With one thread, this one does.
        pool.promote_now();
        loop {
            pool.record_progress();
            if pool.is_single() {
                self.drive_now();
            }
            let mut state = self.lock();
            if let Some(found) = check(&mut state) {
                return Some(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = left.min(WAIT_SLICE);
            if pool.is_single() {
                let is_socket_full = state.is_socket_full;
                drop(state);
                self.wait_for_socket(is_socket_full, left);
                continue;
            }
            state.waiting += 1;
            let (mut state, outcome) = (self.changed)
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            drop(state);
            if outcome.timed_out() {
                // No follower may have taken the event loop: a thread could not be started.
                self.drive_now();
            }
        }
    }

    fn wait_for_socket(&self, is_socket_full: bool, at_most: Duration) {
        let Some(transport) = self.transport.upgrade() else {
            return;
        };
        let mut flags = PollFlags::IN | PEER_END;
        flags.set(PollFlags::OUT, is_socket_full);
        let descriptor = transport.descriptor();
        let mut watched = [PollFd::from_borrowed_fd(descriptor.as_fd(), flags)];
        let at_most = Timespec::try_from(at_most).unwrap_or_default();
        // Whatever has happened, the caller finds out.
        let _woken = poll(&mut watched, Some(&at_most));
    }

    /// A request is no longer with the application. Returns the lock, unless the connection is closed.
    pub(super) fn end_running<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
    ) -> Option<MutexGuard<'s, State>> {
        state.running -= 1;
        if !state.is_closed {
            return Some(state);
        }
        let is_last = state.running == 0;
        drop(state);
        if is_last {
            self.context.inbox.push_closed(self.token);
        }
        None
    }
}

/// `close()` of a response may run after it.
impl Held for Shared {
    fn release(&self) {
        let state = self.lock();
        if let Some(state) = self.end_running(state)
            && state.has_become_idle()
        {
            self.send_from_outside(state);
        }
    }
}

impl StreamHandle for Shared {
    fn answer(&self, stream: StreamId, response: &LocalResponse, is_head_request: bool) -> bool {
        let mut state = self.lock();
        if !state.is_open(stream) {
            return false;
        }
        let is_answered = state
            .respond(stream, response, is_head_request, &self.context, None)
            .is_some();
        state.end_request_body(stream);
        self.wake(&state);
        self.send_during_call(state);
        is_answered
    }

    fn reset(&self, stream: StreamId) {
        let mut state = self.lock();
        state.reset(stream, ErrorCode::INTERNAL_ERROR);
        self.wake(&state);
        self.send_during_call(state);
    }

    fn waits_for(&self, calls: usize) -> bool {
        let state = self.lock();
        state.is_closed && state.running == calls
    }
}
