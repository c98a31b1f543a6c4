//! The state that all threads of a worker share: settings, thread pool, logs, and the event loop behind its lock.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_http::Limits;
use lockgate_observe::Level;

use crate::app::App;
use crate::detached_work::DetachedWork;
use crate::log::access_log::AccessLog;
use crate::metrics::WorkerMetrics;

use crate::body::spool::{BodyStore, NotStored};
use crate::deadlines::Deadlines;
use crate::descriptors::budget::DescriptorBudget;
use crate::event_loop::poller::Waker;
use crate::event_loop::{EventLoop, Returned};
use crate::exchange::request::Client;
use crate::hand_back::HandBack;
use crate::helper_thread::PanicGuard;
use crate::http1::{Connection, Next, TrustedProxies};
use crate::load_shedding::SheddingReport;
use crate::log::ErrorLog;
use crate::log::throttle::{LogThrottle, and_suppressed};
use crate::thread_pool::ThreadPool;
use crate::transport::cork::Cork;
use crate::transport::outbox::Flushed;

/// How a worker was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    Serve,
    /// Other workers serve: finish what was accepted, give clients time to notice, then end.
    Retire,
    /// Finish what was accepted, then end.
    Drain,
    /// End now.
    Stop,
}

/// The state that all threads of a worker share.
pub struct Shared {
    pub config: Arc<Config>,
    pub limits: Limits,
    pub descriptors: Arc<DescriptorBudget>,
    pub server_header: Option<Vec<u8>>,
    pub proxies: TrustedProxies,
    pub app: Arc<dyn App>,
    pub pool: ThreadPool,
    pub cork: Cork,
    pub bodies: BodyStore,
    pub metrics: WorkerMetrics,
    pub access_log: Option<Arc<AccessLog>>,
    pub error_log: Arc<ErrorLog>,
    pub spool_complaints: Mutex<LogThrottle>,
    pub event_loop: Mutex<EventLoop>,
    pub returns: HandBack<Returned>,
    pub waker: Waker,
    pub finished: Waker,
    pub is_finished: AtomicBool,
    /// The worker ends because of its own fault.
    pub has_failed: AtomicBool,
    pub panic_guard: PanicGuard,
    pub stop: AtomicU8,
    pub watched: Mutex<((u64, u64), Instant)>,
    pub overload: SheddingReport,
    /// Set if a setting asks for calls to be watched.
    pub deadlines: Option<Arc<Deadlines>>,
}

impl Shared {
    /// Whether responses may leave a connection open.
    pub fn keeps_connections(&self) -> bool {
        self.stop_mode() == StopMode::Serve && !self.config.keep_alive.is_zero()
    }

    pub fn stop_mode(&self) -> StopMode {
        match self.stop.load(Ordering::SeqCst) {
            0 => StopMode::Serve,
            1 => StopMode::Retire,
            2 => StopMode::Drain,
            _ => StopMode::Stop,
        }
    }

    /// Asks for this mode of stopping, unless a harsher one was asked for before.
    pub fn ask_to_stop(&self, mode: StopMode) {
        self.stop.fetch_max(mode as u8, Ordering::SeqCst);
        self.waker.wake();
    }

