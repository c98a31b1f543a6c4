//! Models of a change beside a reader: all orders in which their loads and stores can be seen.
#![cfg(test)]

use super::draft::Draft;
use super::entries::Entries;
use super::layout::{AtomicU64, BLOCK_WORDS, Header};
use super::plan::ResponseStorePlan;
use super::reading::{EntryBuffer, Look, Part};
use loom::thread;

/// Eight blocks. An entry of these models has two of them: the key in the first one, the metadata in the other.
const PLAN: ResponseStorePlan = ResponseStorePlan {
    memory: 8 * BLOCK_WORDS * 8,
    entry_limit: 64,
};
/// The hash of each key is the key, and there are eight buckets: these two share one.
const KEY: u8 = 1;
const NEIGHBOUR: u8 = 9;

fn entries() -> Entries {
    let words = (0..PLAN.entry_words()).map(|_| AtomicU64::new(0)).collect();
    Entries::new(Vec::leak(words), &PLAN, (1, 2)).unwrap()
}

fn insert(entries: &Entries, key: u8, version: u8) {
    let seeds = (u64::from(key), entries.seed());
    let (key, meta) = ([key], [key ^ version; 16]);
    let draft = Draft::new(seeds, (&key, &meta, b""), Vec::new(), u64::MAX);
    assert_eq!(draft.blocks(), 2);
    entries.insert(&draft, None, 0).unwrap();
}

fn remove(entries: &Entries, key: u8) {
    entries.remove(entries.find(u64::from(key), &[key]).unwrap());
}

/// The version of the entry of a key, all of whose parts must be of it.
fn version(entries: &Entries, key: u8) -> Result<u8, Look> {
    let mut buffer = EntryBuffer::default();
    match entries.look(u64::from(key), &[key], Part::Whole, &mut buffer) {
        Look::Found(_) => {
            let version = buffer.meta[0] ^ key;
            assert_eq!(buffer.meta, [key ^ version; 16]);
            assert_eq!(buffer.expires, u64::MAX);
            assert_eq!(entries.memory.get(Header::Corrupt), 0);
            Ok(version)
        }
        other => {
            assert_eq!(entries.memory.get(Header::Corrupt), 0);
            Err(other)
        }
    }
}

/// Runs a change beside a reader, which is the second thread, with at most this many switches at other moments than the
/// end of a thread: see the models of the log.
fn model(switches: usize, before: fn(&Entries), change: fn(&Entries), reader: fn(&Entries)) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 20_000;
    model.preemption_bound = Some(switches);
    model.check(move || {
        let entries = entries();
        before(&entries);
        let reader = thread::spawn(move || reader(&entries));
        change(&entries);
        reader.join().unwrap();
    });
}

#[test]
fn an_entry_whose_blocks_are_overwritten_is_read_whole_or_not_at_all() {
    model(
        1,
        |entries| insert(entries, KEY, 1),
        |entries| {
            remove(entries, KEY);
            // In the same blocks.
            insert(entries, KEY, 2);
        },
        |entries| {
            let found = version(entries, KEY);
            assert!(
                found.is_err() || [Ok(1), Ok(2)].contains(&found),
                "{found:?}"
            );
        },
    );
}

#[test]
fn an_entry_that_is_replaced_is_not_missing() {
    model(
        2,
        |entries| insert(entries, KEY, 1),
        |entries| insert(entries, KEY, 2),
        |entries| {
            let found = version(entries, KEY);
            assert!(
                [Ok(1), Ok(2), Err(Look::Disturbed)].contains(&found),
                "{found:?}"
            );
        },
    );
}

#[test]
fn an_entry_is_not_missing_while_its_neighbour_is_replaced() {
    model(
        2,
        |entries| {
            insert(entries, KEY, 1);
            insert(entries, NEIGHBOUR, 1);
        },
        |entries| {
            remove(entries, NEIGHBOUR);
            // In the same blocks, and in another bucket.
            insert(entries, KEY + 1, 1);
        },
        |entries| {
            let found = version(entries, KEY);
            assert!([Ok(1), Err(Look::Disturbed)].contains(&found), "{found:?}");
        },
    );
}
