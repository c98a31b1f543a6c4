//! The columns of a time line: what happened in each step, from the points of the log.
//!
//! Between two points everything is taken to have happened evenly, so that a recorder that was late makes no peak. Where
//! the clock was set back, the later points count.

use std::collections::BTreeMap;

use crate::point::{COUNTERS, Counters, Gauges, Point};

/// The longest time between two points that is a late point and no gap, in nanoseconds.
const LONGEST_INTERVAL: u64 = 60_000_000_000;
/// Most steps of an answer.
pub const MOST_STEPS: u64 = 4000;

/// Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The beginning.
    pub from: u64,
    /// The end, which is no part of it.
    pub to: u64,
    /// The length of a step; at least 1. Steps begin at its multiples.
    pub step: u64,
}

impl Range {
    /// A range that has at most [`MOST_STEPS`] steps; otherwise they become longer.
    pub fn new(from: u64, to: u64, step: u64) -> Self {
        let least = to.saturating_sub(from).div_ceil(MOST_STEPS);
        let step = step.max(1);
        Self {
            from,
            to,
            // A multiple of what was asked for.
            step: step * least.div_ceil(step).max(1),
        }
    }

    /// Whether something of this time is in it.
    pub(crate) fn has(&self, from: u64, to: u64) -> bool {
        from < self.to && to >= self.from
    }
}

/// What happened in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its beginning.
    pub time: u64,
    /// What was counted in it.
    pub counters: Counters,
    /// How the server was at its end.
    pub gauges: Gauges,
}

/// See the module.
#[derive(Debug)]
pub struct Series {
    range: Range,
    steps: BTreeMap<u64, Sum>,
    last: Option<Point>,
    /// Up to when points are known.
    known: u64,
}

#[derive(Debug)]
struct Sum {
    numbers: [u64; COUNTERS],
    gauges: Gauges,
}

impl Series {
    /// An empty one.
    pub fn new(range: Range) -> Self {
        Self {
            range,
            steps: BTreeMap::new(),
            last: None,
            known: 0,
        }
    }

    /// The next point.
    pub fn add(&mut self, point: &Point) {
        let Some(before) = self.last.replace(*point) else {
            return;
        };
        let interval = (point.at.monotonic.checked_sub(before.at.monotonic))
            .filter(|interval| *interval <= LONGEST_INTERVAL);
        let counted = point.counters.since(before.counters);
        let (Some(interval), Some(counted)) = (interval, counted) else {
            return;
        };
        let end = point.at.unix;
        let start = end.saturating_sub(interval / 1_000_000);
        // Longer than any correction of a running clock.
        if start.saturating_add(2000) < self.known {
            self.steps.split_off(&(start / self.range.step));
        }
        self.known = end;
        self.spread(&counted.to_numbers(), start, end, point.gauges);
    }

    /// Divides what was counted between two moments among the steps.
    fn spread(&mut self, numbers: &[u64; COUNTERS], start: u64, end: u64, gauges: Gauges) {
        let Range { from, to, step } = self.range;
        let length = u128::from(end - start);
        let last = end.saturating_sub(1).max(start) / step;
        for index in (start / step)..=last {
            let begins = index * step;
            let ends = begins.saturating_add(step);
            if begins < from || begins >= to {
                continue;
            }
            let sum = self.steps.entry(index).or_insert(Sum {
                numbers: [0; COUNTERS],
                gauges,
            });
            if index == last {
                sum.gauges = gauges;
            }
            let until = |number: u64, moment: u64| match length {
                0 => number,
                // Not more than the number.
                _ => (u128::from(number) * u128::from(moment - start) / length) as u64,
            };
            for (sum, number) in sum.numbers.iter_mut().zip(numbers) {
                let before = match begins > start {
                    true => until(*number, begins),
                    false => 0,
                };
                *sum = sum.saturating_add(until(*number, ends.min(end)) - before);
            }
        }
    }

