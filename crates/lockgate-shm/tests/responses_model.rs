//! Random operations on a response store give what a map gives.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_shm::responses::{
    EntryBuffer, EntryId, NewEntry, PurgeEpoch, Refused, ResponseStore, ResponseStorePlan,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Key, length of the metadata, length of the body, tags, how many epochs ago it was begun.
    Insert(u8, usize, usize, BTreeSet<u8>, usize),
    ReplaceMeta(u8, usize, bool),
    Read(u8),
    Remove(u8),
    PurgeKey(u8),
    PurgeTag(u8),
    PurgeAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (key, meta) = (0..24_u8, 0..700_usize);
    let body = prop_oneof![4 => 0..3000_usize, 1 => 0..20_000_usize];
    let tags = prop::collection::btree_set(0..6_u8, 0..4);
    let ago = prop_oneof![4 => Just(0), 1 => 0..3_usize];
    let step = prop_oneof![
        12 => (key.clone(), meta.clone(), body, tags, ago).prop_map(|(k, m, b, t, a)| Step::Insert(k, m, b, t, a)),
        2 => (key.clone(), meta, any::<bool>()).prop_map(|(k, m, is_same)| Step::ReplaceMeta(k, m, is_same)),
        6 => key.clone().prop_map(Step::Read),
        2 => key.clone().prop_map(Step::Remove),
        2 => key.prop_map(Step::PurgeKey),
        2 => (0..6_u8).prop_map(Step::PurgeTag),
        1 => Just(Step::PurgeAll),
    ];
    prop::collection::vec(step, 1..150)
}

fn store(plan: &ResponseStorePlan) -> ResponseStore {
    let lock_words = Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect());
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    ResponseStore::new(lock_words, words, plan, (5, 6)).unwrap()
}

/// Some keys are longer than a block.
fn key(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) * usize::from(number) * 3 + 1]
}

fn tag(number: u8) -> Vec<u8> {
    format!("tag {number}").into_bytes()
}

/// What was written last.
#[derive(Debug, Clone)]
struct Known {
    id: EntryId,
    meta: Vec<u8>,
    body: Vec<u8>,
    tags: BTreeSet<u8>,
    expires: u64,
}

/// The last purge of each name, as a number of purges.
#[derive(Debug, Default)]
struct Purges {
    keys: BTreeMap<u8, usize>,
    tags: BTreeMap<u8, usize>,
    all: usize,
}

