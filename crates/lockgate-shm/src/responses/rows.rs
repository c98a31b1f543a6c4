//! Bytes in the rows of an entry. A part begins with a row; its last row is filled up with zeros.

use super::checksum::{Checksum, row_of};
use super::layout::{AtomicU64, Ordering, ROW, Rows, put, rows_of};

/// Writes a part.
pub(super) fn store_bytes(rows: &mut Rows, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let words = rows.take(rows_of(bytes.len()) * ROW);
        if words.is_empty() {
            return;
        }
        let (now, later) = bytes.split_at(bytes.len().min(words.len() * 8));
        for (row, chunk) in words.chunks_exact(ROW).zip(now.chunks(ROW * 8)) {
            for (word, value) in row.iter().zip(row_of(chunk)) {
                put(word, value, Ordering::Relaxed);
            }
        }
        bytes = later;
    }
}

/// Copies a part of this length in place of the content of `bytes`; false if the entry ends before.
pub(super) fn load_bytes(
    rows: &mut Rows,
    length: usize,
    bytes: &mut Vec<u8>,
    checksum: &mut Checksum,
) -> bool {
    bytes.clear();
    bytes.resize(rows_of(length) * ROW * 8, 0);
    let mut left = bytes.as_mut_slice();
    while !left.is_empty() {
        let words = rows.take(left.len() / 8);
        if words.is_empty() {
            return false;
        }
        let (now, later) = left.split_at_mut(words.len() * 8);
        let chunks = now.chunks_exact_mut(ROW * 8);
        for (row, chunk) in words.chunks_exact(ROW).zip(chunks) {
            let row = load(row);
            for (place, word) in chunk.chunks_exact_mut(8).zip(row) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            checksum.add(row);
        }
        left = later;
    }
    bytes.truncate(length);
    true
}

/// Whether a part of the same length has these bytes. False at once where they differ.
pub(super) fn has_bytes(rows: &mut Rows, bytes: &[u8]) -> bool {
    bytes.chunks(ROW * 8).all(|chunk| {
        let row = rows.take(ROW);
        row.len() == ROW && load(row) == row_of(chunk)
    })
}

fn load(row: &[AtomicU64]) -> [u64; ROW] {
    let mut words = [0; ROW];
    for (word, place) in words.iter_mut().zip(row) {
        *word = place.load(Ordering::Relaxed);
    }
    words
}
