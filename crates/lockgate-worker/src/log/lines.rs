//! Lines of the error log, recorded for the OTLP exporter in a log that all processes share.
//!
//! Invariant: no thread waits here. A line that finds the log locked, as by another process that writes, tries a few
//! times and is counted as lost then; the next line passes the count on.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use lockgate_observe::{Level, LogLine};
use lockgate_shm::Log;

use crate::date::since_1970;
use crate::exchange::trace::Trace;

/// The log has one channel.
const CHANNEL: &[u8] = b"lines";
/// The lock is held for less than a microsecond, unless its holder is not running.
const ATTEMPTS: u32 = 64;
/// Lines that are kept until there is a log: those of the start.
const MOST_EARLY: usize = 64;

thread_local! {
    /// Trace and span of the request that this thread runs.
    static CURRENT: Cell<(u128, u64)> = const { Cell::new((0, 0)) };
}

/// From now on this thread runs a request with this place in a trace, or none.
pub(crate) fn set_current_trace(trace: Option<&Trace>) {
    let ids = trace.map_or((0, 0), |trace| (trace.own.trace_id, trace.own.span_id));
    CURRENT.set(ids);
}

/// The lines of one process.
#[derive(Debug, Default)]
pub(crate) struct LineRecorder {
    log: OnceLock<Log>,
    early: Mutex<Vec<Vec<u8>>>,
    /// The slot of this worker and one; 0: the process is none.
    worker: AtomicU32,
    lost: AtomicU64,
}

impl LineRecorder {
    /// Where lines are recorded, those from before included.
    pub(crate) fn open(&self, log: Log) {
        if self.log.set(log).is_ok() {
            let early = std::mem::take(&mut *self.early());
            early.iter().for_each(|record| self.append(log, record, 0));
        }
    }

    /// The process is the worker of this slot.
    pub(crate) fn set_worker(&self, slot: usize) {
        let number = u32::try_from(slot).unwrap_or(u32::MAX - 1);
        self.worker.store(number + 1, Ordering::Relaxed);
    }

    pub(crate) fn record(&self, level: Level, logger: &str, message: &[u8]) {
        let (trace_id, span_id) = CURRENT.get();
        let log = self.log.get();
        let lost_before = match self.lost.load(Ordering::Relaxed) {
            0 => 0,
            _ if log.is_none() => 0,
            _ => self.lost.swap(0, Ordering::Relaxed),
        };
        let line = LogLine {
            time: u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX),
            level,
            pid: std::process::id(),
            worker: self.worker.load(Ordering::Relaxed).checked_sub(1),
            trace_id,
            span_id,
            lost_before,
            logger,
            message,
        };
        let mut record = Vec::new();
        line.encode(&mut record);
        match log {
            Some(log) => self.append(*log, &record, lost_before),
            None => self.keep(record),
        }
    }

    fn keep(&self, record: Vec<u8>) {
        let mut early = self.early();
        match early.len() < MOST_EARLY {
            true => early.push(record),
            false => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn early(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, log: Log, record: &[u8], lost_before: u64) {
        for _ in 0..ATTEMPTS {
            match log.try_append(CHANNEL, b"", record, 0) {
                Ok(Some(_)) => return,
                Ok(None) => std::hint::spin_loop(),
                Err(_) => break,
            }
        }
        self.lost.fetch_add(lost_before + 1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lockgate_http::trace_context::TraceParent;
    use lockgate_shm::{LogPlan, Read};

    const PLAN: LogPlan = LogPlan {
        size: 1 << 20,
        channels: 1,
    };

    fn log() -> Log {
        let locks: Vec<AtomicU32> = (0..PLAN.lock_words()).map(|_| AtomicU32::new(0)).collect();
        let words: Vec<AtomicU64> = (0..PLAN.words()).map(|_| AtomicU64::new(0)).collect();
        Log::new(Vec::leak(locks), Vec::leak(words), PLAN, (1, 2)).unwrap()
    }

    fn records(log: Log) -> Vec<Vec<u8>> {
        let (mut cursor, mut found) = (log.oldest(), Vec::new());
        let mut record = Vec::new();
        while let Read::Record { .. } = log.read(&mut cursor, &mut record) {
            found.push(record.clone());
        }
        found
    }

    #[test]
    fn lines_of_the_start_come_first_and_those_beyond_the_limit_are_counted() {
        let (recorder, log) = (LineRecorder::default(), log());
        for number in 0..MOST_EARLY + 3 {
            recorder.record(Level::Info, "lockgate", number.to_string().as_bytes());
        }
        recorder.open(log);
        recorder.set_worker(2);
        recorder.record(Level::Error, "lockgate", b"late");
        recorder.record(Level::Error, "lockgate", b"later");
        let records = records(log);
        let lines: Vec<LogLine<'_>> = records
            .iter()
            .filter_map(|one| LogLine::decode(one))
            .collect();
        assert_eq!(lines.len(), MOST_EARLY + 2);
        assert_eq!((lines[1].message, lines[1].worker), (&b"1"[..], None));
        let late = lines[MOST_EARLY];
        assert_eq!(
            (late.message, late.lost_before, late.worker),
            (&b"late"[..], 3, Some(2))
        );
        assert_eq!(lines[MOST_EARLY + 1].lost_before, 0);
        assert!(lines.iter().all(|line| line.pid == std::process::id()));
    }

    #[test]
    fn a_line_has_the_trace_of_the_request_that_its_thread_runs() {
        let (recorder, log) = (LineRecorder::default(), log());
        recorder.open(log);
        let trace = Trace {
            own: TraceParent {
                trace_id: 7,
                span_id: 8,
                flags: 1,
            },
            parent_id: None,
        };
        for current in [None, Some(&trace), None] {
            set_current_trace(current);
            recorder.record(Level::Info, "lockgate", b"");
        }
        let records = records(log);
        let ids = records.iter().filter_map(|record| {
            let line = LogLine::decode(record)?;
            Some((line.trace_id, line.span_id))
        });
        assert_eq!(ids.collect::<Vec<_>>(), [(0, 0), (7, 8), (0, 0)]);
    }
}
