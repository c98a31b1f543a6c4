//! Memory for request bodies, used again and again: a fresh block for each upload is page faults for every page of it
//! (POST of 64 KiB: 36.7 µs of CPU a request with fresh blocks, 18 % of it in the fault handler). Knows no framing.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Blocks start at this size: most bodies that are worth a block fit.
const BLOCK: usize = 64 * 1024;

/// Bytes kept for reuse in all: a turn's worth of blocks. More would only be memory.
const KEPT: usize = 4 << 20;

/// Bodies up to this size are always held in memory: a file for each of them would cost more, and connections bound them.
const ALWAYS_HELD: usize = 8 * 1024;

/// The memory of a worker for bodies: blocks that wait for their next body, and how much is in use.
#[derive(Debug)]
pub struct BodyPool {
    /// Most bytes in use (`body_memory_total`).
    limit: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    free: Vec<Vec<u8>>,
    /// Bytes in free blocks.
    free_size: usize,
    /// Bytes in blocks that hold bodies.
    used: usize,
}

/// The collected bytes of a body; the block goes back to its pool when the last reader drops it.
#[derive(Debug, Default)]
pub struct BodyBuffer {
    /// Initialised throughout, so that the socket can write anywhere in it; only the first `filled` bytes are body.
    block: Vec<u8>,
    filled: usize,
    /// What the first block should have room for.
    expected: usize,
    pool: Option<Arc<BodyPool>>,
}

impl BodyBuffer {
    /// A buffer for `expected` bytes. It takes memory when the first of them is here: a promise alone costs nothing.
    pub fn with_room(pool: &Arc<BodyPool>, expected: u64) -> Self {
        Self {
            block: Vec::new(),
            filled: 0,
            expected: usize::try_from(expected).unwrap_or(BLOCK).min(BLOCK),
            pool: Some(Arc::clone(pool)),
        }
    }

    /// Adds a copy. False, and nothing is added: the bodies of this worker hold as much memory as they may.
    pub fn extend(&mut self, bytes: &[u8]) -> bool {
        let end = self.filled + bytes.len();
        if !self.reserve(end) {
            return false;
        }
        self.block[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
        true
    }

    /// Where the next bytes may be received, at most `most` of them and at least one when `most` is. `None`: as
    /// [`BodyBuffer::extend`].
    pub fn room(&mut self, most: usize) -> Option<&mut [u8]> {
        if self.filled == self.block.len() && most > 0 && !self.reserve(self.filled + 1) {
            return None;
        }
        let end = self.block.len().min(self.filled.saturating_add(most));
        Some(&mut self.block[self.filled..end])
    }

    /// So many bytes were received into [`BodyBuffer::room`].
    pub fn note_received(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.block.len());
    }

    fn reserve(&mut self, length: usize) -> bool {
        if length <= self.block.len() {
            return true;
        }
        let wanted = match self.block.len() {
            0 => length.max(self.expected),
            present => length.max(present.max(4096) * 2),
        };
        match &self.pool {
            Some(pool) => pool.grow(&mut self.block, wanted, length),
            None => {
                self.block.resize(wanted, 0);
                true
            }
        }
    }
}

impl Deref for BodyBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.block[..self.filled]
    }
}

impl Drop for BodyBuffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take()
            && !self.block.is_empty()
        {
            pool.give(std::mem::take(&mut self.block));
        }
    }
}