    /// How long a request may wait for a thread: a call without time left would be useless.
    pub fn longest_wait(&self) -> Option<Duration> {
        [self.config.queue_timeout, self.config.request_timeout]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes a connection whose response is complete from the worker thread that ran it.
    pub fn return_finished(self: &Arc<Self>, connection: Box<Connection>) {
        if self.pool.is_still_leading()
            && let Some(mut event_loop) = self.try_event_loop()
            && (!self.pool.is_single() || event_loop.has_many_ready())
        {
            return event_loop.defer_flush(connection);
        }
        // The call has outlived its turn: only its client still waits for it.
        let mut connection = Some(connection);
        self.app.detached(DetachedWork::new(&mut || {
            if let Some(connection) = connection.take() {
                self.finish_on_this_thread(connection);
            }
        }));
    }

    /// Drops a connection that a worker thread owns.
    pub fn discard(&self, connection: Box<Connection>) {
        // Only bookkeeping: it wakes no thread, unless the worker waits for its last connection. Done before the client
        // can see the close, so that the client's next connection finds the place of this one.
        let closed = Returned::Closed(connection.slot.token());
        self.push_return(closed, self.stop_mode() != StopMode::Serve);
    }

    /// Sends a response from the thread that made it, and leaves the connection where the event loop finds it.
    fn finish_on_this_thread(&self, mut connection: Box<Connection>) {
        match connection.flush() {
            Ok(Flushed::Blocked | Flushed::Bounded) => {
                return self.push_return(Returned::Connection(connection), true);
            }
            Ok(Flushed::All) => {}
            Err(_) => {
                connection.lose(Instant::now());
                return self.discard(connection);
            }
        }
        let now = Instant::now();
        connection.count_response_among_others(now);
        match connection.end_response(now) {
            Next::Wait if !connection.has_input() && self.stop_mode() == StopMode::Serve => {}
            Next::Close => return self.discard(connection),
            _ => return self.push_return(Returned::Connection(connection), true),
        }
        let slot = Arc::clone(&connection.slot);
        let mut state = slot.lock();
        let needs_event_loop = state.pending.readable
            || state.pending.read_closed
            || state.pending.hung_up
            || state.armed.is_none_or(|armed| connection.deadline < armed);
        if needs_event_loop {
            drop(state);
            return self.push_return(Returned::Connection(connection), true);
        }
        state.pending = Default::default();
        state.connection = Some(connection);
        // A stop that began meanwhile has skipped this slot, because it was empty.
        if self.stop_mode() != StopMode::Serve
            && let Some(connection) = state.connection.take()
        {
            drop(state);
            self.push_return(Returned::Connection(connection), true);
        }
    }

    /// Returns an item to the event loop. If `wakes` is false, the leader finds it the next time it checks the queue.
    pub fn push_return(&self, returned: Returned, wakes: bool) {
        if self.returns.push(returned) && wakes {
            self.waker.wake();
        }
    }

    /// Runs `visit` on the event loop, in the leader.
    #[cfg(test)]
    pub fn with_event_loop(&self, visit: impl FnOnce(&mut EventLoop) + Send + 'static) {
        self.push_return(Returned::Visit(Box::new(visit)), true);
    }

    pub fn try_event_loop(&self) -> Option<MutexGuard<'_, EventLoop>> {
        match self.event_loop.try_lock() {
            Ok(event_loop) => Some(event_loop),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => {
                self.report_fatal(
                    "a thread panicked while it led the lane; its connections cannot be trusted",
                );
                None
            }
        }
    }

    pub fn report_refusal(&self, client: &Client, refusal: &str) {
        let who = if client.host.is_empty() {
            "a client on a unix socket"
        } else {
            &client.host
        };
        self.error_log.write_unless_blocked(
            Level::Debug,
            &format!("refused a request of {who}: {refusal}"),
        );
    }

    pub fn report_spool_failure(&self, reason: &NotStored, now: Instant) {
        let Some(suppressed) = self
            .spool_complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(now)
        else {
            return;
        };
        let others = and_suppressed(suppressed);
        let NotStored::Disk(error) = reason else {
            let message = format!(
                "cannot keep a request body on disk: {} others are there, and with the connections they have the \
                 descriptors (`ulimit -n`) that are not left to the application; the request is refused with 503{others}",
                self.descriptors.files()
            );
            return (self.error_log).write_unless_blocked(Level::Warning, &message);
        };
        let directory = (self.bodies.directory.clone()).unwrap_or_else(std::env::temp_dir);
        let setting = match self.bodies.directory {
            Some(_) => "spool_dir",
            None => "spool_dir, here the system's directory for temporary files",
        };
        let message = format!(
            "cannot keep a request body in {}: {error}; the request is refused{others}. Bodies over body_memory \
             need room there: make some, or name another directory (setting: {setting})",
            directory.display()
        );
        self.error_log.write_unless_blocked(Level::Error, &message);
    }

    pub fn report_short_file(&self) {
        self.error_log.write_unless_blocked(
            Level::Error,
            "a file became shorter while it was sent; the connection is closed",
        );
    }

    /// The worker cannot continue: logs the reason and ends it; the supervisor starts another.
    pub fn report_fatal(&self, message: &str) {
        if !self.pool.is_over() {
            self.error_log.write(Level::Critical, message);
            self.has_failed.store(true, Ordering::SeqCst);
            self.stop.fetch_max(StopMode::Stop as u8, Ordering::SeqCst);
            self.end();
        }
    }
}
