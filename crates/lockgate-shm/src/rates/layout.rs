//! Words of the memory of rate limits by name, and the marks that tie the words of an entry to its key.
//!
//! A marked word has twelve bits of the tag of the key that wrote it. Under another key its value does not count: so the
//! exchange of a tag alone makes an entry another key's, with nothing counted.

/// The words of the header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Header {
    /// The signature of the plan; 0: a new table.
    Signature,
    Seed,
    Seed2,
    /// Counters are on another cache line than what each request reads.
    Evicted = 8,
    Uncounted,
    /// 1: counts are exchanged with other hosts.
    Connected,
    ConnectionChanged,
    Exchanges,
    Exchanged,
}

pub(super) const HEADER_WORDS: usize = 16;

/// Entries of a set. Its tags fill one cache line.
pub(super) const WAYS: usize = 8;
/// Words of an entry: one cache line.
pub(super) const ENTRY_WORDS: usize = 8;
/// Words of a set: the tags, then the entries.
pub(super) const SET_WORDS: usize = WAYS + WAYS * ENTRY_WORDS;

/// The words of an entry. The marked ones are changed by each request; the others describe the key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// Marked: the theoretical arrival time.
    Arrival,
    /// Marked: how many requests were counted here since they were last taken for other hosts.
    Pending,
    /// Marked: how many requests were refused since the entry is this key's.
    Refused,
    /// Marked: when the first of them was.
    RefusedSince,
    /// The part of the hash that chooses the set.
    Place,
    /// The rate.
    Rate,
    Scope,
    Shown,
}

const MARK_BITS: u32 = 12;
const VALUE_BITS: u32 = 64 - MARK_BITS;
/// The largest value of a marked word.
pub(super) const MOST_VALUE: u64 = (1 << VALUE_BITS) - 1;

/// A word of this value of the key with this tag.
#[inline]
pub(super) fn marked(tag: u64, value: u64) -> u64 {
    (tag & !MOST_VALUE) | value.min(MOST_VALUE)
}

/// The value of a word, if the key with this tag has written it; otherwise 0.
#[inline]
pub(super) fn value(tag: u64, word: u64) -> u64 {
    if (tag ^ word) & !MOST_VALUE == 0 {
        word & MOST_VALUE
    } else {
        0
    }
}

/// What operators see of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShownKey {
    /// Nothing but a short hash: it may be secret.
    Hash,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
    /// All clients of sockets that have no addresses.
    Unix,
    /// All clients.
    Everyone,
}

/// A value that is no IPv6 prefix of the internet: 2^32 of them, in `::/32`, which is reserved.
const HASH: u64 = 0;
const UNIX: u64 = 1;
const EVERYONE: u64 = 2;
const V4: u64 = 1 << 32;

impl ShownKey {
    /// In one word. The few IPv6 prefixes that look like something else are shown as a hash.
    pub(super) fn to_bits(self) -> u64 {
        match self {
            Self::Hash => HASH,
            Self::Unix => UNIX,
            Self::Everyone => EVERYONE,
            Self::V4(address) => V4 | u64::from(u32::from_be_bytes(address)),
            Self::V6(prefix) => match u64::from_be_bytes(prefix) {
                prefix if prefix < V4 << 1 => HASH,
                prefix => prefix,
            },
        }
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        match bits {
            UNIX => Self::Unix,
            EVERYONE => Self::Everyone,
            HASH..V4 => Self::Hash,
            address if address < V4 << 1 => {
                Self::V4(u32::try_from(address ^ V4).unwrap_or(0).to_be_bytes())
            }
            prefix => Self::V6(prefix.to_be_bytes()),
        }
    }
}