impl BodyPool {
    /// For bodies that hold at most `limit` bytes together, and as much as [`ALWAYS_HELD`] each beyond that.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            blocks: Mutex::default(),
        }
    }

    /// Gives a block room for `wanted` bytes, or for the `least` that are needed. False: there is no memory for them.
    fn grow(&self, block: &mut Vec<u8>, wanted: usize, least: usize) -> bool {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.limit.saturating_sub(blocks.used);
        let present = block.len();
        if block.is_empty()
            && let Some(free) = blocks.free.pop_if(|free| free.len() <= left)
        {
            blocks.free_size -= free.len();
            *block = free;
        }
        let size = if wanted.saturating_sub(present) <= left {
            wanted
        } else if least <= ALWAYS_HELD {
            wanted.min(ALWAYS_HELD)
        } else {
            // A block that was taken has fitted, and stays with the buffer.
            blocks.used += block.len() - present;
            return least <= block.len();
        };
        blocks.used += block.len().max(size) - present;
        drop(blocks);
        if block.is_empty() {
            // Zeroed memory comes from the system as it is and costs nothing before it is written.
            *block = vec![0; size];
        } else if block.len() < size {
            block.resize(size, 0);
        }
        true
    }

    /// Small blocks are cheap to make and large ones are rare: neither is kept.
    fn give(&self, block: Vec<u8>) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.used -= block.len();
        let is_kept =
            (BLOCK..=2 * BLOCK).contains(&block.len()) && blocks.free_size + block.len() <= KEPT;
        if is_kept {
            blocks.free_size += block.len();
            blocks.free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Arc<BodyPool> {
        Arc::new(BodyPool::new(64 << 20))
    }

    #[test]
    fn what_goes_in_by_copy_or_by_receiving_comes_out_in_order() {
        let mut buffer = BodyBuffer::with_room(&pool(), 4);
        assert!(buffer.extend(b"copied "));
        let room = buffer.room(8).unwrap();
        let count = room.len().min(3);
        room[..count].copy_from_slice(&b"rec"[..count]);
        buffer.note_received(count);
        assert!(buffer.extend(b" more"));
        assert_eq!(
            &*buffer,
            [&b"copied "[..], &b"rec"[..count], b" more"].concat()
        );
    }

    #[test]
    fn a_block_is_used_again_and_shows_nothing_of_the_body_before() {
        let pool = pool();
        let mut first = BodyBuffer::with_room(&pool, 1 << 20);
        first.extend(b"secret");
        let place = first.as_ptr();
        drop(first);
        let mut second = BodyBuffer::with_room(&pool, 10);
        assert!(second.is_empty());
        second.extend(b"other");
        assert_eq!((&*second, second.block.as_ptr()), (&b"other"[..], place));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = pool();
        let many: Vec<_> = (0..200)
            .map(|_| {
                let mut buffer = BodyBuffer::with_room(&pool, 1 << 20);
                buffer.extend(b"1");
                buffer
            })
            .collect();
        assert_eq!(pool.blocks.lock().unwrap().used, 200 * BLOCK);
        drop(many);
        let mut large = BodyBuffer::with_room(&pool, 1);
        large.extend(&vec![1; 1 << 20]);
        drop(large);
        let blocks = pool.blocks.lock().unwrap();
        let free: usize = blocks.free.iter().map(Vec::len).sum();
        assert!(free <= KEPT && free == blocks.free_size);
        assert_eq!(blocks.used, 0);
    }

    #[test]
    fn bodies_together_hold_no_more_than_the_limit_and_small_ones_always_find_room() {
        let pool = Arc::new(BodyPool::new(256 * 1024));
        let mut held = Vec::new();
        for (size, is_granted) in [
            (100 * 1024, true),
            (100 * 1024, true),
            (100 * 1024, false),
            (56 * 1024, true),
            (1, true),
            (ALWAYS_HELD, true),
            (ALWAYS_HELD + 1, false),
        ] {
            let mut buffer = BodyBuffer::with_room(&pool, size as u64);
            assert_eq!(buffer.extend(&vec![7; size]), is_granted, "{size}");
            held.push(buffer);
        }
        let mut promised = BodyBuffer::with_room(&pool, 1 << 20);
        assert_eq!(promised.room(1 << 20).unwrap().len(), ALWAYS_HELD);
        promised.note_received(ALWAYS_HELD);
        assert!(promised.room(1).is_none());
        held.clear();
        // The limit counts what is held now.
        assert!(promised.extend(&vec![7; 100 * 1024]));
        drop(promised);
        assert_eq!(pool.blocks.lock().unwrap().used, 0);
    }
}
