//! Tables of what a log does at its bounds and of what a death in each step of an append leaves, and threads that read
//! what others append.

#![allow(clippy::disallowed_methods)] // Threads that end are what is tested.

use super::layout::{AtomicU64, Chain, Header, Ordering};
use super::*;
use std::sync::atomic::AtomicU32;
use std::thread;

/// Room for eight records of `RECORD` on the channel and with the ids of these tests, and three words.
const PLAN: LogPlan = LogPlan {
    size: 8 * 12 * 8 + 24,
    channels: 4,
};
const RECORD: &[u8] = b"0123456789abcdef";
const LONG: Duration = Duration::from_secs(60);

fn memory(plan: LogPlan) -> (&'static [AtomicU32], &'static [AtomicU64]) {
    (
        Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect()),
        Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect()),
    )
}

fn log(plan: LogPlan) -> Log {
    let (lock_words, words) = memory(plan);
    Log::new(lock_words, words, plan, (1, 2)).unwrap()
}

fn append(log: &Log, channel: &str, id: &str) -> u64 {
    log.append(channel.as_bytes(), id.as_bytes(), RECORD, 5)
        .unwrap()
}

/// The sequence numbers of the records of a channel after an id.
fn after(log: &Log, channel: &str, id: &str) -> Option<Vec<u64>> {
    let found = log.after(channel.as_bytes(), id.as_bytes())?;
    assert!(found.iter().all(|found| found.time == 5));
    Some(found.into_iter().map(|found| found.sequence).collect())
}

/// The sequence numbers of all records from a cursor; 0 stands for an overrun.
fn read_all(log: &Log, mut cursor: Cursor) -> Vec<u64> {
    let mut record = Vec::new();
    let mut sequences = Vec::new();
    loop {
        match log.read(&mut cursor, &mut record) {
            Read::Record { sequence, time } => {
                assert_eq!((time, &record[..]), (5, RECORD));
                sequences.push(sequence);
            }
            Read::UpToDate => return sequences,
            Read::Overrun => sequences.push(0),
        }
    }
}

#[test]
fn records_are_bounded_by_a_quarter_of_the_log() {
    let log = log(PLAN);
    let most = PLAN.longest() * 8 - 64;
    for (channel, id, length, expected) in [
        (0, 0, 0, Err(AppendError::Channel)),
        (0, 8, 8, Err(AppendError::Channel)),
        (1, 0, 0, Ok(1)),
        (8, 0, most - 8, Ok(2)),
        (8, 0, most - 7, Err(AppendError::TooLarge)),
        (8, 1, most - 8, Err(AppendError::TooLarge)),
        (9, 0, most - 8, Err(AppendError::TooLarge)),
        (most, 0, 0, Ok(3)),
        (8, most - 8, 0, Ok(4)),
        (most + 1, 0, 0, Err(AppendError::TooLarge)),
    ] {
        let outcome = log.append(&vec![b'c'; channel], &vec![b'i'; id], &vec![7; length], 0);
        assert_eq!(outcome, expected, "{channel} {id} {length}");
    }
}

#[test]
fn a_reader_gets_each_record_once_and_learns_of_an_overrun() {
    let log = log(PLAN);
    let first = log.head();
    assert_eq!(read_all(&log, first), []);
    for (appends, from_first, from_oldest) in [
        (1, vec![1], vec![1]),
        (7, (1..=8).collect(), (1..=8).collect::<Vec<u64>>()),
        (1, (0..=9).filter(|n| *n != 1).collect(), (2..=9).collect()),
        (
            20,
            [0].into_iter().chain(22..=29).collect(),
            (22..=29).collect(),
        ),
    ] {
        let head = log.head();
        let before = read_all(&log, log.oldest()).last().copied().unwrap_or(0);
        for _ in 0..appends {
            append(&log, "c", "i");
        }
        assert_eq!(read_all(&log, first), from_first);
        assert_eq!(read_all(&log, log.oldest()), from_oldest);
        if appends <= 8 {
            let new: Vec<u64> = (before + 1..=before + appends).collect();
            assert_eq!(read_all(&log, head), new);
        }
    }
}

