//! Random operations on a table give what a map gives.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use lockgate_shm::{CachePlan, Operation, Refused, Table, WhenFull};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, usize, u64),
    Replace(u8, usize, u64),
    Add(u8, i64),
    Remove(u8),
    Get(u8),
    Clear,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..12_u8;
    let step = prop_oneof![
        4 => (key.clone(), 1..100_usize, 0..50_u64).prop_map(|(k, l, e)| Step::Insert(k, l, e)),
        6 => (key.clone(), 1..100_usize, 0..50_u64).prop_map(|(k, l, e)| Step::Replace(k, l, e)),
        2 => (key.clone(), -5..5_i64).prop_map(|(k, n)| Step::Add(k, n)),
        3 => key.clone().prop_map(Step::Remove),
        4 => key.prop_map(Step::Get),
        1 => Just(Step::Clear),
        2 => (1..20_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

fn plan(spans_blocks: bool, when_full: WhenFull) -> CachePlan {
    CachePlan {
        items: 6,
        blocks: if spans_blocks { 9 } else { 6 },
        block_size: if spans_blocks { 32 } else { 100 },
        key_size: 24,
        spans_blocks,
        when_full,
        initial_number: 3,
    }
}

fn table(plan: CachePlan) -> Table {
    let words = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
    let table = Table::new(words, plan).unwrap();
    table.set_hash_key((5, 6));
    table
}

fn key(number: u8) -> Vec<u8> {
    vec![b'k'; usize::from(number) + 1]
}

type Model = HashMap<Vec<u8>, (Vec<u8>, u64)>;

fn is_there(model: &Model, key: &[u8], now: u64) -> bool {
    model
        .get(key)
        .is_some_and(|(_, expires)| *expires == 0 || *expires > now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A table that refuses: it holds exactly what the map holds, and refuses a new key only when the map is full of
    /// fresh ones (or their blocks are).
    #[test]
    fn a_table_is_a_map(steps in steps(), spans_blocks in any::<bool>()) {
        let plan = plan(spans_blocks, WhenFull::Refuse);
        let table = table(plan);
        let mut model = Model::new();
        let mut now = 1000;
        for (round, step) in steps.into_iter().enumerate() {
            let value = |length: usize| vec![round as u8; length];
            let until = |now: u64, life: u64| if life == 0 { 0 } else { now + life };
            match step {
                Step::Wait(time) => now += time,
                Step::Clear => {
                    table.clear();
                    model.clear();
                }
                Step::Get(number) => {
                    let found = table.get(&key(number), now).map(|entry| (entry.value, entry.expires));
                    let expected = model.get(&key(number)).cloned();
                    let expected = expected.filter(|_| is_there(&model, &key(number), now));
                    prop_assert_eq!(found, expected);
                }
                Step::Remove(number) => {
                    prop_assert_eq!(table.remove(&key(number), now), is_there(&model, &key(number), now));
                    model.remove(&key(number));
                }
                Step::Insert(number, length, life) | Step::Replace(number, length, life) => {
                    let was_there = is_there(&model, &key(number), now);
                    let is_insert = matches!(step, Step::Insert(..));
                    let outcome = match is_insert {
                        true => table.insert(&key(number), &value(length), until(now, life), now),
                        false => table.replace(&key(number), &value(length), until(now, life), now),
                    };
                    if is_insert && was_there {
                        prop_assert_eq!(outcome, Err(Refused::Exists));
                        continue;
                    }
                    match outcome {
                        Ok(()) => {
                            model.insert(key(number), (value(length), until(now, life)));
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, Refused::Full);
                            let fresh = |other: &&Vec<u8>| is_there(&model, other, now);
                            let others: Vec<_> = model.keys().filter(fresh).cloned().collect();
                            let blocks = |key: &Vec<u8>| model[key].0.len().div_ceil(plan.block_size);
                            let used: usize = others.iter().filter(|other| **other != key(number)).map(blocks).sum();
                            let needed = length.div_ceil(plan.block_size);
                            let is_full = others.len() == plan.items && !was_there;
                            prop_assert!(is_full || used + needed > plan.blocks + 1);
                        }
                    }
                }
                Step::Add(number, operand) => {
                    let present = model.get(&key(number)).cloned();
                    let present = present.filter(|_| is_there(&model, &key(number), now));
                    let outcome = table.calculate(&key(number), (Operation::Add, operand), 0, now);
                    let expires = present.as_ref().map_or(0, |(_, expires)| *expires);
                    let number_before = match present {
                        None => Some(3),
                        Some((bytes, _)) => <[u8; 8]>::try_from(bytes).ok().map(i64::from_le_bytes),
                    };
                    match (number_before, outcome) {
                        (Some(before), Ok(result)) => {
                            prop_assert_eq!(result, before.wrapping_add(operand));
                            model.insert(key(number), (result.to_le_bytes().to_vec(), expires));
                        }
                        (None, outcome) => prop_assert_eq!(outcome, Err(Refused::NotANumber)),
                        (_, outcome) => prop_assert_eq!(outcome, Err(Refused::Full)),
                    }
                }
            }
            let mut keys = table.keys(now);
            keys.sort();
            let mut expected: Vec<_> = model.keys().filter(|key| is_there(&model, key, now)).cloned().collect();
            expected.sort();
            prop_assert_eq!(keys, expected);
        }
    }

    /// A table that makes room never refuses what fits, and what it holds is what was written last.
    #[test]
    fn a_table_that_makes_room_never_refuses(steps in steps(), spans_blocks in any::<bool>(), clears in any::<bool>()) {
        let when_full = if clears { WhenFull::Clear } else { WhenFull::Evict };
        let table = table(plan(spans_blocks, when_full));
        let mut model = Model::new();
        for (round, step) in steps.into_iter().enumerate() {
            if let Step::Insert(number, length, _) | Step::Replace(number, length, _) = step {
                let value = vec![round as u8; length];
                prop_assert_eq!(table.replace(&key(number), &value, 0, 1), Ok(()));
                model.insert(key(number), (value.clone(), 0));
                prop_assert_eq!(table.get(&key(number), 1).map(|entry| entry.value), Some(value));
            }
            for key in table.keys(1) {
                let found = table.get(&key, 1).map(|entry| entry.value);
                prop_assert_eq!(found.as_ref(), model.get(&key).map(|(value, _)| value));
            }
        }
    }
}