impl Purges {
    fn concern(&self, started: usize, key: u8, tags: &BTreeSet<u8>) -> bool {
        let of_key = self.keys.get(&key).copied();
        let of_tags = tags.iter().filter_map(|tag| self.tags.get(tag).copied());
        of_tags
            .chain(of_key)
            .chain([self.all])
            .any(|purge| purge > started)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// With room for all it holds exactly what the map holds; with less it holds a part of it, and refuses nothing for
    /// want of room.
    #[test]
    fn a_store_is_a_map(steps in steps(), blocks in prop_oneof![Just(1000_usize), 8..80_usize]) {
        let plan = ResponseStorePlan { memory: blocks * 1024, entry_limit: 18_000 };
        let store = store(&plan);
        let mut model = BTreeMap::<u8, Known>::new();
        let (mut purges, mut epochs) = (Purges::default(), vec![store.epoch()]);
        let mut buffer = EntryBuffer::default();
        for (round, step) in steps.into_iter().enumerate() {
            let (now, bytes) = (round as u64, |length: usize| vec![round as u8; length]);
            let evicted = store.counts().evicted;
            match step {
                Step::Insert(number, meta, body, tags, ago) => {
                    let started = epochs.len() - 1 - ago.min(epochs.len() - 1);
                    let (key, meta, body) = (key(number), bytes(meta), bytes(body));
                    let texts: Vec<Vec<u8>> = tags.iter().map(|number| tag(*number)).collect();
                    let entry = NewEntry {
                        key: &key,
                        meta: &meta,
                        body: &body,
                        tags: &texts.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                        expires: now + 20,
                    };
                    let size = key.len() + meta.len() + body.len();
                    match store.insert(&entry, epochs[started], now) {
                        Ok(id) => {
                            prop_assert!(!purges.concern(started, number, &tags) && size <= 18_000);
                            model.insert(number, Known { id, meta, body, tags, expires: now + 20 });
                        }
                        Err(Refused::TooLarge) => prop_assert!(size > 18_000 || size + 600 > blocks / 4 * 992),
                        // Names share epochs, so it may have been a purge of another name.
                        Err(refused) => {
                            prop_assert_eq!(refused, Refused::Purged);
                            prop_assert!(started + 1 < epochs.len());
                        }
                    }
                }
                Step::ReplaceMeta(number, length, is_same) => {
                    let known = model.get(&number).map(|known| known.id);
                    let other = model.values().map(|known| known.id).find(|id| Some(*id) != known);
                    let Some(id) = (if is_same { known } else { other }) else { continue };
                    match store.replace_meta(&key(number), id, (&bytes(length), now + 30), now) {
                        Ok(()) => {
                            prop_assert!(is_same);
                            let known = model.get_mut(&number).unwrap();
                            (known.meta, known.expires) = (bytes(length), now + 30);
                        }
                        Err(refused) => prop_assert!(
                            refused == Refused::Gone && (!is_same || blocks < 1000)
                                || refused == Refused::TooLarge
                        ),
                    }
                }
                Step::Read(number) => {
                    let found = store.read(&key(number), &mut buffer);
                    prop_assert!(found.is_some() || blocks < 1000 || !model.contains_key(&number));
                }
                Step::Remove(number) => {
                    let was_there = store.remove(&key(number)).unwrap();
                    let was_known = model.remove(&number).is_some();
                    prop_assert!(was_there == was_known || blocks < 1000 && was_known);
                }
                Step::PurgeKey(number) => {
                    let removed = store.purge_key(&key(number)).unwrap();
                    purges.keys.insert(number, epochs.len());
                    let known = u64::from(model.remove(&number).is_some());
                    prop_assert!(removed == known || blocks < 1000 && removed < known);
                }
                Step::PurgeTag(number) => {
                    let removed = store.purge_tag(&tag(number)).unwrap();
                    purges.tags.insert(number, epochs.len());
                    let known = model.len();
                    model.retain(|_, known| !known.tags.contains(&number));
                    let known = (known - model.len()) as u64;
                    prop_assert!(removed == known || blocks < 1000 && removed < known);
                }
                Step::PurgeAll => {
                    let removed = store.purge_all().unwrap();
                    purges.all = epochs.len();
                    prop_assert!(removed == model.len() as u64 || blocks < 1000 && removed < model.len() as u64);
                    model.clear();
                    prop_assert_eq!(store.counts().bytes, 0);
                }
            }
            if store.epoch() != *epochs.last().unwrap() {
                epochs.push(store.epoch());
            }
            prop_assert!(blocks < 1000 || store.counts().evicted == evicted);
            check(&store, &model, blocks == 1000)?;
        }
    }
}

fn check(
    store: &ResponseStore,
    model: &BTreeMap<u8, Known>,
    is_complete: bool,
) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    store.for_each(|found_key, id, found| {
        let number = found_key[0];
        let is_right = model.get(&number).is_some_and(|known| {
            known.id == id
                && known.meta == found.meta
                && known.body == found.body
                && known.expires == found.expires
                && key(number) == found_key
        });
        if !seen.insert(number) || !is_right {
            wrong.push(number);
        }
    });
    prop_assert!(wrong.is_empty(), "{wrong:?}");
    prop_assert!(!is_complete || seen.len() == model.len());
    let mut buffer = EntryBuffer::default();
    for number in 0..24 {
        let found = store.read_meta(&key(number), &mut buffer);
        prop_assert_eq!(found.is_some(), seen.contains(&number));
        if found.is_some() {
            prop_assert_eq!(&buffer.meta, &model[&number].meta);
            prop_assert_eq!(buffer.body_length, model[&number].body.len() as u64);
            prop_assert!(buffer.body.is_empty());
        }
    }
    let counts = store.counts();
    prop_assert_eq!(counts.entries, seen.len() as u64);
    prop_assert_eq!((counts.corrupt, counts.recoveries), (0, 0));
    Ok(())
}

#[test]
fn the_epoch_of_an_insert_is_that_of_its_beginning() {
    let plan = ResponseStorePlan {
        memory: 64 << 10,
        entry_limit: 1000,
    };
    let store = store(&plan);
    let insert = |tags: &[&[u8]], started: PurgeEpoch| {
        let entry = NewEntry {
            key: b"k",
            body: b"body",
            tags,
            ..NewEntry::default()
        };
        store.insert(&entry, started, 0).map(drop)
    };
    let start = store.epoch();
    assert_eq!(store.purge_tag(b"t"), Ok(0));
    assert_eq!(insert(&[b"t"], start), Err(Refused::Purged));
    assert_eq!(insert(&[b"t"], store.epoch()), Ok(()));
    assert_eq!(store.purge_tag(b"t"), Ok(1));
    let before = store.epoch();
    assert_eq!(store.purge_key(b"k"), Ok(0));
    assert_eq!(insert(&[], before), Err(Refused::Purged));
    assert_eq!(insert(&[], store.epoch()), Ok(()));
    let before = store.epoch();
    assert_eq!(store.purge_all(), Ok(1));
    assert_eq!(insert(&[], before), Err(Refused::Purged));
    assert_eq!(insert(&[], store.epoch()), Ok(()));
    assert_eq!((store.counts().purged, store.counts().refused), (2, 3));
}
