//! The records of a log: how one is appended, and how it is read while others are appended.
//!
//! Invariant: a record counts from the one store that moves [`Header::Head`] past it. What is derived from it (its
//! chains, the last sequence number) comes after that store, and the next append completes it when a
//! process has died in between. [`Header::Oldest`] moves past a record before any word of it is overwritten and never
//! moves back, so a copy is whole if `Oldest` has not passed it after the copy.

use std::error::Error;
use std::fmt;

use super::layout::{AtomicU64, Chain, Header, Memory, Ordering, fence};
use super::plan::LogPlan;
use super::record::{HEAD_WORDS, Link, RecordHead};
use crate::hash::hash;
use crate::lock::LockError;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    pub(super) memory: Memory,
    plan: LogPlan,
}

/// The position of a reader in a log. A later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) position: u64,
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
        hash(self.hash_key(), channel)
    }

    /// The hash of an id within the channel of this hash.
    pub(super) fn id_hash(&self, channel_hash: u64, id: &[u8]) -> u64 {
        let key = self.hash_key();
        hash((key.0 ^ channel_hash, key.1), id)
    }

    /// Does not reveal the key. No channel has this hash: its key is another one.
    pub(super) fn identity(&self) -> u64 {
        self.id_hash(u64::MAX, b"identity")
    }

    fn hash_key(&self) -> (u64, u64) {
        (
            self.memory.get(Header::HashKey),
            self.memory.get(Header::HashKey2),
        )
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
        let most = u32::MAX as usize;
        if channel.len() > most || id.len() > most {
            return Err(AppendError::TooLarge);
        }
        let link = |hash| Link { hash, previous: 0 };
        let channel_hash = self.hash(channel);
        let head = RecordHead {
            sequence: 0,
            time,
            channel_link: link(channel_hash),
            id_link: link(self.id_hash(channel_hash, id)),
            channel: channel.len(),
            id: id.len(),
            record: record.len(),
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
        let mut head = entry.head;
        head.sequence = self.memory.get(Header::Sequence).wrapping_add(1);
        head.channel_link.previous = (self.memory).newest(Chain::Channel, head.channel_link.hash);
        head.id_link.previous = self.memory.newest(Chain::Id, head.id_link.hash);
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

    /// Links the last record into its chains, unless that has been done. At most one record is not linked, and each
    /// store may be repeated.
    pub(super) fn complete(&self) {
        let (head, linked) = (
            self.memory.get(Header::Head),
            self.memory.get(Header::Linked),
        );
        if linked == head {
            return;
        }
        if let Some(found) = self.head_at(linked) {
            for chain in found.chains() {
                let hash = found.link(*chain).hash;
                self.memory.set_newest(*chain, hash, linked.wrapping_add(1));
            }
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

    pub(super) fn last_sequence(&self) -> u64 {
        self.memory.get(Header::Sequence)
    }

    pub(super) fn head(&self) -> Cursor {
        Cursor {
            position: self.memory.get(Header::Head),
        }
    }

    /// Read after the head, so that the ring has room for all that is between the two.
    pub(super) fn oldest(&self) -> Cursor {
        let head = self.head();
        let position = self.memory.get(Header::Oldest);
        match self.is_in_ring(position, head) {
            true => Cursor { position },
            // Everything before that head has been overwritten, or another program has written one of the two.
            false => head,
        }
    }

    /// Whether the ring can hold all that is from a position to the head.
    fn is_in_ring(&self, position: u64, head: Cursor) -> bool {
        let words = head.position.checked_sub(position);
        words.is_some_and(|words| words <= self.memory.capacity())
    }

    /// Whether a read gives something other than [`Read::UpToDate`]: also if another program has written a head that is
    /// before the cursor.
    pub(super) fn has_record(&self, cursor: &Cursor) -> bool {
        *cursor != self.head()
    }

    pub(super) fn read(&self, cursor: &mut Cursor, record: &mut Vec<u8>) -> Read {
        record.clear();
        let Cursor { position } = *cursor;
        let head = self.head();
        if *cursor == head {
            return Read::UpToDate;
        }
        let end = |found: &RecordHead| Cursor {
            position: position.wrapping_add(found.words() as u64),
        };
        let found = (self.head_at(position)).filter(|found| end(found) <= head);
        if let Some(found) = &found {
            let start = position.wrapping_add(found.record_start() as u64);
            self.memory.read_bytes(start, found.record, record);
        }
        if !self.is_intact(position) || !self.is_in_ring(position, head) {
            record.clear();
            *cursor = self.oldest();
            return Read::Overrun;
        }
        let Some(found) = found else {
            // Only another program can have written this.
            *cursor = head;
            return Read::Overrun;
        };
        *cursor = end(&found);
        Read::Record {
            sequence: found.sequence,
            time: found.time,
        }
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
