//! One line per request head, written by a thread of its own, so that a slow log never holds the lane.
//! Decides nothing about formats: `lockgate-observe` does.
//!
//! Invariant: a line is either written or counted; when the sink has hung for so long that the buffer is full,
//! the next line that fits is followed by an event that says how many are missing.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::LogTarget;
use lockgate_http::{RequestHead, ResponseHead, Version};
use lockgate_observe::{AccessFormat, AccessRecord, Level, Outcome};

use crate::date::wall_time_before;
use crate::log::{ErrorLog, Sink};
use crate::request::Client;

/// Past this much unwritten text lines are counted instead of kept: about 30,000 lines.
const BUFFER_AT_MOST: usize = 8 << 20;

/// How long the writer lets lines gather: one system call for many, and still at once for a person who watches.
const GATHER: Duration = Duration::from_millis(10);

/// What a line needs and the connection remembers until the response has left.
#[derive(Default)]
pub struct Entry {
    pub head: RequestHead,
    /// Who sent it, once that is known; until then the peer stands for it.
    pub client: Option<Arc<Client>>,
    pub response: ResponseHead,
    pub environ: Vec<(String, String)>,
    pub status: u16,
    pub started: Option<Instant>,
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
    pending: Mutex<Pending>,
    changed: Condvar,
    sink: Sink,
    error_log: Arc<ErrorLog>,
}

impl AccessLog {
    /// Opens the target and starts the writer.
    pub fn start(
        format: AccessFormat,
        target: &LogTarget,
        error_log: Arc<ErrorLog>,
    ) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self {
            format,
            pending: Mutex::default(),
            changed: Condvar::new(),
            sink: Sink::open(target)?,
            error_log,
        });
        let writer = Arc::clone(&log);
        thread::Builder::new()
            .name("lockgate-access-log".into())
            .spawn(move || writer.write_until_closed())?;
        Ok(log)
    }

    /// Adds the line of a request whose response is over.
    pub fn record(
        &self,
        entry: &Entry,
        client: &Client,
        body_bytes: u64,
        outcome: Outcome,
        now: Instant,
    ) {
        let head = &entry.head;
        let protocol = match head.version() {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        };
        let duration = entry.started.map_or(Duration::ZERO, |started| {
            now.saturating_duration_since(started)
        });
        let record = AccessRecord {
            client: &client.host,
            user: None,
            method: head.method(),
            target: head.target(),
            path: head.path(),
            query: head.query(),
            protocol,
            status: entry.status,
            body_bytes,
            started: wall_time_before(duration),
            duration,
            pid: std::process::id(),
            request_header: &|name| head.header(name),
            response_header: &|name| entry.response.header(name),
            environ: &entry.environ,
            outcome,
        };
        let mut pending = self.lock();
        if pending.text.len() >= BUFFER_AT_MOST {
            pending.lost += 1;
            return;
        }
        let was_empty = pending.text.is_empty();
        self.format.write(&mut pending.text, &record);
        drop(pending);
        if was_empty {
            self.changed.notify_all();
        }
    }

    /// Opens the file anew, after it was moved away.
    pub fn reopen(&self) -> io::Result<()> {
        self.sink.reopen()
    }

    /// Writes what is left and ends the writer; waits for that, but not for a sink that hangs.
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
        loop {
            let mut pending = self.lock();
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
            text.clear();
            std::mem::swap(&mut text, &mut pending.text);
            let lost = std::mem::take(&mut pending.lost);
            let is_last = pending.is_closing;
            drop(pending);
            if let Err((error, lines)) = self.sink.write(&text) {
                let message = format!("access log: {lines} lines could not be written: {error}");
                self.error_log.write(Level::Error, &message);
            }
            if lost > 0 {
                let message = format!(
                    "access log: {lost} lines were not written because the log took none for too long"
                );
                self.error_log.write(Level::Error, &message);
            }
            if is_last {
                self.lock().is_drained = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
