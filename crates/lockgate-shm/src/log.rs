//! A broadcast log in words of shared memory: a ring buffer to which every process appends, and from which every
//! process reads at a cursor of its own.
//!
//! Appends exclude each other by a lock that its holder's death releases. Readers take no lock and never delay an
//! append: a reader that is too slow finds that its record was overwritten.

mod chain;
mod layout;
mod plan;
mod record;
mod ring;

use std::time::Duration;

pub use plan::LogPlan;
pub use ring::{AppendError, Cursor, Read};

use crate::lock::Lock;
use crate::wake::Wake;
use ring::Ring;

/// A record of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its sequence number.
    pub sequence: u64,
    /// The moment that its writer has given.
    pub time: u64,
    /// Its content.
    pub record: Vec<u8>,
}

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    ring: Ring,
    lock: Lock,
    wake: Wake,
}

impl Log {
    /// The log of this plan in memory that is all zero or holds a log of the same plan; `None` if it holds another one
    /// or is too small. `secret` is the key of the hash function of a new log.
    #[cfg(not(all(test, loom)))]
    pub fn new(
        lock_words: &'static [std::sync::atomic::AtomicU32],
        words: &'static [std::sync::atomic::AtomicU64],
        plan: LogPlan,
        secret: (u64, u64),
    ) -> Option<Self> {
        let lock_words = lock_words.get(..plan.lock_words())?;
        Some(Self {
            ring: Ring::new(words, plan, secret)?,
            lock: Lock::new(lock_words.first()?),
            wake: Wake::new(lock_words.get(plan.wake_word())?),
        })
    }

    /// Appends a record, which overwrites the oldest ones if it needs their place, and wakes the readers that wait.
    /// Returns its sequence number: the first record has 1, and each next one the next number. An empty `id` means
    /// none. `now` is a moment that readers get with the record.
    ///
    /// # Errors
    /// When the channel is empty, the record is too large, or the lock cannot be taken.
    pub fn append(
        &self,
        channel: &[u8],
        id: &[u8],
        record: &[u8],
        now: u64,
    ) -> Result<u64, AppendError> {
        let entry = self.ring.entry(channel, id, record, now)?;
        let sequence = {
            let _guard = self.lock.lock().map_err(AppendError::Lock)?;
            self.ring.append(entry)
        };
        self.wake.wake();
        Ok(sequence)
    }

    /// As [`append`](Self::append), without waiting for the lock: `None` when another thread holds it.
    ///
    /// # Errors
    /// When the channel is empty, or the record is too large.
    pub fn try_append(
        &self,
        channel: &[u8],
        id: &[u8],
        record: &[u8],
        now: u64,
    ) -> Result<Option<u64>, AppendError> {
        let entry = self.ring.entry(channel, id, record, now)?;
        let Some(guard) = self.lock.try_lock() else {
            return Ok(None);
        };
        let sequence = self.ring.append(entry);
        drop(guard);
        self.wake.wake();
        Ok(Some(sequence))
    }

    /// A number that no other log has, as far as its secret is random.
    pub fn identity(&self) -> u64 {
        self.ring.identity()
    }

    /// Sequence number of the last record, which is the number of appends; 0: none.
    pub fn last_sequence(&self) -> u64 {
        self.ring.last_sequence()
    }

    /// The position after the last record: a cursor there reads what is appended from now on.
    pub fn head(&self) -> Cursor {
        self.ring.head()
    }

    /// The position of the oldest record.
    pub fn oldest(&self) -> Cursor {
        self.ring.oldest()
    }

    /// Copies the record at the cursor into `record`, in place of its content, and moves the cursor to the next one.
    pub fn read(&self, cursor: &mut Cursor, record: &mut Vec<u8>) -> Read {
        self.ring.read(cursor, record)
    }

    /// The position after the last record of a channel with this id; `None` when there is none, or it has been
    /// overwritten: then any number of records may be missing. Takes as long for an unknown id as for a known one, and
    /// does not depend on the size of the log.
    pub fn position_after(&self, channel: &[u8], id: &[u8]) -> Option<Cursor> {
        self.ring.position_after(channel, id)
    }

    /// The positions of the records of a channel from a position on, in the order of the log; `None` when the record at
    /// that position has been overwritten. Visits no record of other channels, except those of the same bucket. Every
    /// record before [`Log::head`] is found, if the head was read before this call.
    pub fn positions_of(&self, channel: &[u8], from: &Cursor) -> Option<Vec<Cursor>> {
        self.ring.positions_of(channel, *from)
    }

    /// The records of a channel that follow the last one with this id: see [`Log::position_after`] and
    /// [`Log::positions_of`]. `None` also when one of them is overwritten meanwhile.
    pub fn after(&self, channel: &[u8], id: &[u8]) -> Option<Vec<Found>> {
        let from = self.position_after(channel, id)?;
        let positions = self.positions_of(channel, &from)?.into_iter();
        let records = positions.map(|mut cursor| {
            let mut record = Vec::new();
            match self.read(&mut cursor, &mut record) {
                Read::Record { sequence, time } => Some(Found {
                    sequence,
                    time,
                    record,
                }),
                Read::UpToDate | Read::Overrun => None,
            }
        });
        records.collect()
    }

    /// Waits until there is a record at the cursor, at most this long; returns whether there is one. It may return
    /// early without one, as when a signal is delivered.
    pub fn wait(&self, cursor: &Cursor, timeout: Duration) -> bool {
        self.wake.wait(timeout, || self.ring.has_record(cursor))
    }

    /// Releases the lock if its holder has died, and wakes the readers that wait: the dead process may have appended a
    /// record and not woken them. To be called when a process has ended: see [`Lock::release_if_dead`].
    pub fn release_if_dead(&self) {
        self.lock.release_if_dead();
        self.wake.wake();
    }
}

#[cfg(loom)]
mod loom_model;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
