//! Tables of what a store does at its bounds and of what a death before each store of a change leaves, and threads that
//! read what others write.

#![allow(clippy::disallowed_methods)] // Threads that end are what is tested.

use super::flights::FLIGHT_WORDS;
use super::layout::death::survives;
use super::layout::{Field, blocks_of, rows_of};
use super::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

const PLAN: ResponseStorePlan = ResponseStorePlan {
    memory: 16 << 10,
    entry_limit: 4 << 10,
};
const LONG: Duration = Duration::from_secs(60);

fn memory(plan: &ResponseStorePlan) -> (&'static [AtomicU32], &'static [AtomicU64]) {
    (
        Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect()),
        Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect()),
    )
}

fn store(plan: &ResponseStorePlan) -> ResponseStore {
    let (lock_words, words) = memory(plan);
    ResponseStore::new(lock_words, words, plan, (1, 2)).unwrap()
}

/// The body that a key demands in a version: its length and all its bytes follow from them.
fn body(key: &[u8], version: u8) -> Vec<u8> {
    let length = key.iter().map(|byte| usize::from(*byte)).sum::<usize>() * 37;
    let length = (length + usize::from(version) * 101) % 1200;
    let seed = key
        .iter()
        .fold(version, |seed, byte| seed.rotate_left(3) ^ byte);
    (0..length)
        .map(|place| seed.wrapping_add((place % 251) as u8))
        .collect()
}

fn insert(
    store: &ResponseStore,
    key: &[u8],
    version: u8,
    tags: &[&[u8]],
) -> Result<EntryId, Refused> {
    let entry = NewEntry {
        key,
        meta: &[version],
        body: &body(key, version),
        tags,
        expires: u64::MAX,
    };
    store.insert(&entry, store.epoch(), 1)
}

/// The versions of all keys that are read. What is read is what the key demands.
fn versions(store: &ResponseStore) -> BTreeMap<Vec<u8>, u8> {
    let mut found = BTreeMap::new();
    store.for_each(|key, id, entry| {
        let version = entry.meta[0];
        assert_eq!(entry.body, body(key, version), "torn");
        let mut buffer = EntryBuffer::default();
        if store.read(key, &mut buffer) == Some(id) {
            assert_eq!(buffer.body, body(key, buffer.meta[0]), "torn");
            found.insert(key.to_vec(), version);
        }
    });
    found
}

/// That all derived data are right: no block is lost, and each entry is found by its key and its tags.
fn check(store: &ResponseStore) {
    let entries = &store.entries;
    let (mut number, mut blocks) = (0, 0);
    for first in 1..=entries.memory.get(Header::UsedBlocks) {
        if entries.memory.field(first, Field::Stamp) == 0 {
            continue;
        }
        let key = entries.key_of(first);
        assert_eq!(entries.find(store.key_hash(&key), &key), Some(first));
        for tag in entries.tag_hashes(first) {
            assert!(entries.entries_of_tag(tag, u64::MAX, 1000).contains(&first));
        }
        number += 1;
        blocks += entries.memory.field(first, Field::Blocks);
    }
    let counts = store.counts();
    assert_eq!((counts.entries, counts.bytes), (number, blocks * 1024));
    let memory = &entries.memory;
    let free = std::iter::successors(Some(memory.get(Header::FreeBlock)), |block| {
        Some(memory.field(*block, Field::Link))
    });
    let free = free.take_while(|block| *block != 0).take(1000).count() as u64;
    assert_eq!(free, memory.get(Header::FreeBlocks));
    assert_eq!(free + blocks, memory.get(Header::UsedBlocks));
}

