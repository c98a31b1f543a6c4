//! The logs of a server's history in shared memory: records that the admin process appends, and events of the
//! supervisor.
//!
//! An hour of points always fits: a second has at most a point of 480 bytes, a tenth of 3,080 bytes of top paths, and
//! the 850 bytes of [`crate::budget`].

use std::collections::VecDeque;

use lockgate_shm::{AppendError, Cursor, Log, LogPlan, Read};

use crate::event::Event;
use crate::failure::Failure;
use crate::record::Record;

/// The log of the history. With the log of events it stays below 8 MiB, tables and locks included.
pub const HISTORY_PLAN: LogPlan = LogPlan {
    size: 6 << 20,
    channels: 1,
};
/// The log of the supervisor's events.
pub const EVENTS_PLAN: LogPlan = LogPlan {
    size: 1 << 20,
    channels: 1,
};

/// The log of failed requests, to which all workers append.
pub const FAILURES_PLAN: LogPlan = LogPlan {
    size: 768 << 10,
    channels: 1,
};

const CHANNEL: &[u8] = b"h";
/// Bytes of a record beside its own: its head, and the name of the channel.
const OVERHEAD: usize = 64 + 8;
/// Points between two marks.
const MARK_INTERVAL: u32 = 30;

/// Bytes that a record of this length needs.
pub(crate) fn cost(length: usize) -> usize {
    OVERHEAD + length.next_multiple_of(8)
}

/// The log of the history, and where its minutes are.
#[derive(Debug)]
pub struct History {
    log: Log,
    /// Points: milliseconds since 1970, and the position.
    marks: VecDeque<(u64, Cursor)>,
    unmarked: u32,
}

impl History {
    /// Reads what an earlier process has left in the log.
    pub fn open(log: Log) -> Self {
        let mut history = Self {
            log,
            marks: VecDeque::new(),
            unmarked: 0,
        };
        for (cursor, record) in Positions::from(log, log.oldest()) {
            history.mark(&record, cursor);
        }
        history
    }

    /// Appends a record, in place of the oldest ones when the log is full.
    ///
    /// # Errors
    /// When the lock of the log cannot be taken.
    pub fn append(&mut self, record: &Record) -> Result<(), AppendError> {
        let cursor = self.log.head();
        let at = match record {
            Record::Point(point) => point.at.unix,
            _ => 0,
        };
        self.log.append(CHANNEL, b"", &record.encode(), at)?;
        self.mark(record, cursor);
        Ok(())
    }

    fn mark(&mut self, record: &Record, cursor: Cursor) {
        let Record::Point(point) = record else {
            return;
        };
        self.unmarked += 1;
        if self.marks.is_empty() || self.unmarked >= MARK_INTERVAL {
            self.unmarked = 0;
            self.marks.push_back((point.at.unix, cursor));
            let oldest = self.log.oldest();
            while self.marks.front().is_some_and(|(_, mark)| *mark < oldest) {
                self.marks.pop_front();
            }
        }
    }

    /// The records from before this time (milliseconds since 1970) on, in the order of the log. Where the clock was set
    /// back, from before the last time that it was.
    pub fn records(&self, from: u64) -> impl Iterator<Item = Record> + use<> {
        let mut marks = self.marks.iter().rev();
        let start = marks.find(|(time, _)| *time < from);
        let start = start.map_or_else(|| self.log.oldest(), |(_, cursor)| *cursor);
        Positions::from(self.log, start).map(|(_, record)| record)
    }
}

/// The records of a log with their positions. Records that cannot be read are left out.
struct Positions {
    log: Log,
    cursor: Cursor,
    bytes: Vec<u8>,
}

impl Positions {
    fn from(log: Log, cursor: Cursor) -> Self {
        Self {
            log,
            cursor,
            bytes: Vec::new(),
        }
    }
}

impl Iterator for Positions {
    type Item = (Cursor, Record);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let position = self.cursor;
            match self.log.read(&mut self.cursor, &mut self.bytes) {
                Read::Record { .. } => {
                    if let Some(record) = Record::decode(&self.bytes) {
                        return Some((position, record));
                    }
                }
                Read::Overrun => {}
                Read::UpToDate => return None,
            }
        }
    }
}

/// The log of the supervisor's events. Only the supervisor appends to it.
#[derive(Debug, Clone, Copy)]
pub struct EventLog {
    log: Log,
}

impl EventLog {
    /// The events in a log of [`EVENTS_PLAN`].
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Appends an event without waiting for a lock. Returns whether it was appended.
    pub fn append(&self, event: &Event) -> bool {
        let appended = (self.log).try_append(CHANNEL, b"", &event.encode(), event.at.unix);
        matches!(appended, Ok(Some(_)))
    }

    /// All events that are left, in the order in which they happened.
    pub fn read(&self) -> Vec<Event> {
        read_all(&self.log, Event::decode)
    }
}

/// The log of failed requests.
#[derive(Debug, Clone, Copy)]
pub struct FailureLog {
    log: Log,
}

impl FailureLog {
    /// How often a worker tries to take the lock: it is held for less than a microsecond, unless its holder is not
    /// running.
    const ATTEMPTS: u32 = 64;

    /// The failures in a log of [`FAILURES_PLAN`].
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Appends a record without waiting for a process that holds the lock. Returns whether it was appended.
    pub fn append(&self, failure: &Failure) -> bool {
        let record = failure.encode();
        let append = || (self.log).try_append(CHANNEL, b"", &record, failure.at.unix);
        (0..Self::ATTEMPTS).any(|_| matches!(append(), Ok(Some(_))))
    }

    /// All records that are left, in the order in which they were appended.
    pub fn read(&self) -> Vec<Failure> {
        read_all(&self.log, Failure::decode)
    }
}

fn read_all<T>(log: &Log, decode: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
    let (mut cursor, mut bytes) = (log.oldest(), Vec::new());
    let mut found = Vec::new();
    loop {
        match log.read(&mut cursor, &mut bytes) {
            Read::Record { .. } => found.extend(decode(&bytes)),
            Read::Overrun => found.clear(),
            Read::UpToDate => return found,
        }
    }
}

#[cfg(test)]
mod tests;
