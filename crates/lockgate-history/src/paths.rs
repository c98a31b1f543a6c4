//! Top paths: for how long threads have run the requests of each label, from what they run ten times a second.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::bytes::{Reader, Writer};

/// The label of requests whose own label found no place.
pub const OTHER_REQUESTS: &str = "other requests";
/// Most labels that are counted until the next record.
const MOST_LABELS: usize = 400;

/// What was seen of the requests of one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathUse {
    /// Nanoseconds that threads have run them.
    pub nanoseconds: u64,
    /// How many were seen. Most short ones are not: they ran between two scans.
    pub requests: u64,
    /// Nanoseconds that the slowest of them had run when it was last seen.
    pub slowest: u64,
}

impl PathUse {
    fn add(&mut self, other: Self) {
        self.nanoseconds = self.nanoseconds.saturating_add(other.nanoseconds);
        self.requests = self.requests.saturating_add(other.requests);
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// The use of each label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathTally {
    labels: HashMap<String, PathUse>,
}

impl PathTally {
    /// Adds what was seen of a label.
    pub(crate) fn add(&mut self, label: &str, seen: PathUse) {
        if let Some(sum) = self.labels.get_mut(label) {
            return sum.add(seen);
        }
        let label = match self.labels.len() < MOST_LABELS {
            true => label,
            false => OTHER_REQUESTS,
        };
        self.labels.entry(label.to_owned()).or_default().add(seen);
    }

    /// Adds another tally.
    pub(crate) fn merge(&mut self, other: &Self) {
        // In a fixed order: which labels find no place must not depend on a hash function.
        for (label, seen) in other.sorted() {
            self.add(label, seen);
        }
    }

    /// All labels, the one with the most time first.
    pub fn sorted(&self) -> Vec<(&str, PathUse)> {
        let labels = self.labels.iter();
        let mut sorted: Vec<_> = labels
            .map(|(label, seen)| (label.as_str(), *seen))
            .collect();
        sorted.sort_by_key(|(label, seen)| {
            (*label == OTHER_REQUESTS, Reverse(seen.nanoseconds), *label)
        });
        sorted
    }

    /// The sum of their times in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        let times = self.labels.values().map(|seen| seen.nanoseconds);
        times.fold(0, u64::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Writes the first labels that fit into this many bytes, and one for the rest.
    pub(crate) fn write(&self, writer: &mut Writer, most_bytes: usize) {
        let (mut kept, mut rest) = (Vec::new(), PathUse::default());
        let mut left = most_bytes;
        for (label, seen) in self.sorted() {
            // Three numbers, and the length of the label.
            let size = label.len() + 3 * 6 + 2;
            match left.checked_sub(size) {
                Some(less) if label != OTHER_REQUESTS => {
                    left = less;
                    kept.push((label, seen));
                }
                _ => rest.add(seen),
            }
        }
        if rest != PathUse::default() {
            kept.push((OTHER_REQUESTS, rest));
        }
        writer.number(kept.len() as u64);
        for (label, seen) in kept {
            writer.bytes(label.as_bytes());
            writer.numbers(&[seen.nanoseconds, seen.requests, seen.slowest]);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut tally = Self::default();
        for _ in 0..reader.number()? {
            let label = reader.text()?;
            let [nanoseconds, requests, slowest] = reader.numbers()?;
            let seen = PathUse {
                nanoseconds,
                requests,
                slowest,
            };
            tally.add(&label, seen);
        }
        Some(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(nanoseconds: u64) -> PathUse {
        PathUse {
            nanoseconds,
            requests: 1,
            slowest: nanoseconds,
        }
    }

    fn read_back(tally: &PathTally, most_bytes: usize) -> PathTally {
        let mut writer = Writer::default();
        tally.write(&mut writer, most_bytes);
        let bytes = writer.finish();
        assert!(bytes.len() <= most_bytes + 60, "{}", bytes.len());
        let mut reader = Reader::new(&bytes);
        let read = PathTally::read(&mut reader).unwrap();
        assert!(reader.is_empty());
        for length in 0..bytes.len() {
            assert_eq!(PathTally::read(&mut Reader::new(&bytes[..length])), None);
        }
        read
    }

    #[test]
    fn the_labels_with_the_most_time_are_kept_and_the_rest_is_summed() {
        let mut tally = PathTally::default();
        for (label, time) in [("GET /a", 5), ("GET /b", 9), ("GET /a", 2), ("GET /c", 1)] {
            tally.add(label, seen(time));
        }
        let slowest = |nanoseconds, requests, slowest| PathUse {
            nanoseconds,
            requests,
            slowest,
        };
        let all = [
            ("GET /b", seen(9)),
            ("GET /a", slowest(7, 2, 5)),
            ("GET /c", seen(1)),
        ];
        assert_eq!(tally.sorted(), all);
        assert_eq!(read_back(&tally, 1000), tally);
        let cut = read_back(&tally, 30);
        assert_eq!(
            cut.sorted(),
            [("GET /b", seen(9)), (OTHER_REQUESTS, slowest(8, 3, 5))]
        );
        assert_eq!(cut.nanoseconds(), tally.nanoseconds());
        let mut both = cut.clone();
        both.merge(&cut);
        assert_eq!(
            both.sorted()[1],
            (OTHER_REQUESTS, slowest(16, 6, 5)),
            "it stays the last one"
        );
        assert_eq!(read_back(&PathTally::default(), 0), PathTally::default());
    }

    #[test]
    fn labels_without_end_need_bounded_memory() {
        let mut tally = PathTally::default();
        for number in 0..3 * MOST_LABELS {
            tally.add(&format!("GET /{number}"), seen(1));
        }
        assert_eq!(tally.labels.len(), MOST_LABELS + 1);
        assert_eq!(tally.nanoseconds(), 3 * MOST_LABELS as u64);
    }
}
