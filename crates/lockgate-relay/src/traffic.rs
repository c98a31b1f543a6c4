//! What a relay passes on: which records are this server's own, and what becomes of those of other servers.

use lockgate_push::Message;
use lockgate_shm::{Log, Read};

use crate::server::{Entry, EntryId};

/// See the module.
pub(crate) trait Traffic: Send + Sync {
    /// The word for records in the log, in the plural, and in the names of Redis' keys.
    fn words(&self) -> Words;

    /// Whether this record of the log is for other servers.
    fn is_own(&self, record: &[u8]) -> bool;

    /// Takes the record of another server. `now` is in nanoseconds of the monotonic clock.
    fn take(&self, entry: &Entry, now: u64) -> Result<(), String>;

    /// The last entry that was taken, if the log itself says so.
    fn last_taken(&self) -> Option<EntryId> {
        None
    }

    /// Other servers do not get some records of this one.
    fn on_overwritten(&self) {}

    /// This server does not get some records of other ones.
    fn on_missed(&self) {}
}

/// What the log and Redis call a kind of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words {
    /// In the plural.
    pub(crate) records: &'static str,
    /// What the log of this server's records is called.
    pub(crate) log: &'static str,
    /// The hash tag of the keys.
    pub(crate) key: &'static str,
    /// What is missing while Redis is away.
    pub(crate) alone: &'static str,
    /// What happens when the log has overwritten records that were not sent.
    pub(crate) when_overwritten: &'static str,
    /// What happens when Redis has removed entries that were not read.
    pub(crate) when_missed: &'static str,
}

/// Messages for held connections: records of the broadcast log, to which those of other servers are appended.
pub(crate) struct Messages {
    pub(crate) log: Log,
    /// Bytes of the largest message.
    pub(crate) limit: usize,
}

impl Traffic for Messages {
    fn words(&self) -> Words {
        Words {
            records: "messages",
            log: "the broadcast log",
            key: "push",
            alone: "they reach only this server's connections",
            when_overwritten: "other servers do not get them",
            when_missed: "its connections do not get them",
        }
    }

    /// What is no message is not sent either.
    fn is_own(&self, record: &[u8]) -> bool {
        Message::decode(record).is_some_and(|message| message.relayed.is_none())
    }

    fn take(&self, entry: &Entry, now: u64) -> Result<(), String> {
        let mut message = Message::decode(&entry.record)
            .ok_or_else(|| format!("the entry {} is no message of this version", entry.id))?;
        let check = message.check(self.limit);
        check.map_err(|error| format!("the entry {}: {error}", entry.id))?;
        message.relayed = Some(entry.id.to_string());
        let mut record = Vec::new();
        message.encode(&mut record);
        let id = message.id.as_deref().unwrap_or_default();
        let appended = (self.log).append(message.channel.as_bytes(), id.as_bytes(), &record, now);
        appended
            .map(drop)
            .map_err(|error| format!("the entry {}: {error}", entry.id))
    }

    /// The entry of the newest record that came from the stream.
    fn last_taken(&self) -> Option<EntryId> {
        let mut last = None;
        let mut cursor = self.log.oldest();
        let mut record = Vec::new();
        loop {
            match self.log.read(&mut cursor, &mut record) {
                Read::Record { .. } => {
                    let relayed = Message::decode(&record).and_then(|message| message.relayed);
                    last = relayed.and_then(|id| EntryId::parse(&id)).or(last);
                }
                Read::Overrun => {}
                Read::UpToDate => return last,
            }
        }
    }
}

/// What a process that relays purges does with them.
pub trait Purges: Send + Sync {
    /// Does what another server has done.
    ///
    /// # Errors
    /// What is wrong with the record, or with the cache.
    fn apply(&self, record: &[u8]) -> Result<(), String>;

    /// Purges everything: some purges of other servers are unknown.
    fn purge_all(&self);

    /// Makes the other servers purge everything: some purges of this one are lost.
    fn ask_others_to_purge_all(&self);
}

/// Purges of the response cache. They may be applied twice: how far this server has read is in Redis alone, and a little
/// late.
pub(crate) struct CachePurges<P>(pub(crate) P);

impl<P: Purges> Traffic for CachePurges<P> {
    fn words(&self) -> Words {
        Words {
            records: "purges",
            log: "the log of purges",
            key: "purge",
            alone: "they reach only this server's cache",
            when_overwritten: "other servers purge everything",
            when_missed: "it purges everything",
        }
    }

    /// The log has no other ones.
    fn is_own(&self, _record: &[u8]) -> bool {
        true
    }

    fn take(&self, entry: &Entry, _now: u64) -> Result<(), String> {
        let applied = self.0.apply(&entry.record);
        applied.map_err(|problem| format!("the entry {}: {problem}", entry.id))
    }

    fn on_overwritten(&self) {
        self.0.ask_others_to_purge_all();
    }

    fn on_missed(&self) {
        self.0.purge_all();
    }
}
