//! The access log: one line per request head, written by a separate thread, so that a slow log never blocks the event
//! loop. `lockgate-observe` formats the lines.
//!
//! Invariant: a line is either written or counted. While the output accepts none, lines wait in memory, up to a bound,
//! and are counted beyond it; when the output accepts lines again, the error log says once how many are missing.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::LogTarget;
use lockgate_http::{RequestHead, ResponseHead, hex};
use lockgate_observe::{AccessFormat, AccessRecord, Level, LossyLog, Outcome};

use crate::client::Client;
use crate::exchange::request_id::RequestId;
use crate::exchange::trace::Trace;
use crate::helper_thread::PanicGuard;
use crate::log::error_log::{ErrorLog, count_lines};
use crate::log::output::LogOutput;

/// Beyond this much unwritten text, lines are counted instead of kept: about 30,000 lines. The writer may hold as much
/// again, half written.
const MAX_BUFFER: usize = 8 << 20;

/// How long the writer collects lines: one system call for many lines, without a visible delay for `tail -f`.
const GATHER: Duration = Duration::from_millis(10);

/// How long the writer waits for room, and how long it waits after an error before it tries again.
const RETRY: Duration = Duration::from_secs(1);

/// A buffer that grew beyond this while the output was blocked is freed when it is empty.
const BUFFER_TO_KEEP: usize = 1 << 20;

/// What a log line needs; the connection keeps it until the response has been sent.
#[derive(Default)]
pub struct Entry {
    pub head: RequestHead,
    /// The client, once it is known; until then the peer is logged instead.
    pub client: Option<Arc<Client>>,
    /// The user that the client's certificate names, if that is asked for.
    pub user: Option<Box<str>>,
    /// The id of the request, if requests have one.
    pub request_id: Option<RequestId>,
    /// The place of the request in a trace, if requests are traced.
    pub trace: Option<Trace>,
    /// How long a proxy in front had the request before, if it says so.
    pub waited_before: Option<Duration>,
    /// How long it waited for a thread. Only spans have it.
    pub queued: Duration,
    /// Whether the client speaks TLS. Only spans have it.
    pub is_https: bool,
    pub response: ResponseHead,
    pub environ: Vec<(String, String)>,
    pub status: u16,
    /// The reason for which the server refused the request.
    pub reason: Option<&'static str>,
    pub started: Option<Instant>,
    /// How many bytes of output precede the response on the connection.
    pub response_begins_at: u64,
    /// The application logs the request itself.
    pub is_skipped: bool,
}

/// Spare entries that a thread keeps. A turn of the event loop needs few at a time.
const SPARE_ENTRIES: usize = 16;

thread_local! {
    /// Entries begin and end on the thread that runs the event loop, as a rule: so their memory is reused without a
    /// lock.
    static SPARE: RefCell<Vec<Box<Entry>>> = const { RefCell::new(Vec::new()) };
}

impl Entry {
    /// An empty entry, with the memory of an earlier one if this thread has any.
    pub fn take() -> Box<Self> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps the memory of an entry that has been recorded.
    pub fn reuse(mut self: Box<Self>) {
        let entry = &mut *self;
        entry.head.clear();
        entry.client = None;
        entry.user = None;
        entry.request_id = None;
        entry.trace = None;
        entry.waited_before = None;
        entry.queued = Duration::ZERO;
        entry.is_https = false;
        entry.response.clear();
        entry.environ.clear();
        entry.status = 0;
        entry.reason = None;
        entry.started = None;
        entry.response_begins_at = 0;
        entry.is_skipped = false;
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_ENTRIES {
                spare.push(self);
            }
        });
    }
}

#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    lost: u64,
    is_closing: bool,
    is_drained: bool,
}

