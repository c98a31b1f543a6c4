//! The id of a request: taken from a trusted peer, or made.
//!
//! Invariant: an id has 1 to 128 bytes, all of them letters, digits or one of `-._~+/=:@`, so that it can be written
//! into a field, a log line and a URL as it is.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use lockgate_http::{LocalResponse, hex};

use crate::metrics::monotonic_nanos;
use crate::os::fill_random;

/// Longer ids of peers are not taken.
const LONGEST: usize = 128;

/// Ids up to this length, which UUIDs and the server's own have, are not allocated.
const INLINE: usize = 38;

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Inline { length: u8, bytes: [u8; INLINE] },
    Boxed(Box<[u8]>),
}

impl RequestId {
    /// The id that a peer has sent; `None` if it is not one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_id = (1..=LONGEST).contains(&value.len()) && value.iter().all(|byte| is_safe(*byte));
        is_id.then(|| Self::of(value))
    }

    /// A response of the server itself with the field X-Request-Id.
    pub fn added_to(&self, response: LocalResponse) -> LocalResponse {
        response.with_header("X-Request-Id", self.as_str().to_owned())
    }

    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        Self(match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text);
                Text::Inline {
                    length: text.len() as u8,
                    bytes,
                }
            }
            None => Text::Boxed(text.into()),
        })
    }

    /// As it is written in fields and logs.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Text::Boxed(text) => text,
        }
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        // ASCII: see the invariant.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(&byte)
}

/// Makes ids of 128 bits without a system call: a counter goes through a permutation, so that an id does not recur in a
/// worker, and is mixed with a key of the worker, so that those of two workers differ. They can be guessed.
#[repr(align(64))]
pub struct IdGenerator {
    counter: AtomicU64,
    key: u64,
}

impl IdGenerator {
    /// With a start and a key from the system.
    pub fn seeded() -> Self {
        let mut bytes = [0; 16];
        // Forked processes have the same `RandomState`, but neither the process id nor the kernel's random bytes.
        let _kept_if_unavailable = fill_random(&mut bytes);
        let seed =
            |of: &[u8]| RandomState::new().hash_one((of, std::process::id(), monotonic_nanos()));
        Self::new(seed(&bytes[..8]), seed(&bytes[8..]))
    }

    fn new(start: u64, key: u64) -> Self {
        Self {
            counter: AtomicU64::new(start),
            key,
        }
    }

    /// The next number: each of them once in 2^64.
    #[inline]
    pub fn next_u64(&self) -> u64 {
        // The increment and the mixing steps of SplitMix64 (Steele, Lea and Flood, 2014), which are bijections.
        const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
        mixed(self.counter.fetch_add(INCREMENT, Ordering::Relaxed))
    }

    /// 128 bits, not 0. The low half alone differs from that of every other id of this worker.
    #[inline]
    pub fn next_u128(&self) -> u128 {
        let low = self.next_u64();
        let high = mixed(low) ^ self.key;
        u128::from(high) << 64 | u128::from(low.max(1))
    }

    /// A new id: 32 hexadecimal digits.
    #[inline]
    pub fn make(&self) -> RequestId {
        RequestId::of(&hex::encode_128(self.next_u128()))
    }
}

fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_is_taken_if_it_can_be_written_everywhere() {
        let longest = "x".repeat(128);
        for id in [
            "a",
            "0",
            "f058ebd6-02f7-4d3f-942e-904344e8cde5",
            "Root=1-67891233-abcdef012345678912345678",
            "a.b_c~d+e/f=g:h@i",
            &longest,
        ] {
            let parsed = RequestId::parse(id.as_bytes());
            assert_eq!(parsed.as_ref().map(RequestId::as_str), Some(id));
        }
        let too_long = "x".repeat(129);
        for id in [
            "", " ", "a b", "a,b", "a;b", "a\"b", "a%b", "a\u{7f}b", "é", "a\tb", "<a>", &too_long,
        ] {
            assert_eq!(RequestId::parse(id.as_bytes()), None, "{id:?}");
        }
    }

    #[test]
    fn ids_of_one_and_of_two_workers_differ() {
        let same_start = [IdGenerator::new(7, 1), IdGenerator::new(7, 2)];
        let mut seen = HashSet::new();
        for generator in &same_start {
            for _ in 0..10_000 {
                let id = generator.make();
                assert!(RequestId::parse(id.as_bytes()).is_some());
                assert_eq!(id.as_bytes().len(), 32);
                assert!(seen.insert(id.as_bytes().to_vec()));
            }
        }
        let seeded = [IdGenerator::seeded(), IdGenerator::seeded()];
        assert_ne!(seeded[0].next_u128(), seeded[1].next_u128());
        assert_ne!(seeded[0].key, seeded[1].key);
    }

    #[test]
    fn each_bit_of_an_id_is_set_about_as_often_as_not() {
        let generator = IdGenerator::new(0, 0x0123_4567_89ab_cdef);
        let numbers: Vec<u128> = (0..4096).map(|_| generator.next_u128()).collect();
        for bit in 0..128 {
            let set = numbers.iter().filter(|one| *one >> bit & 1 == 1).count();
            assert!((1800..2300).contains(&set), "bit {bit}: {set} of 4096");
        }
    }
}
