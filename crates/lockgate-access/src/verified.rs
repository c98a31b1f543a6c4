//! What was verified lately: users who need no hash for their next request.
//!
//! Invariant: a key is the output of a keyed hash, so that neither a password nor what it is checked against can be read
//! from it. Only verified users are remembered, so clients that guess cannot displace them.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

/// What keys are made with; each worker has its own.
pub struct Secret(pub(crate) hmac::Key);

impl Secret {
    /// Of random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A user, the password and the line in the file, under a secret of the worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifiedKey([u8; 32]);

impl VerifiedKey {
    pub(crate) fn new(tag: &[u8]) -> Self {
        let mut key = [0; 32];
        for (own, byte) in key.iter_mut().zip(tag) {
            *own = *byte;
        }
        Self(key)
    }
}

impl fmt::Debug for VerifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedKey(..)")
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct Verified {
    /// Until when each counts.
    until: HashMap<VerifiedKey, Instant>,
    capacity: usize,
    lifetime: Duration,
}

impl Verified {
    /// At most `capacity` users, each for `lifetime` after its check.
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Self {
            until: HashMap::new(),
            capacity,
            lifetime,
        }
    }

    /// Whether this was verified.
    pub fn contains(&self, key: &VerifiedKey, now: Instant) -> bool {
        self.until.get(key).is_some_and(|&until| now < until)
    }

    /// It was verified now. In a full store it takes the place of the oldest.
    pub fn insert(&mut self, key: VerifiedKey, now: Instant) {
        if self.until.len() >= self.capacity && !self.until.contains_key(&key) {
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() >= self.capacity && !self.until.contains_key(&key) {
            let oldest = self.until.iter().min_by_key(|(_, until)| **until);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.until.remove(&oldest);
            }
        }
        self.until.insert(key, now + self.lifetime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> VerifiedKey {
        VerifiedKey::new(&[number; 32])
    }

    #[test]
    fn what_was_verified_counts_for_a_time() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut verified = Verified::new(2, minute * 10);
        verified.insert(key(1), start);
        for (minutes, expected) in [(0, true), (9, true), (10, false), (11, false)] {
            assert_eq!(
                verified.contains(&key(1), start + minute * minutes),
                expected,
                "{minutes}"
            );
        }
        assert!(!verified.contains(&key(2), start));
        verified.insert(key(1), start + minute * 5);
        assert!(verified.contains(&key(1), start + minute * 14));
    }

    #[test]
    fn the_oldest_one_makes_room() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut verified = Verified::new(3, second * 60);
        for number in 0..5 {
            verified.insert(key(number), start + second * u32::from(number));
            // Again, which needs no room.
            verified.insert(key(number), start + second * u32::from(number));
        }
        let now = start + second * 5;
        let kept = (0..5).filter(|&number| verified.contains(&key(number), now));
        assert_eq!(kept.collect::<Vec<_>>(), [2, 3, 4]);
        // All have expired: none is in the way.
        verified.insert(key(9), start + second * 600);
        assert_eq!(verified.until.len(), 1);
    }
}
