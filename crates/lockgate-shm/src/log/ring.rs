//! The records of a log: how one is appended, and how it is read while others are appended.
//!
//! Invariant: a record counts from the one store that moves [`Header::Head`] past it. What is derived from it (the
//! chain of its bucket, the last sequence number) comes after that store, and the next append completes it when a
//! process has died in between. [`Header::Oldest`] moves past a record before any word of it is overwritten and never
//! moves back, so a copy is whole if `Oldest` has not passed it after the copy.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::{Header, Memory};
use super::plan::LogPlan;
use super::record::{HEAD_WORDS, RecordHead};
use crate::hash::hash;
use crate::lock::LockError;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    pub(super) memory: Memory,
    plan: LogPlan,
}

/// The position of a reader in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    position: u64,
}

/// What is at a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A record.
    Record {
        /// Its sequence number.
        sequence: u64,
        /// The moment that its writer has given.
        time: u64,
    },
    /// No record yet.
    UpToDate,
    /// The record has been overwritten. The cursor is at the oldest record now; its sequence number tells how many were
    /// missed.
    Overrun,
}

/// Why a record is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// The name of the channel is empty.
    Channel,
    /// The record, its channel and its id are larger than the largest record of the plan.
    TooLarge,
    /// The lock of the log cannot be taken.
    Lock(LockError),
}

/// A record to append.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    head: RecordHead,
    channel: &'a [u8],
    id: &'a [u8],
    record: &'a [u8],
}

impl Ring {
    pub(super) fn new(
        words: &'static [AtomicU64],
        plan: LogPlan,
        secret: (u64, u64),
    ) -> Option<Self> {
        let memory = Memory::new(words, plan)?;
        match memory.get(Header::Signature) {
            0 => {
                memory.set(Header::HashKey, secret.0);
                memory.set(Header::HashKey2, secret.1);
                memory.set(Header::Signature, plan.signature());
            }
            signature if signature == plan.signature() => {}
            _ => return None,
        }
        Some(Self { memory, plan })
    }

    pub(super) fn hash(&self, channel: &[u8]) -> u64 {
        let secret = (
            self.memory.get(Header::HashKey),
            self.memory.get(Header::HashKey2),
        );
        hash(secret, channel)
    }

    /// What can be prepared without the lock.
    pub(super) fn entry<'a>(
        &self,
        channel: &'a [u8],
        id: &'a [u8],
        record: &'a [u8],
        time: u64,
    ) -> Result<Entry<'a>, AppendError> {
        if channel.is_empty() {
            return Err(AppendError::Channel);
        }
        let head = RecordHead {
            time,
            hash: self.hash(channel),
            channel: channel.len(),
            id: id.len(),
            record: record.len(),
            ..RecordHead::default()
        };
        match head.words() <= self.plan.longest() {
            true => Ok(Entry {
                head,
                channel,
                id,
                record,
            }),
            false => Err(AppendError::TooLarge),
        }
    }

    /// Appends a record; the caller holds the lock. Returns its sequence number.
    pub(super) fn append(&self, entry: Entry<'_>) -> u64 {
        self.complete();
        let end = self.write(entry);
        self.memory.set(Header::Head, end);
        self.complete();
        self.memory.get(Header::Sequence)
    }

    /// Writes a record that does not count yet; returns the position after it.
    pub(super) fn write(&self, entry: Entry<'_>) -> u64 {
        let position = self.memory.get(Header::Head);
        let head = RecordHead {
            sequence: self.memory.get(Header::Sequence).wrapping_add(1),
            previous: self.memory.bucket(entry.head.hash),
            ..entry.head
        };
        let end = position.wrapping_add(head.words() as u64);
        self.make_room(end);
        self.memory.write_head(position, &head);
        for (start, bytes) in [
            (HEAD_WORDS, entry.channel),
            (head.id_start(), entry.id),
            (head.record_start(), entry.record),
        ] {
            let start = position.wrapping_add(start as u64);
            self.memory.write_bytes(start, bytes);
        }
        end
    }

    /// Moves [`Header::Oldest`] past all records whose words are to be overwritten.
    fn make_room(&self, end: u64) {
        let first_kept = end.saturating_sub(self.memory.capacity());
        let head = self.memory.get(Header::Head);
        let mut oldest = self.memory.get(Header::Oldest);
        // Only another program can have written this, and the records between would be too many to visit.
        if head.saturating_sub(oldest) > self.memory.capacity() {
            oldest = head;
        }
        while oldest < first_kept.min(head) {
            oldest = match self.head_at(oldest) {
                Some(found) => oldest.saturating_add(found.words() as u64),
                None => head,
            };
        }
        self.memory.set(Header::Oldest, oldest.min(head));
        // A reader that sees a word of the new record sees this position, too: see `is_intact`.
        fence(Ordering::Release);
    }

    /// Links the last record into the chain of its bucket, unless that has been done. At most one record is not linked,
    /// and each store may be repeated.
    pub(super) fn complete(&self) {
        let (head, linked) = (
            self.memory.get(Header::Head),
            self.memory.get(Header::Linked),
        );
        if linked == head {
            return;
        }
        if let Some(found) = self.head_at(linked) {
            self.memory.set_bucket(found.hash, linked.wrapping_add(1));
            self.memory.set(Header::Sequence, found.sequence);
        }
        self.memory.set(Header::Linked, head);
    }

    /// The head of the record at this position; `None` if there is none of a possible size. What it says counts only if
    /// the record is intact afterwards.
    pub(super) fn head_at(&self, position: u64) -> Option<RecordHead> {
        let found = self.memory.head_at(position);
        (found.words() <= self.plan.longest()).then_some(found)
    }

    /// Whether what was copied from this position before the call was not being overwritten.
    pub(super) fn is_intact(&self, position: u64) -> bool {
        fence(Ordering::Acquire);
        self.memory.get(Header::Oldest) <= position
    }

    pub(super) fn head(&self) -> Cursor {
        Cursor {
            position: self.memory.get(Header::Head),
        }
    }

    pub(super) fn oldest(&self) -> Cursor {
        Cursor {
            position: self.memory.get(Header::Oldest),
        }
    }

    pub(super) fn has_record(&self, cursor: &Cursor) -> bool {
        cursor.position < self.memory.get(Header::Head)
    }

    pub(super) fn read(&self, cursor: &mut Cursor, record: &mut Vec<u8>) -> Read {
        record.clear();
        let Cursor { position } = *cursor;
        let head = self.memory.get(Header::Head);
        if position >= head {
            return Read::UpToDate;
        }
        if !self.is_intact(position) {
            *cursor = self.oldest();
            return Read::Overrun;
        }
        let found = self.head_at(position);
        if let Some(found) = found {
            let start = position.wrapping_add(found.record_start() as u64);
            self.memory.read_bytes(start, found.record, record);
        }
        match found {
            _ if !self.is_intact(position) => *cursor = self.oldest(),
            Some(found) => {
                cursor.position = position.wrapping_add(found.words() as u64);
                return Read::Record {
                    sequence: found.sequence,
                    time: found.time,
                };
            }
            // Only another program can have written this.
            None => cursor.position = head,
        }
        record.clear();
        Read::Overrun
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel => f.write_str("the name of the channel is empty"),
            Self::TooLarge => f.write_str("the record is larger than a quarter of the log"),
            Self::Lock(error) => write!(f, "the lock of the log cannot be taken: {error}"),
        }
    }
}

impl Error for AppendError {}