#[test]
fn the_records_after_an_id_are_those_of_its_channel() {
    let log = log(PLAN);
    assert_eq!(after(&log, "a", "1"), None);
    // More channels than buckets, and more ids: some share one.
    for (channel, id) in [
        ("a", "1"),
        ("b", "1"),
        ("c", "1"),
        ("a", "2"),
        ("d", ""),
        ("e", "1"),
        ("a", "3"),
        ("b", "2"),
    ] {
        append(&log, channel, id);
    }
    for (channel, id, expected) in [
        ("a", "1", Some(vec![4, 7])),
        ("a", "2", Some(vec![7])),
        ("a", "3", Some(vec![])),
        ("a", "4", None),
        ("a", "", None),
        ("b", "1", Some(vec![8])),
        ("c", "1", Some(vec![])),
        ("d", "", None),
        ("f", "1", None),
        ("", "1", None),
    ] {
        assert_eq!(after(&log, channel, id), expected, "{channel} {id}");
    }
    // This overwrites the first record. Of two records with one id the later one counts.
    append(&log, "a", "2");
    assert_eq!(after(&log, "a", "1"), None);
    assert_eq!(after(&log, "a", "3"), Some(vec![9]));
    assert_eq!(after(&log, "a", "2"), Some(vec![]));
    assert_eq!(log.after(b"a", b"3").unwrap()[0].record, RECORD);
}

#[test]
fn the_positions_of_a_channel_are_known_unless_the_first_place_was_overwritten() {
    let log = log(PLAN);
    let mut places = vec![log.head()];
    for number in 1..=8 {
        append(&log, if number % 2 == 0 { "even" } else { "odd" }, "i");
        places.push(log.head());
    }
    for from in 0..=8 {
        for (channel, first) in [("odd", 0), ("even", 1), ("none", 8)] {
            let expected: Vec<Cursor> = (first..8)
                .step_by(2)
                .filter(|place| *place >= from)
                .map(|place| places[place])
                .collect();
            let found = log.positions_of(channel.as_bytes(), &places[from]);
            assert_eq!(found, Some(expected), "{channel} {from}");
        }
    }
    assert!(places.is_sorted());
    // This overwrites the first record.
    append(&log, "odd", "i");
    let of = |channel: &[u8], from: usize| log.positions_of(channel, &places[from]);
    assert_eq!((of(b"odd", 0), of(b"even", 0)), (None, None));
    assert_eq!(of(b"odd", 1).unwrap().len(), 4);
    assert_eq!(of(b"even", 1).unwrap().len(), 4);
}

#[test]
fn a_log_is_found_again_in_its_memory_and_another_plan_is_refused() {
    let (lock_words, words) = memory(PLAN);
    let log = Log::new(lock_words, words, PLAN, (1, 2)).unwrap();
    append(&log, "c", "1");
    append(&log, "c", "2");
    let again = Log::new(lock_words, words, PLAN, (3, 4)).unwrap();
    assert_eq!(after(&again, "c", "1"), Some(vec![2]));
    assert_eq!(append(&again, "c", "3"), 3);
    assert_eq!(read_all(&log, log.oldest()), [1, 2, 3]);
    for (lock_words, words, plan) in [
        (lock_words, words, LogPlan { size: 640, ..PLAN }),
        (
            lock_words,
            words,
            LogPlan {
                channels: 2,
                ..PLAN
            },
        ),
        (&lock_words[1..], words, PLAN),
        (lock_words, &words[1..], PLAN),
        (&[], &[], PLAN),
    ] {
        assert!(
            Log::new(lock_words, words, plan, (1, 2)).is_none(),
            "{plan:?}"
        );
    }
}

/// How far a process comes with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    WithTheLock,
    BeforeTheRecordCounts,
    AfterTheRecordCounts,
    InTheBucket,
    BeforeTheWake,
}

