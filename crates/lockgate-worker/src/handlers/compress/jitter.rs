//! Jitter: random lengths of padding, against attacks that compare the lengths of compressed responses (BREACH).
//!
//! See docs/compression.md for what it is worth.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// As many lengths are possible. Django's GZipMiddleware has 101.
const LENGTHS: u64 = 128;

thread_local! {
    /// A random key and a count, of each thread: all event loops would write a count of the process.
    static SEQUENCE: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

/// The next length of padding. SipHash with a random key: cheap, and an attacker cannot tell what comes next.
pub fn padding() -> u16 {
    let random = SEQUENCE.with(|(key, count)| key.hash_one(count.replace(count.get() + 1)));
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
