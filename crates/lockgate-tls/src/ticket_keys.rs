//! The keys of session tickets (RFC 5077): made and rotated by the supervisor, the same in all workers.
//!
//! Invariant: the first key encrypts; a key that has been replaced decrypts for one more [`TicketKeys::ROTATION`], so
//! that each ticket is accepted for that long at least, and for twice as long at most.

use std::fmt;

/// Bytes of the name of a key, which each ticket begins with.
pub(crate) const NAME: usize = 16;
/// Bytes of a key for AES-256.
pub(crate) const SECRET: usize = 32;
const ENCODED: usize = NAME + SECRET + 8;

/// One key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TicketKey {
    pub(crate) name: [u8; NAME],
    pub(crate) secret: [u8; SECRET],
    /// Unix seconds.
    made_at: u64,
}

/// The current key and the previous one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TicketKeys {
    keys: Vec<TicketKey>,
}

impl TicketKeys {
    /// Random bytes for a key.
    pub const RANDOM: usize = NAME + SECRET;
    /// Seconds for which a key encrypts.
    pub const ROTATION: u64 = 12 * 60 * 60;

    /// Keys with a first one from random bytes; `now` is in Unix seconds.
    pub fn new(now: u64, random: &[u8; Self::RANDOM]) -> Self {
        let mut keys = Self::default();
        keys.rotate(now, random);
        keys
    }

    /// Whether there is no key: tickets are neither issued nor accepted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// When the next rotation is due, in Unix seconds; 0 without a key.
    pub fn rotates_at(&self) -> u64 {
        self.keys
            .first()
            .map_or(0, |key| key.made_at.saturating_add(Self::ROTATION))
    }

    /// Whether a rotation is due. A clock that was set back far does not make keys live for longer.
    pub fn is_due(&self, now: u64) -> bool {
        let is_from_the_future = |key: &TicketKey| key.made_at > now + Self::ROTATION;
        now >= self.rotates_at() || self.keys.first().is_some_and(is_from_the_future)
    }

    /// Makes a new current key from random bytes. The key that was current decrypts until the next rotation, unless it
    /// is too old.
    pub fn rotate(&mut self, now: u64, random: &[u8; Self::RANDOM]) {
        let (name, secret) = random.split_at(NAME);
        let mut key = TicketKey {
            name: [0; NAME],
            secret: [0; SECRET],
            made_at: now,
        };
        key.name.copy_from_slice(name);
        key.secret.copy_from_slice(secret);
        self.keys.truncate(1);
        // After a long sleep of the host, tickets of the key are older than they may be.
        self.keys
            .retain(|key| now.saturating_sub(key.made_at) < 2 * Self::ROTATION);
        self.keys.insert(0, key);
    }

    /// For a successor of this supervisor, or a worker. Contains the secrets.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.keys.len() * ENCODED);
        for key in &self.keys {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&key.secret);
            bytes.extend_from_slice(&key.made_at.to_le_bytes());
        }
        bytes
    }

    /// What [`TicketKeys::to_bytes`] has returned.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, []) = bytes.as_chunks::<ENCODED>() else {
            return None;
        };
        let decode = |bytes: &[u8; ENCODED]| {
            let (name, rest) = bytes.split_first_chunk::<NAME>()?;
            let (secret, made_at) = rest.split_first_chunk::<SECRET>()?;
            Some(TicketKey {
                name: *name,
                secret: *secret,
                made_at: u64::from_le_bytes(made_at.try_into().ok()?),
            })
        };
        let keys = keys.iter().map(decode).collect::<Option<Vec<_>>>()?;
        Some(Self { keys })
    }

    /// The current key first.
    pub(crate) fn keys(&self) -> &[TicketKey] {
        &self.keys
    }
}

/// Without the secrets.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made: Vec<u64> = self.keys.iter().map(|key| key.made_at).collect();
        f.debug_struct("TicketKeys")
            .field("made_at", &made)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60;

    fn random(byte: u8) -> [u8; TicketKeys::RANDOM] {
        [byte; TicketKeys::RANDOM]
    }

    fn names(keys: &TicketKeys) -> Vec<u8> {
        keys.keys().iter().map(|key| key.name[0]).collect()
    }

    #[test]
    fn a_key_encrypts_for_twelve_hours_and_decrypts_for_twelve_more() {
        let mut keys = TicketKeys::new(1000, &random(1));
        assert_eq!(names(&keys), [1]);
        assert!(!keys.is_due(1000 + 12 * HOUR - 1));
        assert!(keys.is_due(1000 + 12 * HOUR));
        keys.rotate(1000 + 12 * HOUR, &random(2));
        assert_eq!(names(&keys), [2, 1]);
        keys.rotate(1000 + 24 * HOUR, &random(3));
        assert_eq!(names(&keys), [3, 2]);
    }

    #[test]
    fn a_key_that_is_too_old_is_dropped_at_a_late_rotation() {
        let mut keys = TicketKeys::new(0, &random(1));
        keys.rotate(24 * HOUR, &random(2));
        assert_eq!(names(&keys), [2]);
    }

    #[test]
    fn a_clock_that_was_set_back_far_makes_a_rotation_due() {
        let keys = TicketKeys::new(100 * HOUR, &random(1));
        assert!(!keys.is_due(99 * HOUR));
        assert!(keys.is_due(50 * HOUR));
        assert!(TicketKeys::default().is_due(0));
    }

    #[test]
    fn keys_survive_the_handover_to_another_process() {
        let mut keys = TicketKeys::new(7, &random(1));
        keys.rotate(8, &random(2));
        let bytes = keys.to_bytes();
        assert_eq!(TicketKeys::from_bytes(&bytes), Some(keys));
        assert_eq!(TicketKeys::from_bytes(&bytes[1..]), None);
        assert_eq!(TicketKeys::from_bytes(&[]), Some(TicketKeys::default()));
    }

    #[test]
    fn debug_output_has_no_secret() {
        let keys = TicketKeys::new(7, &random(0x41));
        assert_eq!(format!("{keys:?}"), "TicketKeys { made_at: [7], .. }");
    }
}
