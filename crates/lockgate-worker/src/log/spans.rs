//! Span records: what a sampled request was, for the OTLP exporter, in a log that it shares with the workers.
//!
//! Invariant: no thread waits here. A record that finds the log locked, as by another worker that writes, tries a few
//! times and is counted as lost then; the next record passes the count on.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lockgate_observe::{Outcome, SpanRecord, SpanText};
use lockgate_shm::Log;

use super::access_log::Entry;
use super::shown_target;
use crate::client::Client;
use crate::date::since_1970;
use crate::exchange::request_id::RequestId;

/// The log has one channel.
const CHANNEL: &[u8] = b"spans";

/// The lock is held for less than a microsecond, unless its holder is not running.
const ATTEMPTS: u32 = 64;

thread_local! {
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The span log of one worker.
pub struct SpanWriter {
    log: Log,
    shows_queries: bool,
    lost: AtomicU64,
}

impl SpanWriter {
    pub fn new(log: Log, shows_queries: bool) -> Self {
        Self {
            log,
            shows_queries,
            lost: AtomicU64::new(0),
        }
    }

    /// Writes the span of a request that has ended, if its trace is sampled.
    pub fn record(&self, entry: &Entry, client: &Client, outcome: Outcome, now: Instant) {
        let Some(trace) = entry.trace.filter(|trace| trace.own.is_sampled()) else {
            return;
        };
        let duration = entry.started.map_or_else(Default::default, |started| {
            now.saturating_duration_since(started)
        });
        let ended = since_1970();
        let head = &entry.head;
        let has_query =
            shown_target(head.target(), self.shows_queries).len() == head.target().len();
        let mut texts: [&[u8]; SpanText::COUNT] = [b""; SpanText::COUNT];
        let mut set = |text: SpanText, value| texts[text as usize] = value;
        set(SpanText::Method, head.method());
        // As it was sent, whatever it was rewritten to.
        let mut parts = head.target_path().splitn(2, |byte| *byte == b'?');
        set(SpanText::Path, parts.next().unwrap_or_default());
        let query = parts.next().filter(|_| has_query);
        set(SpanText::Query, query.unwrap_or_default());
        set(SpanText::Host, head.host().unwrap_or_default());
        set(SpanText::Client, client.host().as_bytes());
        set(SpanText::Protocol, head.protocol());
        set(
            SpanText::UserAgent,
            head.header("user-agent").unwrap_or_default(),
        );
        let request_id = entry.request_id.as_ref().map(RequestId::as_bytes);
        set(SpanText::RequestId, request_id.unwrap_or_default());
        set(
            SpanText::TraceState,
            head.header("tracestate").unwrap_or_default(),
        );
        if !matches!(outcome, Outcome::Complete | Outcome::Refused) {
            set(SpanText::Failure, outcome.name().as_bytes());
        }
        let lost_before = match self.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.lost.swap(0, Ordering::Relaxed),
        };
        let span = SpanRecord {
            trace_id: trace.own.trace_id,
            span_id: trace.own.span_id,
            parent_id: trace.parent_id.unwrap_or(0),
            flags: trace.own.flags,
            began: nanos(ended.saturating_sub(duration)),
            duration: nanos(duration),
            queued: nanos(entry.queued),
            queued_before: nanos(entry.waited_before.unwrap_or_default()),
            status: entry.status,
            is_https: entry.is_https,
            lost_before,
            texts,
        };
        let is_written = RECORD.with_borrow_mut(|record| {
            record.clear();
            span.encode(record);
            self.append(record)
        });
        if !is_written {
            self.lost.fetch_add(lost_before + 1, Ordering::Relaxed);
        }
    }

    fn append(&self, record: &[u8]) -> bool {
        for _ in 0..ATTEMPTS {
            match self.log.try_append(CHANNEL, b"", record, 0) {
                Ok(Some(_)) => return true,
                Ok(None) => std::hint::spin_loop(),
                Err(_) => return false,
            }
        }
        false
    }
}

/// u64 nanoseconds last until 2554.
fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