/// The access log of one worker.
pub struct AccessLog {
    format: AccessFormat,
    /// Requests are traced.
    has_traces: bool,
    pending: Mutex<Pending>,
    changed: Condvar,
    output: LogOutput,
    error_log: Arc<ErrorLog>,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    pub fn start(
        format: AccessFormat,
        has_traces: bool,
        target: &LogTarget,
        error_log: Arc<ErrorLog>,
        panic_guard: &PanicGuard,
    ) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self {
            format,
            has_traces,
            pending: Mutex::default(),
            changed: Condvar::new(),
            output: LogOutput::open(target)?,
            error_log,
        });
        let writer = Arc::clone(&log);
        panic_guard.spawn("lockgate-access-log", move || writer.write_until_closed())?;
        Ok(log)
    }

    /// Adds the line of a request whose response has ended.
    pub fn record(
        &self,
        entry: &Entry,
        client: &Client,
        body_bytes: u64,
        outcome: Outcome,
        now: Instant,
    ) {
        if entry.is_skipped {
            return;
        }
        let head = &entry.head;
        // `HTTP/` and digits, or empty: the head parser accepts nothing else.
        let protocol = std::str::from_utf8(head.protocol()).unwrap_or_default();
        let duration = entry.started.map_or(Duration::ZERO, |started| {
            now.saturating_duration_since(started)
        });
        let trace_id = entry.trace.map(|trace| hex::encode_128(trace.own.trace_id));
        let span_id = entry.trace.map(|trace| hex::encode_64(trace.own.span_id));
        let unknown: Option<&[u8]> = self.has_traces.then_some(b"");
        let record = AccessRecord {
            client: client.host(),
            user: entry.user.as_deref().map(str::as_bytes),
            request_id: entry.request_id.as_ref().map(RequestId::as_bytes),
            trace_id: trace_id.as_ref().map(<[u8; 32]>::as_slice).or(unknown),
            span_id: span_id.as_ref().map(<[u8; 16]>::as_slice).or(unknown),
            waited_before: entry.waited_before,
            method: head.method(),
            target: head.target(),
            path: head.path(),
            query: head.query(),
            protocol,
            status: entry.status,
            body_bytes,
            started: self.error_log.zone().before(duration),
            duration,
            pid: std::process::id(),
            request_header: &|name| head.header(name),
            response_header: &|name| entry.response.header(name),
            environ: &entry.environ,
            outcome,
            reason: entry.reason,
        };
        let mut pending = self.lock();
        if pending.text.len() >= MAX_BUFFER {
            pending.lost += 1;
            drop(pending);
            return self.error_log.count_lost(LossyLog::Access, 1);
        }
        let was_empty = pending.text.is_empty();
        self.format.write(&mut pending.text, &record);
        drop(pending);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Reopens the file after it was renamed.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.reopen()
    }

    /// Writes what is left and ends the writer; waits for that, unless the output is blocked.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_all();
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut pending = self.lock();
        while !pending.is_drained {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            pending = self
                .changed
                .wait_timeout(pending, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn write_until_closed(&self) {
        let mut text = Vec::new();
        let mut is_failing = false;
        loop {
            let is_last = self.gather(&mut text, is_failing);
            match self.output.write(&text, RETRY) {
                Ok(()) => {
                    text.clear();
                    self.report_recovery(std::mem::take(&mut is_failing));
                }
                Err(unwritten) => {
                    text.drain(..unwritten.done);
                    let is_error = unwritten.error.kind() != io::ErrorKind::WouldBlock;
                    if is_error && !is_failing {
                        let message = format!(
                            "access log: cannot be written: {}; lines wait in memory, and are lost beyond 8 MiB",
                            unwritten.error
                        );
                        self.error_log.write(Level::Error, &message);
                    }
                    is_failing |= is_error;
                    if is_last && unwritten.done == 0 {
                        return self.count_unwritten(&text);
                    }
                }
            }
            let mut pending = self.lock();
            if is_last && text.is_empty() && pending.text.is_empty() {
                pending.is_drained = true;
                drop(pending);
                self.changed.notify_all();
                return;
            }
        }
    }

    /// Waits until there is something to write; leftovers of the last write come first. Returns whether the log is
    /// being closed.
    fn gather(&self, text: &mut Vec<u8>, is_failing: bool) -> bool {
        let mut pending = self.lock();
        if is_failing {
            let deadline = Instant::now() + RETRY;
            while !pending.is_closing {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                pending = self
                    .changed
                    .wait_timeout(pending, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        } else if text.is_empty() {
            while pending.text.is_empty() && !pending.is_closing {
                pending = self
                    .changed
                    .wait(pending)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if !pending.is_closing {
                drop(pending);
                thread::sleep(GATHER);
                pending = self.lock();
            }
        }
        if text.is_empty() {
            std::mem::swap(text, &mut pending.text);
            if pending.text.capacity() > BUFFER_TO_KEEP {
                pending.text = Vec::new();
            }
        }
        pending.is_closing
    }

    fn report_recovery(&self, was_failing: bool) {
        let lost = std::mem::take(&mut self.lock().lost);
        let message = match (lost, was_failing) {
            (0, false) => return,
            (0, true) => "access log: writable again; no line was lost".to_owned(),
            (lost, _) => format!("access log: writable again; {lost} lines were lost"),
        };
        let level = if lost == 0 { Level::Info } else { Level::Error };
        self.error_log.write(level, &message);
    }

    /// The log is closed and its output accepts nothing.
    fn count_unwritten(&self, text: &[u8]) {
        let mut pending = self.lock();
        let unwritten = count_lines(text) + count_lines(&pending.text);
        let lost = pending.lost + unwritten;
        drop(pending);
        self.error_log.count_lost(LossyLog::Access, unwritten);
        if lost > 0 {
            let message = format!("access log: {lost} lines were lost: it is not writable");
            self.error_log.write(Level::Error, &message);
        }
        pending = self.lock();
        pending.is_drained = true;
        drop(pending);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
