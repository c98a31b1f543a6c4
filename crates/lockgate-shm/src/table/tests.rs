//! Tables of what a cache does at its bounds, and of what the death of a process leaves.

use super::layout::Header;
use super::*;

const PLAN: CachePlan = CachePlan {
    items: 3,
    blocks: 3,
    block_size: 16,
    key_size: 8,
    spans_blocks: false,
    when_full: WhenFull::Refuse,
    initial_number: 0,
};

fn table(plan: CachePlan) -> Table {
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    Table::new(words, plan).unwrap()
}

fn value(table: &Table, key: &[u8], now: u64) -> Option<Vec<u8>> {
    table.get(key, now).map(|entry| entry.value)
}

#[test]
fn keys_and_values_are_bounded() {
    let table = table(PLAN);
    for (key, value, expected) in [
        (&b""[..], &b"v"[..], Err(Refused::Key)),
        (b"123456789", b"v", Err(Refused::Key)),
        (b"12345678", b"v", Ok(())),
        (b"k", b"", Err(Refused::Value)),
        (b"k", &[1; 17], Err(Refused::Value)),
        (b"k", &[1; 16], Ok(())),
        (b"k", &[2; 15], Err(Refused::Exists)),
    ] {
        assert_eq!(
            table.insert(key, value, 0, 0),
            expected,
            "{key:?} {value:?}"
        );
    }
    assert_eq!(value(&table, b"k", 0), Some(vec![1; 16]));
    assert_eq!(table.replace(b"k", &[2; 15], 0, 0), Ok(()));
    assert_eq!(value(&table, b"k", 0), Some(vec![2; 15]));
}

#[test]
fn a_full_table_does_what_its_plan_says() {
    for (when_full, outcome, left) in [
        (WhenFull::Refuse, Err(Refused::Full), &["a", "b", "c"][..]),
        (WhenFull::Evict, Ok(()), &["a", "c", "d"]),
        (WhenFull::Clear, Ok(()), &["d"]),
    ] {
        let table = table(CachePlan { when_full, ..PLAN });
        for key in ["a", "b", "c"] {
            table.insert(key.as_bytes(), b"v", 0, 0).unwrap();
        }
        // Now b was not used for the longest time.
        assert!(table.get(b"a", 0).is_some());
        // A present key needs no room.
        assert_eq!(table.replace(b"c", b"w", 0, 0), Ok(()));
        assert_eq!(table.insert(b"d", b"v", 0, 0), outcome, "{when_full:?}");
        let mut keys = table.keys(0);
        keys.sort();
        let left: Vec<Vec<u8>> = left.iter().map(|key| key.as_bytes().to_vec()).collect();
        assert_eq!(keys, left, "{when_full:?}");
    }
}

#[test]
fn expired_entries_are_absent_and_make_room() {
    let table = table(PLAN);
    for (key, expires) in [(b"a", 10), (b"b", 20), (b"c", 0)] {
        table.insert(key, b"v", expires, 0).unwrap();
    }
    assert!(table.contains(b"a", 9) && !table.contains(b"a", 10));
    assert_eq!(table.insert(b"d", b"v", 0, 10), Ok(()));
    assert_eq!(table.insert(b"e", b"v", 0, 19), Err(Refused::Full));
    assert_eq!(table.insert(b"e", b"v", 30, 20), Ok(()));
    assert_eq!(table.keys(20).len(), 3);
    assert_eq!(table.keys(30).len(), 2);
    assert_eq!(table.get(b"e", 21).unwrap().expires, 30);
    table.insert(b"a", b"v", 0, 30).unwrap();
    assert_eq!(table.insert(b"a", b"w", 0, 30), Err(Refused::Exists));
}

#[test]
fn long_values_span_blocks_and_replace_each_other_when_there_is_no_room_for_both() {
    let plan = CachePlan {
        blocks: 5,
        spans_blocks: true,
        ..PLAN
    };
    let table = table(plan);
    let long: Vec<u8> = (0..79).collect();
    table.insert(b"a", &long, 0, 0).unwrap();
    assert_eq!(value(&table, b"a", 0), Some(long.clone()));
    assert_eq!(table.insert(b"b", &[1; 17], 0, 0), Err(Refused::Full));
    assert_eq!(table.insert(b"b", &[1; 16], 0, 0), Ok(()));
    assert_eq!(table.replace(b"a", &[2; 80], 0, 0), Ok(()));
    assert_eq!(value(&table, b"a", 0), Some(vec![2; 80]));
    assert_eq!(table.replace(b"a", &[3; 81], 0, 0), Err(Refused::Value));
    assert!(table.remove(b"a", 0) && !table.remove(b"a", 0));
    assert_eq!(table.insert(b"c", &[4; 70], 0, 0), Ok(()));
    table.clear();
    assert_eq!((table.keys(0).len(), table.counts().items), (0, 0));
    assert_eq!(table.insert(b"c", &long, 0, 0), Ok(()));
    assert_eq!(value(&table, b"c", 0), Some(long));
}

