//! Jitter: random lengths of padding, against attacks that compare the lengths of compressed responses (BREACH).
//!
//! See docs/compression.md for what it is worth.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// As many lengths are possible. Django's GZipMiddleware has 101.
const LENGTHS: u64 = 128;

/// The next length of padding. SipHash with a random key: cheap, and an attacker cannot tell what comes next.
pub fn padding() -> u16 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = KEY.get_or_init(RandomState::new).hash_one(count);
    (random % LENGTHS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lengths_come_in_no_order() {
        let mut counts = [0_u32; LENGTHS as usize];
        let lengths: Vec<u16> = (0..12_800).map(|_| padding()).collect();
        for length in &lengths {
            counts[usize::from(*length)] += 1;
        }
        assert!(
            counts.iter().all(|count| (40..200).contains(count)),
            "{counts:?}"
        );
        assert!(lengths.windows(2).filter(|pair| pair[0] < pair[1]).count() > 5000);
    }
}
