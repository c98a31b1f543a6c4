//! Buckets and the order of use: the lists in which the items of a table are linked.

use super::layout::{Header, Item};
use super::{Table, WhenFull};

impl Table {
    /// Links an item that counts into its bucket, as the newest in the order of use.
    pub(super) fn link(&self, item: usize) {
        let bucket = self.bucket(self.field(item, Item::Hash));
        self.set_field(item, Item::Next, self.word(bucket));
        self.store(bucket, item as u64 + 1);
        self.increment(Header::Count);
        if self.plan.when_full == WhenFull::Evict {
            self.append(item);
        }
    }

    /// Unlinks an item from its bucket and from the order of use.
    pub(super) fn unlink(&self, item: usize) {
        let number = item as u64 + 1;
        let mut place = self.bucket(self.field(item, Item::Hash));
        for _ in 0..self.plan.slots() {
            let next = self.word(place);
            if next == number {
                self.store(place, self.field(item, Item::Next));
                self.decrement(Header::Count);
                break;
            }
            let Some(next) = usize::try_from(next)
                .ok()
                .and_then(|next| next.checked_sub(1))
            else {
                // It was not linked yet.
                return;
            };
            place = self.place(next, Item::Next);
        }
        if self.plan.when_full == WhenFull::Evict {
            self.take_out(item);
        }
    }

    /// Makes an item the newest in the order of use.
    pub(super) fn make_newest(&self, item: usize) {
        if self.get_header(Header::Newest) == item as u64 + 1 {
            return;
        }
        self.take_out(item);
        self.append(item);
        // The order survives a repair.
        self.set_field(item, Item::Used, self.next_stamp());
    }

    pub(super) fn oldest(&self) -> Option<usize> {
        usize::try_from(self.get_header(Header::Oldest))
            .ok()?
            .checked_sub(1)
    }

    fn append(&self, item: usize) {
        let newest = self.get_header(Header::Newest);
        self.set_field(item, Item::Older, newest);
        self.set_field(item, Item::Newer, 0);
        self.set_newer(newest, item as u64 + 1);
        self.set(Header::Newest, item as u64 + 1);
    }

    fn take_out(&self, item: usize) {
        let (older, newer) = (self.field(item, Item::Older), self.field(item, Item::Newer));
        self.set_newer(older, newer);
        match position(newer) {
            Some(newer) => self.set_field(newer, Item::Older, older),
            None => self.set(Header::Newest, older),
        }
    }

    /// The item after this one; after none: the oldest.
    fn set_newer(&self, item: u64, newer: u64) {
        match position(item) {
            Some(item) => self.set_field(item, Item::Newer, newer),
            None => self.set(Header::Oldest, newer),
        }
    }
}

fn position(number: u64) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}
