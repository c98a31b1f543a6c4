//! What the relay asks of Redis.

use std::fmt;

use crate::failure::Failure;

/// The id of an entry in the stream: milliseconds of Redis' clock, and a number among those of the same millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub(crate) milliseconds: u64,
    pub(crate) number: u64,
}

/// An entry of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    /// The server that has added it; see `Log::identity`. Empty if it has none.
    pub(crate) origin: String,
    /// A record of the broadcast log.
    pub(crate) record: Vec<u8>,
}

/// The stream when a receiver begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamState {
    /// The ids of its first and last entry; zero without one.
    pub(crate) first: EntryId,
    pub(crate) last: EntryId,
    /// Whether it has the length at which first entries are removed.
    pub(crate) is_full: bool,
    /// Up to where this server has read, as of its last [`Server::remember`].
    pub(crate) read: Option<EntryId>,
    /// Redis' clock.
    pub(crate) milliseconds: u64,
}

/// See the module.
pub(crate) trait Server {
    /// The sequence number of the last record that the stream has got of this server. From now on, until the next
    /// [`send`](Self::send), it is noticed when another process changes it.
    fn sent(&mut self) -> Result<Option<u64>, Failure>;

    /// Adds records to the stream, the last of which has the sequence number `last`: all or none. Returns whether it has
    /// done so; not if another process of this server has sent meanwhile.
    fn send(&mut self, records: &[Vec<u8>], last: u64) -> Result<bool, Failure>;

    fn state(&mut self) -> Result<StreamState, Failure>;

    /// The next entries after this one; waits for some seconds if there is none.
    fn read(&mut self, after: EntryId) -> Result<Vec<Entry>, Failure>;

    /// Keeps up to where this server has read.
    fn remember(&mut self, position: EntryId) -> Result<(), Failure>;
}

impl EntryId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (milliseconds, number) = text.split_once('-')?;
        Some(Self {
            milliseconds: milliseconds.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}
