//! A point: what the server had counted at a moment, and how it was then.
//!
//! Counters are totals, so that what happened between two points is their difference, whatever is missing between them.

use lockgate_observe::{BUCKETS, FIRST_WAIT, Loss, Totals, WorkerView};

use crate::bytes::{Reader, Writer};

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds of the monotonic clock, as on the scoreboard.
    pub monotonic: u64,
    /// Milliseconds since 1970.
    pub unix: u64,
}

/// What the server has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of all workers.
    pub totals: Totals,
    /// Requests that rate limits have refused.
    pub limited: u64,
    /// Requests that the cache has answered.
    pub cache_hits: u64,
    /// Requests that it could not answer.
    pub cache_misses: u64,
}

/// How the server is at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections of all workers.
    pub connections: u64,
    /// Threads that run a request.
    pub running: u64,
    /// Threads for requests.
    pub threads: u64,
    /// Requests that wait for a thread.
    pub waiting: u64,
    /// Workers that serve.
    pub workers: u64,
    /// Requests that are held for published messages.
    pub held: u64,
    /// Calls that have taken their connection over.
    pub websockets: u64,
    /// Resident bytes of all workers.
    pub memory: u64,
    /// Millionths of a CPU that the workers have used since the last point; `None` if it is not known.
    pub cpu: Option<u64>,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Moment,
    /// The totals.
    pub counters: Counters,
    /// The rest.
    pub gauges: Gauges,
}

/// Kinds of responses that are shown: 2xx to 5xx.
pub(crate) const CLASSES: usize = 4;
const LOSSES: usize = Loss::ALL.len();
/// Queue times are counted from this bucket on.
const WAITS: usize = BUCKETS - FIRST_WAIT;
const OTHERS: usize = 7;
/// Where the requests are counted that have hardly waited.
const SHORT_WAITS: usize = CLASSES + LOSSES + BUCKETS;
/// Numbers of [`Counters`] that are kept.
pub(crate) const COUNTERS: usize = CLASSES + LOSSES + BUCKETS + WAITS + OTHERS;
const GAUGES: usize = 9;

impl Counters {
    /// The numbers that are kept, in the order in which a record has them.
    pub(crate) fn to_numbers(self) -> [u64; COUNTERS] {
        let totals = &self.totals;
        let others = [
            totals.waited,
            totals.duration,
            totals.received,
            totals.sent,
            self.limited,
            self.cache_hits,
            self.cache_misses,
        ];
        let mut numbers = [0; COUNTERS];
        let parts = (totals.classes[1..].iter())
            .chain(&totals.losses)
            .chain(&totals.durations)
            .chain(&totals.waits[FIRST_WAIT..])
            .chain(&others);
        for (number, part) in numbers.iter_mut().zip(parts) {
            *number = *part;
        }
        numbers
    }

    /// The reverse.
    pub(crate) fn from_numbers(numbers: &[u64; COUNTERS]) -> Self {
        let mut rest = numbers.iter().copied();
        let mut take = |places: &mut [u64]| {
            for (place, number) in places.iter_mut().zip(&mut rest) {
                *place = number;
            }
        };
        let mut totals = Totals::default();
        take(&mut totals.classes[1..]);
        take(&mut totals.losses);
        take(&mut totals.durations);
        take(&mut totals.waits[FIRST_WAIT..]);
        let mut others = [0; OTHERS];
        take(&mut others);
        let [
            waited,
            duration,
            received,
            sent,
            limited,
            cache_hits,
            cache_misses,
        ] = others;
        Self {
            totals: Totals {
                waited,
                duration,
                received,
                sent,
                ..totals
            },
            limited,
            cache_hits,
            cache_misses,
        }
    }

    /// What was counted since an earlier moment. Where a counter has fallen, they are counters of different servers:
    /// nothing is known.
    pub(crate) fn since(self, earlier: Self) -> Option<Self> {
        let (now, before) = (self.to_numbers(), earlier.to_numbers());
        let mut numbers = [0; COUNTERS];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = match now[index].checked_sub(before[index]) {
                Some(difference) => difference,
                // A difference of totals itself: a request that waits for long is counted here until it is counted
                // there.
                None if index == SHORT_WAITS => 0,
                None => return None,
            };
        }
        Some(Self::from_numbers(&numbers))
    }
}

impl Gauges {
    /// The gauges of these workers, except for their memory and CPU time.
    pub fn of(workers: &[WorkerView]) -> Self {
        let sum = |number: fn(&WorkerView) -> u64| workers.iter().map(number).sum();
        Self {
            connections: sum(|worker| worker.connections),
            running: sum(|worker| worker.busy() as u64),
            threads: sum(|worker| worker.threads),
            waiting: sum(|worker| worker.waiting),
            workers: sum(|worker| (worker.state == lockgate_observe::State::Serving).into()),
            held: sum(|worker| worker.held),
            websockets: sum(|worker| worker.websockets),
            memory: 0,
            cpu: None,
        }
    }

    fn to_numbers(self) -> [u64; GAUGES] {
        [
            self.connections,
            self.running,
            self.threads,
            self.waiting,
            self.workers,
            self.held,
            self.websockets,
            self.memory,
            self.cpu.map_or(0, |cpu| cpu.saturating_add(1)),
        ]
    }

    fn from_numbers(numbers: [u64; GAUGES]) -> Self {
        let [
            connections,
            running,
            threads,
            waiting,
            workers,
            held,
            websockets,
            memory,
            cpu,
        ] = numbers;
        Self {
            connections,
            running,
            threads,
            waiting,
            workers,
            held,
            websockets,
            memory,
            cpu: cpu.checked_sub(1),
        }
    }
}

impl Point {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.numbers(&[self.at.monotonic, self.at.unix]);
        writer.numbers(&self.gauges.to_numbers());
        writer.numbers(&self.counters.to_numbers());
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [monotonic, unix] = reader.numbers()?;
        let gauges = Gauges::from_numbers(reader.numbers()?);
        let counters = Counters::from_numbers(&reader.numbers()?);
        Some(Self {
            at: Moment { monotonic, unix },
            counters,
            gauges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(start: u64) -> Counters {
        Counters::from_numbers(&std::array::from_fn(|index| start + index as u64 * 1000))
    }

    #[test]
    fn a_point_survives_its_record() {
        let point = Point {
            at: Moment {
                monotonic: 1 << 50,
                unix: 1_790_000_000_123,
            },
            counters: counters(7),
            gauges: Gauges::from_numbers(std::array::from_fn(|index| index as u64 * 300)),
        };
        assert_eq!(
            point.counters.to_numbers()[COUNTERS - 1],
            7 + (COUNTERS as u64 - 1) * 1000
        );
        let mut writer = Writer::default();
        point.write(&mut writer);
        let bytes = writer.finish();
        assert_eq!(Point::read(&mut Reader::new(&bytes)), Some(point));
        for length in 0..bytes.len() {
            assert_eq!(Point::read(&mut Reader::new(&bytes[..length])), None);
        }
    }

    #[test]
    fn counters_that_fall_have_no_difference() {
        let difference = counters(9).since(counters(7)).unwrap();
        assert_eq!(difference.to_numbers(), [2; COUNTERS]);
        let mut other = counters(9);
        other.totals.waits[FIRST_WAIT] = 0;
        let difference = other.since(counters(7)).unwrap();
        assert_eq!(
            (
                difference.totals.waits[FIRST_WAIT],
                difference.totals.waited
            ),
            (0, 2)
        );
        other.totals.losses[2] = 0;
        assert_eq!(other.since(counters(7)), None);
    }
}
