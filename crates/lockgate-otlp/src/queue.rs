//! What workers have recorded and the collector does not have yet: records of one log in shared memory.
//!
//! The log also has marks of the exporter itself, so that a successor continues where this process has ended.

use std::time::{Duration, Instant};

use lockgate_shm::{Cursor, Log, Read};

/// As many records are sent at once, without waiting for the interval.
pub(crate) const BATCH: usize = 512;
/// The same in bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Begins a mark: the sequence number up to which records were sent or dropped follows.
const MARK: &[u8] = b"sent";

/// See the module.
pub(crate) struct Queue {
    log: Log,
    /// The channel of the log.
    channel: &'static [u8],
    /// How many records were lost before this one; `None`: it is none of a worker's.
    lost_before: fn(&[u8]) -> Option<u64>,
    cursor: Cursor,
    /// Sequence number of the last record.
    last: u64,
    batch: Vec<Vec<u8>>,
    /// Bytes of the batch.
    size: usize,
    due: Option<Instant>,
}

impl Queue {
    /// Begins with the records that no earlier exporter has sent.
    pub(crate) fn new(
        log: Log,
        channel: &'static [u8],
        lost_before: fn(&[u8]) -> Option<u64>,
    ) -> Self {
        let (cursor, last) = unsent(log);
        Self {
            log,
            channel,
            lost_before,
            cursor,
            last,
            batch: Vec::new(),
            size: 0,
            due: None,
        }
    }

    /// Reads what was recorded, up to a full batch, which is due after `interval`. Returns how many records were lost.
    pub(crate) fn read(&mut self, now: Instant, interval: Duration) -> u64 {
        let mut lost: u64 = 0;
        let mut record = Vec::new();
        while !self.is_full() {
            match self.log.read(&mut self.cursor, &mut record) {
                Read::UpToDate => break,
                // The gap before the next record counts.
                Read::Overrun => {}
                Read::Record { sequence, .. } => {
                    lost += sequence.saturating_sub(self.last.saturating_add(1));
                    self.last = sequence;
                    // The others are marks.
                    let Some(lost_before) = (self.lost_before)(&record) else {
                        continue;
                    };
                    lost = lost.saturating_add(lost_before);
                    self.due.get_or_insert(now + interval);
                    self.size += record.len();
                    self.batch.push(std::mem::take(&mut record));
                }
            }
        }
        lost
    }

    /// Records that were read and not sent.
    pub(crate) fn batch(&self) -> &[Vec<u8>] {
        &self.batch
    }

    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.size >= BATCH_BYTES
    }

    /// Whether the batch is to be sent now; `is_last`: there may be no later moment.
    pub(crate) fn is_due(&self, now: Instant, is_last: bool) -> bool {
        let is_due = self.due.is_some_and(|due| now >= due);
        self.is_full() || is_due || (is_last && !self.batch.is_empty())
    }

    /// Forgets the batch, which was sent or dropped.
    pub(crate) fn clear(&mut self) {
        self.batch.clear();
        self.size = 0;
        self.due = None;
        // A successor of this process sends once more what has no mark.
        let mark = [MARK, &self.last.to_le_bytes()].concat();
        let _unmarked = self.log.append(self.channel, b"", &mark, 0);
    }
}

/// The position of the first record that was not sent, and the sequence number before it.
fn unsent(log: Log) -> (Cursor, u64) {
    let (mut cursor, mut record, mut sent) = (log.oldest(), Vec::new(), 0);
    loop {
        match log.read(&mut cursor, &mut record) {
            Read::UpToDate => break,
            Read::Overrun => {}
            Read::Record { .. } => sent = marked(&record).unwrap_or(sent),
        }
    }
    let (mut cursor, mut last) = (log.oldest(), sent);
    loop {
        let before = cursor;
        match log.read(&mut cursor, &mut record) {
            Read::UpToDate => return (before, last),
            Read::Overrun => {}
            Read::Record { sequence, .. } if sequence > sent => return (before, sequence - 1),
            Read::Record { sequence, .. } => last = sequence,
        }
    }
}

/// The sequence number in a mark.
fn marked(record: &[u8]) -> Option<u64> {
    let number = record.strip_prefix(MARK)?.try_into().ok()?;
    Some(u64::from_le_bytes(number))
}
