//! Tags: the entries of a tag are in a list, in which each has a node. The nodes of an entry are its first rows.

use super::entries::Entries;
use super::layout::{BLOCK_WORDS, Field, Ordering, put};

/// The words of a node.
#[derive(Debug, Clone, Copy)]
enum Node {
    /// The hash of the tag.
    Hash,
    Next,
    Previous,
    /// The entry.
    Entry,
}

impl Entries {
    /// Writes the nodes of an entry that does not count yet.
    pub(super) fn write_nodes(&self, first: u64, tags: &[u64]) {
        for (node, tag) in self.memory.nodes(first, tags.len()).zip(tags) {
            self.set(node, Node::Hash, *tag);
            self.set(node, Node::Entry, first);
        }
    }

    /// The hashes of the tags of an entry.
    pub(super) fn tag_hashes(&self, first: u64) -> Vec<u64> {
        let nodes = self.memory.nodes(first, self.tags_of(first));
        nodes.map(|node| self.get(node, Node::Hash)).collect()
    }

    /// Links the nodes of an entry into the lists of their tags.
    pub(super) fn link_tags(&self, first: u64) {
        for node in self.memory.nodes(first, self.tags_of(first)) {
            let hash = self.get(node, Node::Hash);
            let next = self.memory.first_of_tag(hash);
            self.set(node, Node::Next, next);
            self.set(node, Node::Previous, 0);
            if next != 0 {
                self.set(next, Node::Previous, node);
            }
            self.memory.set_first_of_tag(hash, node);
        }
    }

    /// Takes the nodes of an entry out of the lists of their tags.
    pub(super) fn unlink_tags(&self, first: u64) {
        for node in self.memory.nodes(first, self.tags_of(first)) {
            let (next, previous) = (self.get(node, Node::Next), self.get(node, Node::Previous));
            match previous {
                0 => (self.memory).set_first_of_tag(self.get(node, Node::Hash), next),
                previous => self.set(previous, Node::Next, next),
            }
            if next != 0 {
                self.set(next, Node::Previous, previous);
            }
        }
    }

    /// Entries with this tag and an id up to a number, at most `most` of them.
    pub(super) fn entries_of_tag(&self, hash: u64, last_id: u64, most: usize) -> Vec<u64> {
        let mut found = Vec::new();
        let mut node = self.memory.first_of_tag(hash);
        // A bound, so that even memory that another program has overwritten ends the search.
        let mut left = self.used_blocks() * BLOCK_WORDS as u64;
        while node != 0 && left > 0 && found.len() < most {
            let entry = self.get(node, Node::Entry);
            if self.get(node, Node::Hash) == hash && self.memory.field(entry, Field::Id) <= last_id
            {
                found.push(entry);
            }
            node = self.get(node, Node::Next);
            left -= 1;
        }
        found
    }

    fn get(&self, node: u64, name: Node) -> u64 {
        let word = self.memory.node(node).get(name as usize);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&self, node: u64, name: Node, value: u64) {
        if let Some(word) = self.memory.node(node).get(name as usize) {
            put(word, value, Ordering::Relaxed);
        }
    }
}