#[test]
fn a_death_in_an_append_loses_at_most_that_record() {
    let deaths = [
        Death::WithTheLock,
        Death::BeforeTheRecordCounts,
        Death::AfterTheRecordCounts,
        Death::InTheBucket,
        Death::BeforeTheWake,
    ];
    for (death, appends) in deaths
        .into_iter()
        .flat_map(|death| [0, 1, 3, 8, 21].map(|appends| (death, appends)))
    {
        let log = log(PLAN);
        for number in 1..=appends {
            append(&log, "c", &number.to_string());
        }
        let start = log.oldest();
        // As large as a record may be: it overwrites more old ones than the next append.
        let record = vec![9; PLAN.longest() * 8 - 64 - 16];
        thread::spawn(move || {
            log.lock.lock().unwrap().keep();
            let entry = log.ring.entry(b"c", b"dead", &record, 5).unwrap();
            if death >= Death::BeforeTheRecordCounts {
                let (head, end) = (log.ring.memory.get(Header::Head), log.ring.write(entry));
                if death >= Death::AfterTheRecordCounts {
                    log.ring.memory.set(Header::Head, end);
                }
                if death == Death::InTheBucket {
                    let hash = log.ring.hash(b"c");
                    log.ring.memory.set_newest(Chain::Channel, hash, head + 1);
                } else if death == Death::BeforeTheWake {
                    log.ring.complete();
                }
            }
        })
        .join()
        .unwrap();
        let counts = death >= Death::AfterTheRecordCounts;
        for appends_later in 0..3 {
            let case = format!("{death:?} after {appends}, {appends_later} later");
            let mut cursor = start;
            let (mut bytes, mut sequences) = (Vec::new(), Vec::new());
            loop {
                match log.read(&mut cursor, &mut bytes) {
                    Read::Record { sequence, .. } => {
                        let is_dead = counts && sequence == appends + 1;
                        assert!(is_dead || bytes == RECORD, "{case}");
                        sequences.push(sequence);
                    }
                    Read::UpToDate => break,
                    Read::Overrun => assert!(sequences.is_empty(), "{case}"),
                }
            }
            let last = appends + u64::from(counts) + appends_later;
            let all: Vec<u64> = (1..=last).collect();
            assert!(all.ends_with(&sequences), "{case}: {sequences:?}");
            let least = if last > 4 { 4 } else { last };
            assert!(
                sequences.len() as u64 >= least.min(last),
                "{case}: {sequences:?}"
            );
            // The chain has the same records as the log.
            if let [first, rest @ ..] = &sequences[..] {
                let found = match (counts, first) {
                    (true, first) if *first == appends + 1 => log.after(b"c", b"dead"),
                    (_, first) if *first > appends => None,
                    (_, first) => log.after(b"c", first.to_string().as_bytes()),
                };
                if let Some(found) = found {
                    let found: Vec<u64> = found.iter().map(|found| found.sequence).collect();
                    assert_eq!(found, rest, "{case}");
                } else {
                    assert!(*first > appends, "{case}");
                }
            }
            assert_eq!(append(&log, "c", &format!("later {last}")), last + 1);
        }
    }
}

#[test]
fn a_wait_ends_with_an_append_and_with_the_repair_after_a_death() {
    let log = log(PLAN);
    let cursor = log.head();
    assert!(!log.wait(&cursor, Duration::ZERO));
    for is_death in [false, true] {
        let cursor = log.head();
        let waiters: Vec<_> = (0..3)
            .map(|_| thread::spawn(move || while !log.wait(&cursor, LONG) {}))
            .collect();
        while !log.wake.has_waiters() {
            thread::yield_now();
        }
        match is_death {
            true => {
                let entry = log.ring.entry(b"c", b"1", RECORD, 5).unwrap();
                log.ring.append(entry);
                log.release_if_dead();
            }
            false => drop(append(&log, "c", "1")),
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(log.wait(&cursor, LONG));
    }
}

/// A record that shows when it is torn: all its bytes follow from its writer and its number.
fn record(writer: u64, number: u64) -> Vec<u8> {
    let seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ writer;
    let length = 16 + (seed >> 32) as usize % 150;
    let mut record = [writer.to_le_bytes(), number.to_le_bytes()].concat();
    record.resize(length, seed as u8);
    record
}

/// The writer and the number of a record that is whole.
fn checked(bytes: &[u8]) -> (u64, u64) {
    let word = |start: usize| u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap());
    assert_eq!(record(word(0), word(8)), bytes, "torn");
    (word(0), word(8))
}