type Change = (&'static str, fn(&ResponseStore));

const CHANGES: &[Change] = &[
    ("a new entry", |store| {
        insert(store, b"new", 1, &[b"red", b"blue"]).unwrap();
    }),
    ("a replaced entry", |store| {
        insert(store, b"b", 2, &[b"blue"]).unwrap();
    }),
    ("an entry that evicts others", |store| {
        for number in 0..4_u8 {
            insert(store, &[b'z', number], 1, &[b"red"]).unwrap();
        }
    }),
    ("a removed entry", |store| {
        assert!(store.remove(b"b").is_ok())
    }),
    ("replaced metadata", |store| {
        let id = store.read_meta(b"b", &mut EntryBuffer::default()).unwrap();
        store.replace_meta(b"b", id, (&[1, 2, 3], 7), 1).unwrap();
    }),
    ("a purged key", |store| {
        assert!(store.purge_key(b"b").is_ok())
    }),
    ("a purged tag", |store| {
        assert!(store.purge_tag(b"red").is_ok())
    }),
    ("a purge of all", |store| assert!(store.purge_all().is_ok())),
];

/// A store in which three of four entries have a tag.
fn fill(store: &ResponseStore) {
    for (key, tags) in [
        (&b"a"[..], &[&b"red"[..]][..]),
        (b"b", &[b"red", b"blue"]),
        (b"c", &[]),
        (b"d", &[b"blue", b"red"]),
    ] {
        insert(store, key, 1, tags).unwrap();
    }
}

#[test]
fn whichever_store_is_the_last_one_no_entry_is_torn_and_no_space_is_lost() {
    let (lock_words, words) = memory(&PLAN);
    for (name, change) in CHANGES {
        let mut deaths = 0;
        loop {
            for word in words {
                word.store(0, Ordering::Relaxed);
            }
            let store = ResponseStore::new(lock_words, words, &PLAN, (1, 2)).unwrap();
            fill(&store);
            let before = versions(&store);
            let has_survived = survives(deaths, || change(&store));
            // Readers need no repair.
            let torn = versions(&store);
            assert!(
                torn.iter()
                    .all(|(key, version)| *version == 1 || key == b"b" && *version == 2)
            );
            // Another process dies within the repair.
            survives(deaths % 97, || assert!(store.remove(b"none").is_ok()));
            store.remove(b"none").unwrap();
            check(&store);
            for (key, version) in versions(&store) {
                assert!(before.get(&key).is_none_or(|old| *old <= version), "{name}");
            }
            // Only what the change concerns is gone.
            let is_local = !name.contains("evicts") && !name.contains("purge");
            for key in [b"a", b"c", b"d"] {
                assert!(
                    !is_local || versions(&store).contains_key(&key[..]),
                    "{name} {deaths}"
                );
            }
            let may_be_gone = ["a removed entry", "a purged key"].contains(name);
            assert!(
                !is_local || may_be_gone || versions(&store).contains_key(&b"b"[..]),
                "{name} {deaths}"
            );
            // It is usable.
            insert(&store, b"last", 9, &[b"red"]).unwrap();
            check(&store);
            assert_eq!(versions(&store)[&b"last"[..]], 9);
            store.purge_tag(b"red").unwrap();
            check(&store);
            let kept = versions(&store);
            assert!(
                kept.keys().all(|key| key == b"c" || key == b"b"),
                "{name} {kept:?}"
            );
            store.purge_all().unwrap();
            assert_eq!(store.counts().bytes, 0, "{name} {deaths}");
            if has_survived {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 10, "{name}");
    }
}

#[test]
fn any_memory_can_be_repaired() {
    let mut state = 1_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (lock_words, words) = memory(&PLAN);
    for round in 0..1000 {
        words[FLIGHT_WORDS].store(0, Ordering::Relaxed);
        let store = ResponseStore::new(lock_words, words, &PLAN, (1, 2)).unwrap();
        for word in &words[FLIGHT_WORDS + 8..] {
            let value = match random() % 3 {
                0 => 0,
                1 => random() % 20,
                _ => random(),
            };
            word.store(value, Ordering::Relaxed);
        }
        // Without a mark it is used as it is: results may be wrong, and calls end.
        store.entries.memory.set(Header::Changing, round % 2);
        let _found = store.read(b"a", &mut EntryBuffer::default());
        store.for_each(|_, _, _| {});
        for key in 0..20_u8 {
            let _outcome = insert(&store, &[key], 1, &[b"t"]);
            let mut buffer = EntryBuffer::default();
            if store.read(&[key], &mut buffer).is_some() {
                assert_eq!(buffer.body, body(&[key], 1));
            }
        }
        let _removed = store.purge_tag(b"t");
        let _removed = store.purge_all();
        store.entries.memory.set(Header::Changing, 1);
        store.remove(b"none").unwrap();
        check(&store);
    }
}

#[test]
fn entries_that_are_read_are_spared_when_room_is_needed() {
    let store = store(&PLAN);
    // One block each.
    for number in 0..16_u8 {
        let entry = NewEntry {
            key: &[number],
            expires: u64::from(number) * 10,
            ..NewEntry::default()
        };
        store.insert(&entry, store.epoch(), 0).unwrap();
    }
    let mut buffer = EntryBuffer::default();
    for number in [0, 2, 3, 5] {
        assert!(store.read(&[number], &mut buffer).is_some());
    }
    let entry = NewEntry {
        key: b"new",
        body: &[1; 3000],
        expires: 100,
        ..NewEntry::default()
    };
    // The entry 2 has expired by then.
    store.insert(&entry, store.epoch(), 20).unwrap();
    let left: Vec<u8> = (0..16)
        .filter(|number| store.read(&[*number], &mut buffer).is_some())
        .collect();
    let gone: Vec<u8> = (0..16).filter(|number| !left.contains(number)).collect();
    assert_eq!(gone, [0, 1, 2, 4]);
    assert_eq!((store.counts().evicted, store.counts().entries), (4, 13));
    check(&store);
}

#[test]
fn an_entry_is_bounded_by_the_limit_and_by_a_quarter_of_the_memory() {
    for (limit, length, expected) in [
        (1000, 999, Ok(())),
        (1000, 1000, Err(Refused::TooLarge)),
        (10_000, 3500, Ok(())),
        (10_000, 4096, Err(Refused::TooLarge)),
    ] {
        let store = store(&ResponseStorePlan {
            entry_limit: limit,
            ..PLAN
        });
        let (body, epoch) = (vec![7; length], store.epoch());
        let entry = NewEntry {
            key: b"k",
            body: &body,
            ..NewEntry::default()
        };
        assert_eq!(
            store.insert(&entry, epoch, 0).map(drop),
            expected,
            "{limit} {length}"
        );
        let small = NewEntry {
            key: b"i",
            ..NewEntry::default()
        };
        let id = store.insert(&small, epoch, 0).unwrap();
        let outcome = store.replace_meta(b"i", id, (&body, 0), 0);
        assert!(outcome.is_ok() || outcome == Err(Refused::TooLarge));
    }
    let store = store(&PLAN);
    let outcome = store.insert(&NewEntry::default(), store.epoch(), 0);
    assert_eq!(outcome, Err(Refused::Key));
    assert_eq!(blocks_of(rows_of(896)), 1);
    assert_eq!(blocks_of(rows_of(897)), 2);
}

#[test]
fn a_store_is_found_again_in_its_memory_and_another_plan_is_refused() {
    let (lock_words, words) = memory(&PLAN);
    let store = ResponseStore::new(lock_words, words, &PLAN, (1, 2)).unwrap();
    insert(&store, b"a", 1, &[]).unwrap();
    let again = ResponseStore::new(lock_words, words, &PLAN, (3, 4)).unwrap();
    assert_eq!(versions(&again).len(), 1);
    let other = ResponseStorePlan {
        entry_limit: 9,
        ..PLAN
    };
    let smaller = ResponseStorePlan {
        memory: 8 << 10,
        ..PLAN
    };
    for (lock_words, words, plan) in [
        (lock_words, words, other),
        (lock_words, words, smaller),
        (&lock_words[1..], words, PLAN),
        (lock_words, &words[1..], PLAN),
        (&[], &[], PLAN),
    ] {
        assert!(ResponseStore::new(lock_words, words, &plan, (1, 2)).is_none());
    }
}

#[test]
fn overwritten_memory_is_not_given_as_a_response() {
    let (lock_words, words) = memory(&PLAN);
    let store = ResponseStore::new(lock_words, words, &PLAN, (1, 2)).unwrap();
    insert(&store, b"a", 1, &[]).unwrap();
    let mut buffer = EntryBuffer::default();
    let content = &words[words.len() - PLAN.blocks() * BLOCK_WORDS..][layout::HEAD_WORDS..];
    for (place, parts) in [(0, "key"), (4, "metadata"), (8, "body")] {
        let word = &content[place];
        let before = word.load(Ordering::Relaxed);
        word.store(before ^ 1 << 40, Ordering::Relaxed);
        assert_eq!(store.read(b"a", &mut buffer), None, "{parts}");
        assert_eq!(buffer, EntryBuffer::default());
        word.store(before, Ordering::Relaxed);
        assert!(store.read(b"a", &mut buffer).is_some());
    }
    assert_eq!(store.counts().corrupt, 2);
}

#[test]
fn one_request_fetches_and_the_others_learn_how_it_ended() {
    let store = store(&PLAN);
    let me = std::process::id();
    for outcome in [
        FlightOutcome::Stored,
        FlightOutcome::NotStored,
        FlightOutcome::Failed,
    ] {
        let Ok(Flight::Leader(leader)) = store.begin_flight(b"k", me, 5) else {
            panic!("a flight is in progress")
        };
        let Ok(Flight::Leader(other)) = store.begin_flight(b"other", me, 5) else {
            panic!("a flight is in progress")
        };
        let before = store.events();
        store.end_flight(other, outcome);
        assert_eq!(store.events(), before, "no request waits");
        for _ in 0..3 {
            let waiting = store.begin_flight(b"k", me, 6);
            assert_eq!(waiting, Ok(Flight::Wait(leader)));
            assert_eq!(leader.began(), 5);
        }
        assert_eq!(store.flight_state(leader), FlightState::Running);
        store.end_flight(leader, outcome);
        store.end_flight(leader, FlightOutcome::NotStored);
        assert_eq!(store.flight_state(leader), FlightState::Ended(outcome));
        assert_eq!(store.wait(before, LONG), before + 1);
    }
    assert_eq!((store.counts().flights, store.counts().collapsed), (6, 9));
}

#[test]
fn the_flights_of_a_dead_process_end() {
    let store = store(&PLAN);
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    let begin = |process| store.begin_flight(b"k", process, 5).unwrap();
    let Flight::Leader(first) = begin(dead.id()) else {
        panic!("a flight is in progress")
    };
    assert_eq!(begin(std::process::id()), Flight::Wait(first));
    let before = store.events();
    dead.wait().unwrap();
    // The next request need not wait for the process that reaps it.
    let Flight::Leader(second) = begin(std::process::id()) else {
        panic!("the leader is dead")
    };
    assert_eq!(store.events(), before + 1);
    assert_eq!(
        store.flight_state(first),
        FlightState::Ended(FlightOutcome::Failed)
    );
    assert_eq!(begin(1), Flight::Wait(second));
    store.release_of_dead(std::process::id());
    assert_eq!(
        store.flight_state(second),
        FlightState::Ended(FlightOutcome::Failed)
    );
    assert_eq!(store.events(), before + 2);
}

#[test]
fn a_flight_that_takes_too_long_is_taken_over_once() {
    let store = store(&PLAN);
    let me = std::process::id();
    let Ok(Flight::Leader(first)) = store.begin_flight(b"k", me, 5) else {
        panic!("a flight is in progress")
    };
    let second = store.take_over(first, me, 9).unwrap().unwrap();
    assert_eq!(store.take_over(first, me, 9), Ok(None));
    assert_eq!(store.begin_flight(b"k", me, 10), Ok(Flight::Wait(second)));
    store.end_flight(first, FlightOutcome::Stored);
    assert_eq!(store.flight_state(second), FlightState::Running);
    assert_eq!(
        store.flight_state(first),
        FlightState::Ended(FlightOutcome::Failed)
    );
    store.end_flight(second, FlightOutcome::Stored);
    assert_eq!(
        store.flight_state(second),
        FlightState::Ended(FlightOutcome::Stored)
    );
}

#[test]
fn when_all_slots_are_taken_requests_do_not_wait_for_each_other() {
    let store = store(&PLAN);
    let (me, dead) = (std::process::id(), 0);
    let begin = |process: u32, number: u32| {
        let key = [number, process].map(u32::to_le_bytes).concat();
        match store.begin_flight(&key, process, 5).unwrap() {
            Flight::Leader(token) => token,
            Flight::Wait(_) => panic!("a flight of {number} is in progress"),
        }
    };
    let running = |process, number| {
        let tokens: Vec<FlightToken> = (0..number).map(|it| begin(process, it)).collect();
        for token in &tokens {
            let ended = FlightState::Ended(FlightOutcome::Failed);
            let state = store.flight_state(*token);
            assert!(state == FlightState::Running || state == ended);
        }
        let is_running = |token: &&FlightToken| store.flight_state(**token) == FlightState::Running;
        tokens.iter().filter(is_running).count()
    };
    let all = FLIGHT_WORDS / 8;
    assert_eq!(running(dead, 10_000), all);
    // The slots of dead leaders are taken from them, in the sets that are needed.
    assert_eq!(running(me, 500), 500);
    assert_eq!(running(u32::MAX, 10_000), all - 500);
}

#[test]
fn threads_read_whole_entries_while_others_write_and_purge() {
    let store = store(&PLAN);
    let is_over = AtomicBool::new(false);
    let hits: u64 = thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u8)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..10_000_u32 {
                        let key = [b'k', (round.wrapping_mul(7919) >> 3) as u8 % 12];
                        match round % 50 {
                            0 => assert!(store.remove(&key).is_ok()),
                            1 => assert!(store.purge_tag(b"red").is_ok()),
                            2 if writer == 0 => assert!(store.purge_all().is_ok()),
                            _ => assert!(
                                insert(&store, &key, round as u8, &[b"red"]).is_ok() || round > 0
                            ),
                        }
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let (mut buffer, mut hits) = (EntryBuffer::default(), 0_u64);
                    while !is_over.load(Ordering::Relaxed) {
                        for number in 0..12 {
                            let key = [b'k', number];
                            if store.read(&key, &mut buffer).is_some() {
                                assert_eq!(buffer.body, body(&key, buffer.meta[0]));
                                hits += 1;
                            }
                        }
                    }
                    hits
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    assert!(hits > 100, "{hits}");
    assert_eq!((store.counts().corrupt, store.counts().recoveries), (0, 0));
    check(&store);
}

#[test]
fn an_entry_that_is_replaced_all_the_time_is_never_missing() {
    let store = store(&PLAN);
    insert(&store, b"k", 0, &[]).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut buffer = EntryBuffer::default();
            while !is_over.load(Ordering::Relaxed) {
                assert!(store.read(b"k", &mut buffer).is_some());
            }
        });
        for round in 0..20_000_u32 {
            insert(&store, b"k", round as u8, &[]).unwrap();
            if reader.is_finished() {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}
