//! The files that a worker keeps open or in memory, by the paths of requests.
//!
//! Invariant: neither the descriptors nor the bytes exceed their limits. What was not used since the hand of the clock
//! passed it is removed first.

use std::collections::HashMap;

use crate::entry::SharedEntry;

/// What an entry takes besides the content: its heads, the key, its place.
const ENTRY_BYTES: usize = 1024;

struct Slot {
    key: Box<[u8]>,
    entry: SharedEntry,
    descriptors: usize,
    memory: usize,
    is_used: bool,
}

/// See the module documentation.
pub(crate) struct OpenFiles {
    slots: Vec<Slot>,
    index: HashMap<Box<[u8]>, usize>,
    hand: usize,
    descriptors: usize,
    memory: usize,
    descriptor_limit: usize,
    memory_limit: usize,
}

impl OpenFiles {
    pub(crate) fn new(descriptor_limit: usize, memory_limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            index: HashMap::new(),
            hand: 0,
            descriptors: 0,
            memory: 0,
            descriptor_limit,
            memory_limit,
        }
    }

    /// Whether content may be in memory at all.
    pub(crate) fn keeps_content(&self) -> bool {
        self.memory_limit > 0
    }

    #[inline]
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&SharedEntry> {
        let slot = &mut self.slots[*self.index.get(key)?];
        slot.is_used = true;
        Some(&slot.entry)
    }

    /// Keeps an entry, unless it is larger than a limit.
    pub(crate) fn insert(&mut self, key: &[u8], entry: SharedEntry) {
        self.remove(key);
        let descriptors = entry.descriptors();
        // An entry with a descriptor is bounded by that limit, also where no content may be in memory.
        let memory = match entry.memory() {
            0 if descriptors > 0 => 0,
            bytes => bytes + key.len() + ENTRY_BYTES,
        };
        if descriptors > self.descriptor_limit || memory > self.memory_limit {
            return;
        }
        while self.descriptors + descriptors > self.descriptor_limit
            || self.memory + memory > self.memory_limit
        {
            self.remove_one();
        }
        self.descriptors += descriptors;
        self.memory += memory;
        self.index.insert(key.into(), self.slots.len());
        self.slots.push(Slot {
            key: key.into(),
            entry,
            descriptors,
            memory,
            // It has to be used once more to survive the hand.
            is_used: false,
        });
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(index) = self.index.get(key) {
            self.remove_at(*index);
        }
    }

    fn remove_one(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get_mut(self.hand) else {
                return;
            };
            if !std::mem::take(&mut slot.is_used) {
                return self.remove_at(self.hand);
            }
            self.hand += 1;
        }
    }

    fn remove_at(&mut self, at: usize) {
        let slot = self.slots.swap_remove(at);
        self.descriptors -= slot.descriptors;
        self.memory -= slot.memory;
        self.index.remove(&slot.key);
        if let Some(moved) = self.slots.get(at) {
            self.index.insert(moved.key.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Stamps};
    use crate::representation::{Content, Representation};
    use crate::stamp::Stamp;
    use lockgate_http::ResponseHead;
    use std::sync::Arc;

    fn entry(content: Content, length: u64) -> SharedEntry {
        let file = tempfile::tempfile().unwrap();
        let stamps = Stamps {
            plain: Stamp::of(&file.metadata().unwrap()),
            sidecars: [None; 3],
        };
        let mut head = ResponseHead::default();
        head.set_status(200, b"OK").unwrap();
        let plain = Representation::new(head, content, length);
        Arc::new(Entry::new(stamps, plain, Vec::new(), false))
    }

    fn in_memory(size: usize) -> SharedEntry {
        entry(Content::Memory(vec![0; size].into()), size as u64)
    }

    fn on_disk() -> SharedEntry {
        let file = Arc::new(crate::shared_file::SharedFile::new(
            tempfile::tempfile().unwrap(),
        ));
        entry(Content::File(file, 0), 1 << 20)
    }

    fn kept(files: &mut OpenFiles, names: &str) -> String {
        let is_kept = |name: &char| files.index.contains_key(name.to_string().as_bytes());
        names.chars().filter(is_kept).collect()
    }

    fn check_sums(files: &OpenFiles) {
        let sum = |of: fn(&Slot) -> usize| files.slots.iter().map(of).sum::<usize>();
        assert_eq!(sum(|slot| slot.descriptors), files.descriptors);
        assert_eq!(sum(|slot| slot.memory), files.memory);
        assert!(files.descriptors <= files.descriptor_limit && files.memory <= files.memory_limit);
        for (at, slot) in files.slots.iter().enumerate() {
            assert_eq!(files.index.get(&slot.key), Some(&at));
        }
        assert_eq!(files.index.len(), files.slots.len());
    }

    #[test]
    fn files_that_are_used_stay_and_others_go() {
        let mut files = OpenFiles::new(3, 0);
        for name in ["a", "b", "c"] {
            files.insert(name.as_bytes(), on_disk());
        }
        assert!(files.get(b"a").is_some() && files.get(b"c").is_some());
        files.insert(b"d", on_disk());
        assert_eq!(kept(&mut files, "abcd"), "acd");
        check_sums(&files);
        for round in 0..50_u8 {
            files.insert(&[b'0' + round], on_disk());
            assert!(files.get(b"a").is_some(), "{round}");
            check_sums(&files);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut files = OpenFiles::new(0, 10_000);
        files.insert(b"a", in_memory(4000));
        files.insert(b"b", in_memory(3000));
        assert_eq!(kept(&mut files, "ab"), "ab");
        files.insert(b"c", in_memory(4000));
        assert_eq!(kept(&mut files, "abc"), "bc");
        files.insert(b"d", in_memory(10_000));
        files.insert(b"e", on_disk());
        assert_eq!(
            kept(&mut files, "abcde"),
            "bc",
            "what is too large is not kept"
        );
        files.insert(b"b", in_memory(100));
        files.remove(b"c");
        assert_eq!(kept(&mut files, "abc"), "b");
        check_sums(&files);
    }

    #[test]
    fn without_limits_above_zero_nothing_is_kept() {
        let mut files = OpenFiles::new(0, 0);
        files.insert(b"a", in_memory(0));
        files.insert(b"b", on_disk());
        assert_eq!(kept(&mut files, "ab"), "");
    }
}
