//! Random operations on a log give what a list of records gives.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, AtomicU64};

use lockgate_shm::{AppendError, Log, LogPlan, Read};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Channel, id, length of the record.
    Append(u8, u8, usize),
    /// Reader, number of reads.
    Read(usize, usize),
    After(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (channel, id) = (0..6_u8, 0..20_u8);
    let step = prop_oneof![
        6 => (channel.clone(), id.clone(), 0..300_usize).prop_map(|(c, i, l)| Step::Append(c, i, l)),
        3 => (0..3_usize, 1..6_usize).prop_map(|(reader, reads)| Step::Read(reader, reads)),
        3 => (channel, id).prop_map(|(c, i)| Step::After(c, i)),
    ];
    prop::collection::vec(step, 1..200)
}

/// A record of the model.
#[derive(Debug, Clone)]
struct Known {
    start: usize,
    sequence: u64,
    channel: u8,
    id: Vec<u8>,
    record: Vec<u8>,
}

/// All records; those from `oldest` are in the log.
#[derive(Debug, Default)]
struct Model {
    known: Vec<Known>,
    oldest: usize,
    end: usize,
}

fn channel(number: u8) -> Vec<u8> {
    vec![b'c'; usize::from(number) * 3 + 1]
}

/// The id 0 is none.
fn id(number: u8) -> Vec<u8> {
    vec![b'i'; usize::from(number)]
}

impl Model {
    fn append(&mut self, known: Known, capacity: usize) {
        let parts = [
            channel(known.channel).len(),
            known.id.len(),
            known.record.len(),
        ];
        let words = 8 + parts.map(|length| length.div_ceil(8)).iter().sum::<usize>();
        self.end += words;
        self.known.push(known);
        while self.known[self.oldest].start + capacity < self.end {
            self.oldest += 1;
        }
    }

    fn after(&self, channel: u8, id: &[u8]) -> Option<Vec<&Known>> {
        let of_channel: Vec<&Known> = (self.known[self.oldest..].iter())
            .filter(|known| known.channel == channel)
            .collect();
        let place = of_channel.iter().rposition(|known| known.id == id);
        let place = place.filter(|_| !id.is_empty())?;
        Some(of_channel[place + 1..].to_vec())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_log_is_a_list_that_forgets_its_oldest_records(
        steps in steps(),
        words in 64..700_usize,
        channels in 1..8_usize,
    ) {
        let plan = LogPlan { size: words * 8, channels };
        let lock_words = Vec::leak((0..plan.lock_words()).map(|_| AtomicU32::new(0)).collect());
        let memory = Vec::leak((0..plan.words()).map(|_| AtomicU64::new(0)).collect());
        let log = Log::new(lock_words, memory, plan, (5, 6)).unwrap();
        let mut model = Model::default();
        // Each reader with the number of records that it has read or missed.
        let mut readers = [(log.head(), 0); 3];
        for (round, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(number, id_number, length) => {
                    let known = Known {
                        start: model.end,
                        sequence: model.known.len() as u64 + 1,
                        channel: number,
                        id: id(id_number),
                        record: vec![round as u8; length],
                    };
                    let outcome = log.append(&channel(number), &known.id, &known.record, round as u64);
                    let parts = [channel(number).len(), known.id.len(), length].map(|length| length.div_ceil(8));
                    if 8 + parts.iter().sum::<usize>() > words / 4 {
                        prop_assert_eq!(outcome, Err(AppendError::TooLarge));
                        continue;
                    }
                    model.append(known, words);
                    prop_assert_eq!(outcome, Ok(model.known.len() as u64));
                }
                Step::Read(reader, reads) => {
                    let (cursor, place) = &mut readers[reader];
                    for _ in 0..reads {
                        let mut record = b"old".to_vec();
                        let outcome = log.read(cursor, &mut record);
                        if *place < model.oldest {
                            prop_assert_eq!(outcome, Read::Overrun);
                            prop_assert!(record.is_empty());
                            *place = model.oldest;
                            continue;
                        }
                        let Some(known) = model.known.get(*place) else {
                            prop_assert_eq!(outcome, Read::UpToDate);
                            prop_assert_eq!(*cursor, log.head());
                            break;
                        };
                        *place += 1;
                        let is_next = matches!(outcome, Read::Record { sequence, .. } if sequence == *place as u64);
                        prop_assert!(is_next, "{outcome:?} is not {place}");
                        prop_assert_eq!(&record, &known.record);
                    }
                }
                Step::After(number, id_number) => {
                    let found = log.after(&channel(number), &id(id_number));
                    let found = found.map(|found| {
                        found.into_iter().map(|found| (found.sequence, found.record)).collect::<Vec<_>>()
                    });
                    let expected = model.after(number, &id(id_number)).map(|known| {
                        known.iter().map(|known| (known.sequence, known.record.clone())).collect()
                    });
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
