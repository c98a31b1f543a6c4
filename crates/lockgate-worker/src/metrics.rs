//! Worker metrics on the scoreboard: response counts, and the request that each thread runs.
//!
//! The cost per request is bounded: no allocation, no clock read, and no locked instruction where the leader sends the
//! response. What each thread runs is always recorded, so that it is known for a worker that has died; responses are
//! counted only where a setting reads the counts. Without a worker slot nothing is recorded.

pub mod statsd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::{HandshakeResult, Loss, Response, ThreadEntry, WorkerCounters, WorkerSlot};
use rustix::time::{ClockId, clock_gettime};

use crate::client::Client;
use crate::exchange::request::Request;
use crate::log::shown_target;
use crate::os::thread_id;
use statsd::Statsd;

/// The metrics of one worker.
pub struct WorkerMetrics {
    counters: Option<WorkerCounters>,
    /// The same counters, if responses are counted.
    counted: Option<WorkerCounters>,
    /// Where responses are recorded too, if they are counted.
    statsd: Option<Arc<Statsd>>,
    shows_queries: bool,
    /// The same moment on both clocks: an `Instant` means nothing to another process.
    base: Instant,
    base_nanos: u64,
}

impl WorkerMetrics {
    /// Opens the metrics of the worker that has this slot, with or without counts.
    pub fn open(
        worker_slot: Option<&WorkerSlot>,
        are_counts_read: bool,
        statsd: Option<Arc<Statsd>>,
        config: &Config,
    ) -> Self {
        let base = Instant::now();
        let base_nanos = monotonic_nanos();
        let counters = worker_slot.and_then(WorkerSlot::counters);
        if let Some(counters) = &counters {
            counters.open(std::process::id(), base_nanos);
            counters.record_threads(config.max_threads() as u64);
        }
        Self {
            counters,
            counted: counters.filter(|_| are_counts_read),
            statsd,
            shows_queries: config.log_style.shows_queries,
            base,
            base_nanos,
        }
    }

    /// The counters, if responses are counted.
    #[inline]
    pub fn counted(&self) -> Option<WorkerCounters> {
        self.counted
    }

    /// Adds bytes read since the last call.
    pub fn take_received(&self, bytes: &mut u64) {
        if let Some(counters) = &self.counted {
            counters.record_received(std::mem::take(bytes));
        }
    }

    /// Counts a response that the leader has sent.
    #[inline]
    pub fn record_response(&self, counters: WorkerCounters, response: Response) {
        counters.record_response(response);
        if let Some(statsd) = &self.statsd {
            statsd.record(response);
        }
    }

    /// Counts a response that another thread has sent.
    pub fn record_response_among_others(&self, counters: WorkerCounters, response: Response) {
        counters.record_response_among_others(response);
        if let Some(statsd) = &self.statsd {
            statsd.record(response);
        }
    }

    /// The worker has finished: sends the last metrics.
    pub fn close(&self) {
        if let Some(statsd) = &self.statsd {
            statsd.close();
        }
    }

    /// Counts a TLS handshake.
    pub fn record_handshake(&self, result: HandshakeResult) {
        if let Some(counters) = &self.counted {
            counters.record_handshake(result);
        }
    }

    /// Records how many requests wait for a thread.
    pub fn record_waiting(&self, waiting: usize) {
        if let Some(counters) = &self.counted {
            counters.record_waiting(waiting as u64);
        }
    }

    /// A request was dropped at its deadline: its client was answered 504 or cut off. It is counted then and not when
    /// its thread returns, because the thread may never return.
    #[cold]
    pub fn count_expired(&self, is_answered: bool) {
        let Some(counters) = self.counted else { return };
        counters.record_loss(Loss::RequestTimeout, 0);
        if is_answered {
            let response = Response {
                status: 504,
                bytes: 0,
                duration: None,
            };
            self.record_response_among_others(counters, response);
        }
    }

    /// An entry for the calling thread, which is going to run requests; `ident` is the application's number for it.
    pub fn recorder(&self, ident: impl FnOnce() -> u64) -> ThreadRecorder {
        let thread = thread_id();
        let mut recorder = ThreadRecorder {
            record: CallRecord {
                entry: None,
                counters: self.counters,
            },
            thread: (thread.into(), ident()),
            client: None,
            shows_queries: self.shows_queries,
            counted: self.counted,
        };
        recorder.claim();
        recorder
    }

    /// A moment on the scoreboard's clock; 0 where nothing is recorded.
    #[inline]
    pub fn nanos(&self, at: Instant) -> u64 {
        if self.counters.is_none() {
            return 0;
        }
        self.base_nanos + nanos(at.saturating_duration_since(self.base))
    }
}

/// Where a call records that it has taken its connection over. A copy refers to the same entry.
#[derive(Clone, Copy, Default)]
pub struct CallRecord {
    entry: Option<ThreadEntry>,
    counters: Option<WorkerCounters>,
}

impl CallRecord {
    /// The call has taken its connection over.
    pub fn upgrade(&mut self) {
        if let Some(counters) = &self.counters
            && !counters.begin_upgraded(self.entry)
        {
            self.entry = None;
        }
    }
}

/// Where a thread records what it runs; dropping it frees the entry for another thread.
pub struct ThreadRecorder {
    record: CallRecord,
    /// The kernel's number of the thread and the application's, for another entry.
    thread: (u64, u64),
    /// The client whose name the entry has: many consecutive requests have the same client.
    client: Option<Arc<Client>>,
    shows_queries: bool,
    counted: Option<WorkerCounters>,
}

impl ThreadRecorder {
    /// The thread runs this request, which was complete at `ready_at` on the scoreboard's clock and has waited since.
    #[inline]
    pub fn begin(&mut self, request: &Request, ready_at: u64, waited: Duration) {
        let Some(entry) = self.record.entry else {
            return;
        };
        if let Some(counters) = &self.counted {
            let before = request.admitted.waited_before.unwrap_or_default();
            counters.record_taken(entry, nanos(waited + before));
        }
        let client = request.client();
        let is_known = (self.client.as_ref()).is_some_and(|known| Arc::ptr_eq(known, client));
        if !is_known {
            self.client = Some(Arc::clone(client));
        }
        entry.begin(
            ready_at,
            request.head.method(),
            shown_target(request.head.target(), self.shows_queries),
            (!is_known).then_some(client.host().as_bytes()),
            request.id().map_or(b"", str::as_bytes),
        );
    }

    /// Where the call that begins records.
    pub fn record(&self) -> CallRecord {
        self.record
    }

    /// The request has ended.
    #[inline]
    pub fn end(&self) {
        if let Some(entry) = self.record.entry {
            entry.end();
        }
    }

    /// A call has ended that had taken its connection over, and recorded it here.
    #[cold]
    pub fn end_upgraded(&mut self, record: CallRecord) {
        if let Some(counters) = &self.record.counters {
            counters.end_upgraded();
        }
        if record.entry.is_none() {
            self.claim();
        }
    }

    fn claim(&mut self) {
        let (thread, ident) = self.thread;
        let counters = self.record.counters;
        self.record.entry = counters.and_then(|counters| counters.claim(thread, ident));
        self.client = None;
    }
}

impl Drop for ThreadRecorder {
    fn drop(&mut self) {
        if let Some(entry) = self.record.entry {
            entry.release();
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    // u64 nanoseconds last for five centuries.
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

/// CLOCK_MONOTONIC, which all processes of a machine share.
pub fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
