//! Encoded bodies of stored responses: each is made once for all workers, under a key that ends with its response.

use std::sync::Arc;

use lockgate_compress::{Coding, encode};
use lockgate_shm::responses::{EntryBuffer, NewEntry, PurgeEpoch, ResponseStore};

use super::stored::Stored;

/// Larger bodies are encoded on another thread: with zstd these take 50 µs.
pub(super) const INLINE_AT_MOST: usize = 16 << 10;

/// No field value and no URL has it.
const MARK: u8 = 1;

/// The metadata of an encoded body. No response begins like this.
const ENCODED: &[u8] = b"\xFE";

/// The key of the encoded body of a response.
pub(super) fn key_of(stored: &Stored, coding: Coding) -> Vec<u8> {
    let id = stored.id.number().to_le_bytes();
    [&stored.key, coding.token().as_bytes(), &[MARK], &id].concat()
}

/// The encoded body in the store.
pub(super) fn read(store: &ResponseStore, key: &[u8]) -> Option<Arc<[u8]>> {
    let mut buffer = EntryBuffer::default();
    store.read(key, &mut buffer)?;
    (buffer.meta == ENCODED).then(|| Arc::from(&*buffer.body))
}

/// Encodes a body and stores the result. `None`: it cannot be encoded.
pub(super) fn make(
    store: &ResponseStore,
    (key, coding): (&[u8], Coding),
    stored: &Stored,
    since: PurgeEpoch,
    now: u64,
) -> Option<Arc<[u8]>> {
    let body = encode(coding, &stored.body).ok()?;
    let entry = NewEntry {
        key,
        meta: ENCODED,
        body: &body,
        tags: &[],
        expires: stored.meta.freshness.expires(),
    };
    // Without room for it each worker has its own.
    let _stored = store.insert(&entry, since, now);
    Some(body.into())
}
