//! SipHash-1-3 with a secret key: clients choose keys of caches, and must not be able to choose their buckets.
//!
//! Not the standard library's: the next version of the server finds entries by the hashes of this one.

/// The hash of `bytes` under this key.
pub(crate) fn hash(key: (u64, u64), bytes: &[u8]) -> u64 {
    let mut state = [
        key.0 ^ 0x736f_6d65_7073_6575,
        key.1 ^ 0x646f_7261_6e64_6f6d,
        key.0 ^ 0x6c79_6765_6e65_7261,
        key.1 ^ 0x7465_6462_7974_6573,
    ];
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        absorb(&mut state, word_of(chunk));
    }
    // The last block is the rest, and the length in its highest byte.
    let length = (bytes.len() as u64) << 56;
    absorb(&mut state, word_of(chunks.remainder()) | length);
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

/// At most eight bytes as a word, in the order of little-endian machines.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    for (place, byte) in whole.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_le_bytes(whole)
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

fn round(state: &mut [u64; 4]) {
    let [a, b, c, d] = state;
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// The standard library's hasher is SipHash-1-3 with the key 0 today.
    #[test]
    fn it_is_siphash_1_3() {
        for length in 0..64_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            hasher.write(&bytes);
            assert_eq!(hash((0, 0), &bytes), hasher.finish(), "{length}");
        }
        assert_ne!(hash((0, 0), b"a"), hash((1, 0), b"a"));
        assert_ne!(hash((0, 0), b"a"), hash((0, 1), b"a"));
    }
}
