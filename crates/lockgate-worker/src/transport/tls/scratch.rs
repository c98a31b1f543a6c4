//! Buffers that a thread lends to each operation of a TLS session, so that connections need none of their own.

use std::cell::RefCell;

/// The plaintext of a record (RFC 8446 §5.1).
pub(super) const RECORD: usize = 16 * 1024;

/// Plaintext that is encrypted and sent at once: more saves few system calls, and is what a client that reads slowly
/// makes the server hold.
pub(super) const BATCH: usize = 4 * RECORD;

/// A record with its header, nonce, padding and tag: RFC 5246 §6.2.3 allows 2 KiB, AEADs need less.
const SEALED_RECORD: usize = RECORD + 64;

/// Room for messages of the protocol before the records: an update of keys, tickets.
pub(super) const SLACK: usize = 4096;

/// Ciphertext that is read at once: two full records and the beginning of a third.
const RECEIVED: usize = 40 * 1024;

/// See the module documentation.
pub(super) struct Scratch {
    /// Small pieces of plaintext that become one record.
    pub(super) plain: Box<[u8]>,
    /// Records to send.
    pub(super) sealed: Box<[u8]>,
    /// Records that were read.
    pub(super) received: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        plain: vec![0; RECORD].into_boxed_slice(),
        sealed: vec![0; BATCH / RECORD * SEALED_RECORD + SLACK].into_boxed_slice(),
        received: vec![0; RECEIVED].into_boxed_slice(),
    });
}

/// Lends the buffers of this thread. Calls do not nest.
pub(super) fn with_scratch<T>(operation: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(operation)
}
