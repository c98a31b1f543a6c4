//! Reading entries without the lock, while others write.
//!
//! A reader copies first and looks at the stamp afterwards: if it is still the one that was there before, no word of the
//! copy was overwritten.

use super::checksum::Checksum;
use super::draft::Sizes;
use super::entries::Entries;
use super::layout::{Field, Header, Ordering, blocks_of, fence, rows_of};
use super::rows::{has_bytes, load_bytes};

/// What a read has copied. A buffer may be used again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryBuffer {
    /// The metadata.
    pub meta: Vec<u8>,
    /// The body; empty when only the metadata was asked for.
    pub body: Vec<u8>,
    /// Length of the body.
    pub body_length: u64,
    /// The moment at which the entry expires.
    pub expires: u64,
    key: Vec<u8>,
}

/// What of an entry is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Meta,
    Whole,
}

/// What a look at the entries gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The copy of an entry, with its id.
    Found(u64),
    Missing,
    /// An entry was removed meanwhile: look again.
    Disturbed,
}

/// What a copy has given.
enum Copied {
    Entry(u64),
    /// It is the entry of another key.
    Other,
    Purged,
    Disturbed,
}

/// More entries of a bucket are not looked at without the lock.
const MOST_STEPS: usize = 64;

impl Entries {
    /// Copies the entry of this key.
    pub(super) fn look(&self, hash: u64, key: &[u8], part: Part, into: &mut EntryBuffer) -> Look {
        let unlinked = self.memory.get(Header::Unlinked);
        let mut next = self.memory.first_of_key(hash);
        for _ in 0..MOST_STEPS {
            if next == 0 {
                // An entry that was overwritten while this stood at it leads elsewhere.
                fence(Ordering::Acquire);
                return match self.memory.get(Header::Unlinked) == unlinked {
                    true => Look::Missing,
                    false => Look::Disturbed,
                };
            }
            if self.memory.field(next, Field::Stamp) != 0
                && self.memory.field(next, Field::Hash) == hash
            {
                match self.copy(next, Some(key), part, into) {
                    Copied::Entry(id) => return Look::Found(id),
                    Copied::Other => {}
                    Copied::Purged => return Look::Missing,
                    Copied::Disturbed => return Look::Disturbed,
                }
            }
            next = self.memory.field(next, Field::Next);
        }
        Look::Disturbed
    }

    /// Copies the whole entry of this block, if there is one, with its key; returns its id.
    pub(super) fn look_at(&self, block: u64, into: &mut EntryBuffer) -> Option<u64> {
        match self.copy(block, None, Part::Whole, into) {
            Copied::Entry(id) => Some(id),
            Copied::Other | Copied::Purged | Copied::Disturbed => None,
        }
    }

    /// The key of an entry that does not change meanwhile.
    pub(super) fn key_of(&self, first: u64) -> Vec<u8> {
        let length = self.memory.field(first, Field::Lengths) >> 32;
        let mut rows = self.memory.rows(first);
        rows.skip(self.tags_of(first));
        let (mut key, mut sum) = (Vec::new(), Checksum::new(0));
        load_bytes(
            &mut rows,
            usize::try_from(length).unwrap_or(0),
            &mut key,
            &mut sum,
        );
        key
    }

    pub(super) fn sizes(&self, first: u64) -> Sizes {
        let load = |name: Field| self.memory.field(first, name);
        Sizes {
            lengths: load(Field::Lengths),
            body: load(Field::BodyLength),
            tags: load(Field::Tags),
            expires: load(Field::Expires),
        }
    }

    fn copy(&self, first: u64, key: Option<&[u8]>, part: Part, into: &mut EntryBuffer) -> Copied {
        let load = |name: Field| self.memory.field(first, name);
        let stamp = load(Field::Stamp);
        if stamp == 0 {
            return Copied::Disturbed;
        }
        let sizes = self.sizes(first);
        let id = load(Field::Id);
        let (head_sum, body_sum) = (load(Field::HeadSum), load(Field::BodySum));
        let Some([key_length, meta_length, body_length, tags]) = self.checked(sizes) else {
            return Copied::Disturbed;
        };
        let mut rows = self.memory.rows(first);
        rows.skip(tags);
        let mut sum = sizes.checksum(self.seed());
        let is_copied = match key {
            Some(key) => {
                if key_length != key.len() || !has_bytes(&mut rows, key) {
                    return Copied::Other;
                }
                sum.add_bytes(key);
                true
            }
            None => load_bytes(&mut rows, key_length, &mut into.key, &mut sum),
        };
        let mut is_copied =
            is_copied && load_bytes(&mut rows, meta_length, &mut into.meta, &mut sum);
        let found_head_sum = sum.finish();
        let mut found_body_sum = body_sum;
        into.body.clear();
        if part == Part::Whole {
            let mut sum = Checksum::new(found_head_sum);
            is_copied &= load_bytes(&mut rows, body_length, &mut into.body, &mut sum);
            found_body_sum = sum.finish();
        }
        fence(Ordering::Acquire);
        if !is_copied || load(Field::Stamp) != stamp {
            return Copied::Disturbed;
        }
        if (found_head_sum, found_body_sum) != (head_sum, body_sum) {
            self.memory.count(Header::Corrupt);
            return Copied::Purged;
        }
        if id < self.memory.get(Header::PurgedBefore) {
            return Copied::Purged;
        }
        into.body_length = sizes.body;
        into.expires = sizes.expires;
        // Most reads leave the cache line as it is.
        if load(Field::Used) == 0 {
            self.memory.set_field(first, Field::Used, 1);
        }
        Copied::Entry(id)
    }

    /// The lengths of the key, the metadata and the body, and the number of tags; `None` if no entry has these.
    pub(super) fn checked(&self, sizes: Sizes) -> Option<[usize; 4]> {
        let found = [
            sizes.lengths >> 32,
            sizes.lengths & u64::from(u32::MAX),
            sizes.body,
            sizes.tags,
        ];
        let [key, meta, body, tags] =
            found.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let parts = [key, meta, body].map(rows_of);
        let rows = parts.into_iter().try_fold(tags, usize::checked_add)?;
        (blocks_of(rows) <= self.plan.most_blocks()).then_some([key, meta, body, tags])
    }

    /// The secret of the checksums.
    pub(super) fn seed(&self) -> u64 {
        self.memory.get(Header::HashKey).rotate_left(32)
    }
}

impl EntryBuffer {
    /// Its key, which only a copy of a block has.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn clear(&mut self) {
        self.key.clear();
        self.meta.clear();
        self.body.clear();
        (self.body_length, self.expires) = (0, 0);
    }
}