    /// The steps that are over, in their order. Those without any point are left out.
    pub fn steps(&self) -> impl Iterator<Item = Step> + Clone {
        let step = self.range.step;
        let over = (self.steps.iter())
            .filter(move |(index, _)| (*index * step).saturating_add(step) <= self.known);
        over.map(move |(index, sum)| Step {
            time: index * step,
            counters: Counters::from_numbers(&sum.numbers),
            gauges: sum.gauges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Moment;

    const START: u64 = 1_790_000_000_000;

    /// A point this many milliseconds after the start, after this many requests.
    fn point(millis: u64, requests: u64) -> Point {
        at(millis, START + millis, requests)
    }

    fn at(monotonic: u64, unix: u64, requests: u64) -> Point {
        let mut counters = Counters::default();
        counters.totals.classes[1] = requests;
        Point {
            at: Moment {
                monotonic: monotonic * 1_000_000,
                unix,
            },
            counters,
            gauges: Gauges {
                running: requests,
                ..Gauges::default()
            },
        }
    }

    /// The steps of a second from the start on: seconds since then, requests, and the gauge.
    #[track_caller]
    fn check(step: u64, points: &[Point], expected: &[(i64, u64, u64)]) {
        let range = Range::new(START - 7_200_000, START + 7_200_000, step);
        assert_eq!(range.step, step);
        let mut series = Series::new(range);
        points.iter().for_each(|point| series.add(point));
        let found: Vec<_> = series
            .steps()
            .map(|step| {
                let seconds = (step.time as i64 - START as i64) / 1000;
                (
                    seconds,
                    step.counters.totals.classes[1],
                    step.gauges.running,
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_request_is_in_one_step() {
        check(10_000, &[], &[]);
        check(10_000, &[point(0, 5)], &[]);
        // The step that is not over is left out.
        check(10_000, &[point(0, 5), point(9_999, 8)], &[]);
        check(10_000, &[point(0, 5), point(10_000, 8)], &[(0, 3, 8)]);
        check(
            10_000,
            &[
                point(0, 5),
                point(9_000, 8),
                point(11_000, 18),
                point(21_000, 18),
            ],
            &[(0, 8, 8), (10, 5, 18)],
        );
        // A late point makes no peak.
        check(
            10_000,
            &[point(0, 0), point(30_000, 10)],
            &[(0, 3, 10), (10, 3, 10), (20, 4, 10)],
        );
    }

    #[test]
    fn nothing_is_known_about_gaps_and_about_counters_that_fall() {
        check(
            10_000,
            &[
                point(0, 0),
                point(10_000, 7),
                point(90_000, 900),
                point(100_000, 905),
            ],
            &[(0, 7, 7), (90, 5, 905)],
        );
        check(
            10_000,
            &[
                point(0, 100),
                point(10_000, 107),
                point(20_000, 3),
                point(30_000, 5),
            ],
            &[(0, 7, 107), (20, 2, 5)],
        );
        // The monotonic clock begins again only with the machine, and memory does not survive that.
        check(
            10_000,
            &[at(50_000, START, 0), at(10, START + 10_000, 9)],
            &[],
        );
    }

    #[test]
    fn a_clock_that_jumps_moves_no_request_twice() {
        // Ahead, or the machine was suspended: the requests were made in the last ten seconds.
        check(
            10_000,
            &[
                point(0, 0),
                point(10_000, 7),
                at(20_000, START + 3_600_000, 9),
            ],
            &[(0, 7, 7), (3590, 2, 9)],
        );
        // Back by 30 s: what was recorded after that time is replaced.
        check(
            10_000,
            &[
                point(0, 0),
                point(10_000, 1),
                point(20_000, 3),
                point(30_000, 7),
                point(40_000, 15),
                at(50_000, START + 20_000, 31),
                at(60_000, START + 30_000, 63),
            ],
            &[(0, 1, 1), (10, 16, 31), (20, 32, 63)],
        );
        // As small as corrections of a running clock are.
        check(
            10_000,
            &[
                point(0, 0),
                point(10_000, 1),
                at(20_000, START + 19_000, 3),
                at(31_000, START + 30_000, 7),
            ],
            &[(0, 1, 1), (10, 2, 3), (20, 4, 7)],
        );
    }

    #[test]
    fn a_long_range_has_longer_steps() {
        let day = 24 * 3_600_000;
        assert_eq!(Range::new(0, day, 1000).step, 22_000);
        assert_eq!(Range::new(0, 3_600_000, 1000).step, 1000);
        assert_eq!(Range::new(0, 3_600_000, 0).step, 900);
        assert_eq!(Range::new(9, 3, 10).step, 10);
        let mut series = Series::new(Range::new(START, START + 10_000, 10_000));
        [point(0, 0), point(10_000, 3), point(20_000, 9)]
            .iter()
            .for_each(|point| series.add(point));
        assert_eq!(
            series.steps().count(),
            1,
            "what is outside of the range is left out"
        );
    }
}
