//! The sending half: records that this server has published go from its log to the stream, each once.
//!
//! How far it has come is kept in Redis, and changes in one transaction with the stream: neither a lost answer nor the
//! death of this process sends a record twice or leaves one out. The log is the buffer while Redis is away.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use lockgate_shm::{Cursor, Log, Read};

use crate::failure::Failure;
use crate::server::Server;
use crate::traffic::Traffic;

/// Records of one transaction.
const MOST_RECORDS: usize = 256;
/// Bytes at which a transaction takes no further record.
const MANY_BYTES: usize = 1024 * 1024;

/// See the module.
pub(crate) struct Sender {
    log: Log,
    traffic: Arc<dyn Traffic>,
    /// Nanoseconds of the monotonic clock. A server that Redis does not know sends what it has published since.
    started: u64,
    /// The first record that may have to be sent.
    cursor: Cursor,
    /// Sequence number of the record before the cursor.
    passed: Option<u64>,
    /// Sequence number of the last record that was sent.
    sent: Option<u64>,
}

/// Records to send.
struct Batch {
    records: Vec<Vec<u8>>,
    /// Sequence number of the last of them.
    last: u64,
    /// The position after the last record that was looked at, and its sequence number.
    end: Cursor,
    passed: u64,
    /// Records that were overwritten before they were looked at.
    overwritten: u64,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Records that were sent.
    pub(crate) records: usize,
    /// Records that the log has overwritten before; some of them may have been those of other servers.
    pub(crate) overwritten: u64,
}

impl Sender {
    pub(crate) fn new(log: Log, traffic: Arc<dyn Traffic>, started: u64) -> Self {
        Self {
            log,
            traffic,
            started,
            cursor: log.oldest(),
            passed: None,
            sent: None,
        }
    }

    /// Begins on a new connection. Repeated after a long pause, lest Redis forgets this server.
    pub(crate) fn begin(&mut self, server: &mut dyn Server) -> Result<(), Failure> {
        loop {
            // Redis knows more after a lost answer, and less after it has lost data.
            let known = server.sent()?.max(self.sent);
            let sent = known.unwrap_or_else(|| self.last_before_start());
            self.sent = Some(sent);
            if server.send(&[], sent)? {
                return Ok(());
            }
        }
    }

    /// Sends the next records, if there are any.
    pub(crate) fn step(&mut self, server: &mut dyn Server) -> Result<Sent, Failure> {
        let batch = self.next_batch();
        let records = batch.records.len();
        if records > 0 && !server.send(&batch.records, batch.last)? {
            self.begin(server)?;
            return Ok(Sent::default());
        }
        self.cursor = batch.end;
        self.passed = Some(batch.passed);
        self.sent = Some(batch.last);
        Ok(Sent {
            records,
            overwritten: batch.overwritten,
        })
    }

    /// Waits until the log has another record, at most this long; returns whether it has.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.log.wait(&self.cursor, timeout)
    }

    fn next_batch(&self) -> Batch {
        let sent = self.sent.unwrap_or_default();
        let mut batch = Batch {
            records: Vec::new(),
            last: sent,
            end: self.cursor,
            passed: self.passed.unwrap_or(sent),
            overwritten: 0,
        };
        let mut bytes = 0;
        let mut record = Vec::new();
        while batch.records.len() < MOST_RECORDS && bytes < MANY_BYTES {
            match self.log.read(&mut batch.end, &mut record) {
                Read::UpToDate => break,
                // The gap before the next record counts.
                Read::Overrun => {}
                Read::Record { sequence, .. } => {
                    let next = batch.passed.saturating_add(1);
                    batch.overwritten += sequence.saturating_sub(next);
                    batch.passed = sequence;
                    if sequence > sent && self.traffic.is_own(&record) {
                        batch.last = sequence;
                        bytes += record.len();
                        batch.records.push(mem::take(&mut record));
                    }
                }
            }
        }
        batch
    }

    fn last_before_start(&self) -> u64 {
        let mut last = None;
        let mut cursor = self.log.oldest();
        let mut record = Vec::new();
        loop {
            match self.log.read(&mut cursor, &mut record) {
                Read::Record { sequence, time } => {
                    if time >= self.started {
                        return last.unwrap_or(sequence.saturating_sub(1));
                    }
                    last = Some(sequence);
                }
                Read::Overrun => {}
                Read::UpToDate => return last.unwrap_or_default(),
            }
        }
    }
}