#[test]
fn numbers_are_calculated_in_place() {
    let table = table(CachePlan {
        initial_number: 100,
        ..PLAN
    });
    for (operation, operand, result) in [
        (Operation::Add, 5, 105),
        (Operation::Subtract, 6, 99),
        (Operation::Multiply, -2, -198),
        (Operation::Divide, 4, -49),
        (Operation::Divide, 0, 0),
        (Operation::Add, i64::MAX, i64::MAX),
        (Operation::Add, 1, i64::MIN),
        (Operation::Divide, -1, i64::MIN),
    ] {
        let found = table.calculate(b"n", (operation, operand), 0, 0);
        assert_eq!(found, Ok(result), "{operation:?} {operand}");
        assert_eq!(value(&table, b"n", 0), Some(result.to_le_bytes().to_vec()));
    }
    table.insert(b"t", b"text", 0, 0).unwrap();
    let found = table.calculate(b"t", (Operation::Add, 1), 0, 0);
    assert_eq!(found, Err(Refused::NotANumber));
    assert_eq!(table.calculate(b"m", (Operation::Add, 1), 50, 0), Ok(101));
    assert_eq!(table.calculate(b"m", (Operation::Add, 1), 60, 49), Ok(102));
    assert_eq!(table.calculate(b"m", (Operation::Add, 1), 60, 50), Ok(101));
}

/// The memory after each single store of a change is what a process leaves that dies there.
#[test]
fn whichever_store_is_the_last_one_the_entry_is_old_or_new_or_absent_and_whole() {
    for plan in [
        PLAN,
        CachePlan {
            blocks: 6,
            spans_blocks: true,
            when_full: WhenFull::Evict,
            ..PLAN
        },
    ] {
        let recorded = table(plan);
        for key in [b"a", b"b", b"c"] {
            recorded.insert(key, &[7; 16], 0, 0).unwrap();
        }
        let before = snapshot(&recorded);
        recorded.replace(b"b", &[9; 12], 0, 0).unwrap();
        let after = snapshot(&recorded);
        let changed: Vec<usize> = (0..before.len())
            .filter(|&at| before[at] != after[at])
            .collect();
        assert!(changed.len() > 5);
        // Every subset of the derived words may have been written, and the stamps decide: take prefixes of the changed
        // words in both directions, which leave all kinds of broken lists.
        for reversed in [false, true] {
            for count in 0..=changed.len() {
                let mut mixed = before.clone();
                let order: Vec<usize> = match reversed {
                    true => changed.iter().rev().copied().collect(),
                    false => changed.clone(),
                };
                for &at in order.iter().take(count) {
                    mixed[at] = after[at];
                }
                let stamps = stamps(&recorded, &changed);
                // The value is written before its stamp, and the other stamp is cleared after it.
                let is_new = stamps.iter().all(|&at| mixed[at] == after[at]);
                if !is_new {
                    for &at in &stamps {
                        mixed[at] = before[at];
                    }
                } else {
                    for &at in &changed {
                        if at >= plan.keys_start() || is_data(&recorded, at) {
                            mixed[at] = after[at];
                        }
                    }
                }
                let torn = table(plan);
                for (at, word) in mixed.iter().enumerate() {
                    torn.store(at, *word);
                }
                torn.set(Header::Changing, 1);
                torn.recover_if_torn();
                let expected = match is_new {
                    true => vec![9; 12],
                    false => vec![7; 16],
                };
                assert_eq!(value(&torn, b"b", 0), Some(expected), "{count} {reversed}");
                for key in [b"a", b"c"] {
                    assert_eq!(value(&torn, key, 0), Some(vec![7; 16]));
                }
                assert_eq!(torn.counts().items, 3);
                // It is usable.
                assert!(torn.remove(b"a", 0));
                torn.insert(b"d", &[1; 16], 0, 0).unwrap();
                torn.replace(b"c", &[2; 16], 0, 0).unwrap();
            }
        }
    }
}

fn snapshot(table: &Table) -> Vec<u64> {
    (0..table.plan.words()).map(|at| table.word(at)).collect()
}

fn stamps(table: &Table, changed: &[usize]) -> Vec<usize> {
    let all = (0..table.plan.slots()).map(|item| table.place(item, Item::Stamp));
    all.filter(|at| changed.contains(at)).collect()
}

/// Whether this word is one of an item that is written before its stamp.
fn is_data(table: &Table, at: usize) -> bool {
    (0..table.plan.slots()).any(|item| {
        [
            Item::KeyLength,
            Item::ValueLength,
            Item::FirstBlock,
            Item::Expires,
            Item::Hash,
        ]
        .into_iter()
        .any(|name| table.place(item, name) == at)
    }) || at == Header::UsedSlots as usize
        || at == Header::UsedBlocks as usize
}

#[test]
fn a_replaced_entry_that_was_not_cleared_does_not_come_back() {
    let table = table(PLAN);
    table.insert(b"a", b"old", 0, 0).unwrap();
    let old = table.find(b"a").unwrap();
    let stamp = table.field(old, Item::Stamp);
    table.replace(b"a", b"new", 0, 0).unwrap();
    table.set_field(old, Item::Stamp, stamp);
    table.set(Header::Changing, 1);
    table.recover_if_torn();
    assert_eq!(value(&table, b"a", 0), Some(b"new".to_vec()));
    assert_eq!((table.counts().items, table.counts().recoveries), (1, 1));
    table.recover_if_torn();
    assert_eq!(table.counts().recoveries, 1);
}

#[test]
fn any_memory_can_be_recovered() {
    let mut state = 1_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..2000 {
        let table = table(CachePlan {
            spans_blocks: round % 2 == 0,
            when_full: WhenFull::Evict,
            ..PLAN
        });
        for at in 0..table.plan.words() {
            let word = match random() % 3 {
                0 => 0,
                1 => random() % 8,
                _ => random(),
            };
            table.store(at, word);
        }
        table.set(Header::Changing, 1);
        table.recover_if_torn();
        for key in 0..20_u8 {
            let _result = table.replace(&[key], &[key; 9], 0, 1);
            if let Some(found) = table.get(&[key], 1) {
                assert_eq!(found.value, [key; 9]);
            }
        }
        assert!(table.counts().items <= 3);
    }
}
