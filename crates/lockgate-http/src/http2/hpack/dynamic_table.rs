//! The dynamic table (RFC 7541 §2.3.2, §4).
//!
//! Names and values lie back to back in one buffer, oldest first, and new ones are appended. Eviction moves the
//! beginning; when the end of the buffer is reached, what is left moves to the front. So each text is contiguous, and
//! the buffer never outgrows the maximum size. There is no allocation before the first insertion.

use std::collections::VecDeque;

/// What each field counts in addition to its bytes (RFC 7541 §4.1).
pub(super) const OVERHEAD: usize = 32;

/// The first allocation: the fields that most clients repeat.
const FIRST_CAPACITY: usize = 128;

/// The fields of one connection that the peer's encoder may refer to.
#[derive(Debug)]
pub(super) struct DynamicTable {
    bytes: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// As RFC 7541 §4.1 counts it; at most `max_size`.
    size: usize,
    max_size: u16,
}

/// Where a field lies in the buffer: name and value back to back.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u16,
    name_length: u16,
    value_length: u16,
}

impl DynamicTable {
    pub(super) const fn new(max_size: u16) -> Self {
        Self {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    /// The field at `index`; 0 is the newest.
    pub(super) fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let position = self.entries.len().checked_sub(index)?.checked_sub(1)?;
        let entry = self.entries.get(position)?;
        let bytes = self.bytes.get(usize::from(entry.start)..)?;
        let (name, rest) = bytes.split_at_checked(entry.name_length.into())?;
        Some((name, rest.get(..entry.value_length.into())?))
    }

    /// Adds a field and evicts the oldest as far as necessary. A field larger than the table leaves it empty.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len();
        let size = length + OVERHEAD;
        self.evict_to(usize::from(self.max_size).saturating_sub(size));
        if size > self.max_size.into() {
            return;
        }
        self.make_room(length);
        self.entries.push_back(Entry {
            // All three are less than `max_size`.
            start: self.bytes.len() as u16,
            name_length: name.len() as u16,
            value_length: value.len() as u16,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += size;
    }

    /// Changes the maximum size (RFC 7541 §4.3). A table that becomes empty releases its memory.
    pub(super) fn set_max_size(&mut self, max_size: u16) {
        self.max_size = max_size;
        self.evict_to(max_size.into());
        if self.entries.is_empty() {
            *self = Self::new(max_size);
        }
    }

    /// Evicts the oldest fields until the rest takes at most `limit`.
    fn evict_to(&mut self, limit: usize) {
        while self.size > limit
            && let Some(entry) = self.entries.pop_front()
        {
            let length = usize::from(entry.name_length) + usize::from(entry.value_length);
            self.size -= length + OVERHEAD;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    /// Makes sure that `length` more bytes fit behind the last one.
    fn make_room(&mut self, length: usize) {
        if self.bytes.len() + length <= self.bytes.capacity() {
            return;
        }
        let start = self.entries.front().map_or(0, |oldest| oldest.start);
        self.bytes.drain(..usize::from(start));
        for entry in &mut self.entries {
            entry.start -= start;
        }
        let needed = self.bytes.len() + length;
        if needed > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(FIRST_CAPACITY);
            let capacity = doubled.min(self.max_size.into()).max(needed);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(table: &DynamicTable) -> Vec<(&[u8], &[u8])> {
        (0..).map_while(|index| table.field(index)).collect()
    }

    #[test]
    fn the_oldest_are_evicted_and_all_texts_stay_contiguous() {
        // The plain model: a list of fields, newest first.
        let mut model: VecDeque<(Vec<u8>, Vec<u8>)> = VecDeque::new();
        let mut table = DynamicTable::new(400);
        for round in 0..2_000_usize {
            let name = vec![b'a' + (round % 26) as u8; round * 7 % 40];
            let value = vec![b'A' + (round % 26) as u8; round * 13 % 90];
            table.insert(&name, &value);
            model.push_front((name, value));
            let mut size = 0;
            model.retain(|(name, value)| {
                size += name.len() + value.len() + OVERHEAD;
                size <= 400
            });
            let expected: Vec<_> = model.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            assert_eq!(fields(&table), expected);
            assert!(table.size <= 400 && table.bytes.capacity() <= 400);
        }
    }

    #[test]
    fn a_field_of_the_maximum_size_fits_and_a_larger_one_empties_the_table() {
        for (length, fits) in [(63, true), (64, true), (65, false), (70_000, false)] {
            let mut table = DynamicTable::new(96);
            table.insert(b"a", b"b");
            table.insert(&vec![b'n'; length], b"");
            let expected = if fits { 1 } else { 0 };
            assert_eq!((length, fields(&table).len()), (length, expected));
            assert_eq!(table.size, expected * (length + OVERHEAD));
        }
    }

    #[test]
    fn a_smaller_maximum_evicts() {
        let mut table = DynamicTable::new(4096);
        for name in [b"a", b"b", b"c"] {
            table.insert(name, b"");
        }
        for (max_size, left) in [(99, 3), (98, 2), (4096, 2), (33, 1), (32, 0), (4096, 0)] {
            table.set_max_size(max_size);
            assert_eq!((max_size, fields(&table).len()), (max_size, left));
        }
    }

    #[test]
    fn an_empty_table_has_no_memory() {
        let mut table = DynamicTable::new(4096);
        assert_eq!((table.bytes.capacity(), table.entries.capacity()), (0, 0));
        table.insert(b"a", b"b");
        assert!(table.bytes.capacity() <= FIRST_CAPACITY);
        table.set_max_size(0);
        assert_eq!((table.bytes.capacity(), table.entries.capacity()), (0, 0));
        table.insert(b"a", b"b");
        assert_eq!(table.field(0), None);
    }
}
