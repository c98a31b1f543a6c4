//! Models of an append beside readers: all orders in which their loads and stores can be seen.
#![cfg(test)]

use super::layout::AtomicU64;
use super::plan::LogPlan;
use super::ring::{Cursor, Read, Ring};
use loom::thread;

/// The smallest log: 64 words.
const PLAN: LogPlan = LogPlan {
    size: 0,
    channels: 1,
};
/// With a head, a channel and an id of one word each a record has 14 words: four of them fit, and the fifth one
/// overwrites the first six words of the first one.
const LENGTH: usize = 32;

fn ring() -> Ring {
    let words = (0..PLAN.words()).map(|_| AtomicU64::new(0)).collect();
    Ring::new(Vec::leak(words), PLAN, (1, 2)).unwrap()
}

fn append(ring: &Ring, number: u8) {
    let (id, record, time) = ([number], [number; LENGTH], u64::from(number));
    let entry = ring.entry(b"c", &id, &record, time).unwrap();
    assert_eq!(ring.append(entry), u64::from(number));
}

/// The number of the record at the cursor, all of whose parts must be of it.
fn read(ring: &Ring, cursor: &mut Cursor) -> Option<u8> {
    let mut record = Vec::new();
    match ring.read(cursor, &mut record) {
        Read::Record { sequence, time } => {
            let number = record[0];
            assert_eq!(record, [number; LENGTH]);
            assert_eq!((sequence, time), (u64::from(number), u64::from(number)));
            Some(number)
        }
        Read::Overrun => {
            assert!(record.is_empty());
            None
        }
        Read::UpToDate => panic!("there is a record"),
    }
}

/// Runs an append beside a reader. The reader is the second thread: loom tries a load before each earlier store of
/// another thread, but no store before a load of another thread if its own thread has loaded the word meanwhile. Relaxed
/// loads have many outcomes, so the number of switches at other moments than the end of a thread is bounded.
fn model(appended: u8, reader: fn(&Ring)) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 20_000;
    model.preemption_bound = Some(3);
    model.check(move || {
        let ring = ring();
        (1..appended).for_each(|number| append(&ring, number));
        let reader = thread::spawn(move || reader(&ring));
        append(&ring, appended);
        reader.join().unwrap();
    });
}

#[test]
fn a_record_that_is_being_overwritten_is_read_whole_or_not_at_all() {
    model(5, |ring| {
        let mut cursor = Cursor { position: 0 };
        match read(ring, &mut cursor) {
            Some(number) => assert_eq!(number, 1),
            None => assert_eq!(read(ring, &mut cursor), Some(2)),
        }
    });
}

#[test]
fn the_records_of_a_channel_have_no_gap_while_one_is_appended() {
    model(2, |ring| {
        let mut cursor = Cursor { position: 0 };
        assert_eq!(read(ring, &mut cursor), Some(1));
        let is_appended = ring.has_record(&cursor);
        let found = ring.positions_of(b"c", Cursor { position: 0 }).unwrap();
        let numbers: Vec<u8> = (found.into_iter())
            .map(|mut position| read(ring, &mut position).unwrap())
            .collect();
        assert!(numbers == [1, 2] || !is_appended && numbers == [1]);
        let is_appended = numbers == [1, 2];
        assert!(ring.position_after(b"c", &[2]).is_some() || !is_appended);
    });
}