#[test]
fn threads_read_no_torn_record_and_each_record_in_order() {
    const WRITERS: u64 = 3;
    const APPENDS: u64 = 20_000;
    // A small log, in which readers are overrun, and a large one, in which none is.
    for (size, may_overrun) in [(2_000, true), (16_000_000, false)] {
        let plan = LogPlan { size, channels: 2 };
        let log = log(plan);
        let start = log.head();
        let channel = |writer: u64| [b"channel ", &writer.to_le_bytes()[..]].concat();
        let id = |number: u64| number.to_le_bytes();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || {
                    for number in 0..APPENDS {
                        log.append(
                            &channel(writer),
                            &id(number),
                            &record(writer, number),
                            number,
                        )
                        .unwrap();
                        // Its own record is in the log unless the others have overwritten it.
                        if number % 16 == 0 {
                            let previous = number.saturating_sub(3);
                            match log.after(&channel(writer), &id(previous)) {
                                Some(found) => {
                                    let numbers: Vec<_> = (found.iter())
                                        .map(|found| checked(&found.record))
                                        .collect();
                                    let expected: Vec<_> = (previous + 1..=number)
                                        .map(|number| (writer, number))
                                        .collect();
                                    assert_eq!(numbers, expected);
                                }
                                None => assert!(may_overrun),
                            }
                        }
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(move || {
                    let (mut cursor, mut bytes) = (start, Vec::new());
                    let (mut last, mut may_miss) = (0, false);
                    let mut next = [0; WRITERS as usize];
                    while last < WRITERS * APPENDS {
                        match log.read(&mut cursor, &mut bytes) {
                            Read::Record { sequence, time } => {
                                let (writer, number) = checked(&bytes);
                                let expected = &mut next[writer as usize];
                                assert_eq!(time, number);
                                assert!(
                                    sequence == last + 1 || may_miss && sequence > last,
                                    "{sequence} after {last}"
                                );
                                assert!(
                                    number >= *expected && (may_overrun || number == *expected)
                                );
                                *expected = number + 1;
                                (last, may_miss) = (sequence, false);
                                if number % 1024 == 1 {
                                    let found = log.after(&channel(writer), &id(number));
                                    assert!(found.is_some() || may_overrun);
                                    for (place, found) in found.iter().flatten().enumerate() {
                                        let expected = number + 1 + place as u64;
                                        assert_eq!(checked(&found.record), (writer, expected));
                                        assert_eq!(found.time, expected);
                                        assert!(found.sequence > sequence);
                                    }
                                }
                            }
                            Read::UpToDate => drop(log.wait(&cursor, LONG)),
                            Read::Overrun => {
                                assert!(may_overrun);
                                may_miss = true;
                            }
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn memory_that_another_program_has_overwritten_ends_no_reader_and_no_append() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _round in 0..2_000 {
        let (lock_words, words) = memory(PLAN);
        let log = Log::new(lock_words, words, PLAN, (1, 2)).unwrap();
        let mut cursor = log.head();
        for _ in 0..next() % 12 {
            append(&log, "c", "1");
        }
        for _ in 0..1 + next() % 4 {
            let place = next() as usize % (words.len() - 3) + 3;
            let value = [next(), next() % 100, u64::MAX, 0][next() as usize % 4];
            words[place].store(value, Ordering::Relaxed);
        }
        let mut bytes = Vec::new();
        let mut reads = 0;
        while log.wait(&cursor, Duration::ZERO) {
            let _any = log.read(&mut cursor, &mut bytes);
            reads += 1;
            assert!(
                reads < 30,
                "{cursor:?} {:?} {:?}",
                log.head(),
                log.ring.memory.get(Header::Oldest)
            );
        }
        let _any = log.after(b"c", b"1");
        let _any = log.positions_of(b"c", &log.oldest());
        for _ in 0..12 {
            append(&log, "c", "2");
        }
        // All that the program has written was overwritten.
        let start = log.head();
        assert_eq!(log.ring.has_record(&cursor), cursor != start);
        let last = append(&log, "c", "3");
        append(&log, "c", "4");
        assert_eq!(read_all(&log, start), [last, last + 1]);
        assert_eq!(after(&log, "c", "3"), Some(vec![last + 1]));
        while log.wait(&cursor, Duration::ZERO) {
            let _any = log.read(&mut cursor, &mut bytes);
        }
        assert_eq!(cursor, log.head());
    }
}

#[test]
fn an_append_that_does_not_wait_leaves_the_log_to_the_holder_of_its_lock() {
    let log = log(PLAN);
    assert_eq!(log.last_sequence(), 0);
    assert_eq!(log.try_append(b"c", b"i", RECORD, 5), Ok(Some(1)));
    thread::scope(|scope| {
        let guard = log.lock.lock().unwrap();
        let other = scope.spawn(|| log.try_append(b"c", b"i", RECORD, 5));
        assert_eq!(other.join().unwrap(), Ok(None));
        drop(guard);
    });
    assert_eq!(
        log.try_append(b"", b"i", RECORD, 5),
        Err(AppendError::Channel)
    );
    assert_eq!(append(&log, "c", "i"), 2);
    assert_eq!(
        (read_all(&log, log.oldest()), log.last_sequence()),
        (vec![1, 2], 2)
    );
}

#[test]
fn logs_with_different_secrets_have_different_identities() {
    let with = |secret| {
        let (lock_words, words) = memory(PLAN);
        let open = || Log::new(lock_words, words, PLAN, secret).unwrap();
        assert_eq!(open().identity(), open().identity());
        open().identity()
    };
    assert_ne!(with((1, 2)), with((1, 3)));
}
