//! The sums of a profile: what threads did, which requests it was for, and the lines that they were seen in.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::names::{shown_frames, shown_label};
use crate::{Activity, Frame, Profile, Weight};

/// A line of a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HotLine<'a> {
    pub(super) frame: &'a Frame,
    /// Samples in which it was the most recent frame.
    pub(super) own: Weight,
    /// Samples with it in the stack, once for each stack.
    pub(super) total: Weight,
}

/// A request, and what its threads did, most of it first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestSum<'a> {
    /// Empty: threads without a request.
    pub(super) label: &'a str,
    pub(super) total: Weight,
    pub(super) activities: Vec<(&'a Activity, Weight)>,
}

/// See the module. Each list has the largest first.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub(super) total: Weight,
    pub(super) activities: Vec<(&'a Activity, Weight)>,
    pub(super) requests: Vec<RequestSum<'a>>,
    pub(super) lines: Vec<HotLine<'a>>,
}

impl<'a> Summary<'a> {
    pub(super) fn new(profile: &'a Profile) -> Self {
        let mut total = Weight::default();
        let mut activities: HashMap<&Activity, Weight> = HashMap::new();
        let mut requests: HashMap<&str, HashMap<&Activity, Weight>> = HashMap::new();
        let mut lines: HashMap<&Frame, (Weight, Weight)> = HashMap::new();
        for (row, &weight) in profile.counted_rows() {
            total.add(weight);
            activities.entry(&row.activity).or_default().add(weight);
            let frames = shown_frames(profile, row.stack);
            let request = requests.entry(shown_label(row, &frames)).or_default();
            request.entry(&row.activity).or_default().add(weight);
            if let Some(most_recent) = frames.last() {
                lines.entry(most_recent).or_default().0.add(weight);
            }
            // A line that has called itself counts once.
            for frame in frames.iter().collect::<HashSet<_>>() {
                lines.entry(frame).or_default().1.add(weight);
            }
        }
        let mut requests: Vec<_> = (requests.into_iter())
            .map(|(label, activities)| RequestSum::new(label, activities))
            .collect();
        requests.sort_by_key(|request| (Reverse(request.total.samples), request.label));
        let mut lines: Vec<_> = (lines.into_iter())
            .map(|(frame, (own, total))| HotLine { frame, own, total })
            .collect();
        lines.sort_by_key(|line| {
            (
                Reverse(line.own.samples),
                Reverse(line.total.samples),
                line.frame,
            )
        });
        Self {
            total,
            activities: sorted(activities),
            requests,
            lines,
        }
    }
}

impl<'a> RequestSum<'a> {
    fn new(label: &'a str, activities: HashMap<&'a Activity, Weight>) -> Self {
        let mut total = Weight::default();
        for weight in activities.values() {
            total.add(*weight);
        }
        Self {
            label,
            total,
            activities: sorted(activities),
        }
    }
}

fn sorted(activities: HashMap<&Activity, Weight>) -> Vec<(&Activity, Weight)> {
    let mut activities: Vec<_> = activities.into_iter().collect();
    activities.sort_by_key(|(activity, weight)| (Reverse(weight.samples), *activity));
    activities
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, profile, weight};
    use super::*;

    #[test]
    fn sums_are_sorted_and_recursion_counts_once() {
        let profile = profile(&[
            Sample("GET /", "thread main", Activity::Running, 3, 30),
            Sample(
                "GET /",
                "thread main json.walk json.walk",
                Activity::Running,
                2,
                20,
            ),
            Sample(
                "GET /",
                "thread main json.walk json.walk",
                Activity::Gil,
                4,
                0,
            ),
            Sample("POST /", "thread main", Activity::Lock, 1, 0),
            Sample("", "thread idle", Activity::Sleep, 50, 0),
        ]);
        let summary = Summary::new(&profile);
        assert_eq!(summary.total, weight(10, 50));
        let activities = [
            (&Activity::Running, weight(5, 50)),
            (&Activity::Gil, weight(4, 0)),
            (&Activity::Lock, weight(1, 0)),
        ];
        assert_eq!(summary.activities, activities);
        let requests: Vec<_> = (summary.requests.iter())
            .map(|request| (request.label, request.total, request.activities.len()))
            .collect();
        assert_eq!(
            requests,
            [("GET /", weight(9, 50), 2), ("POST /", weight(1, 0), 1)]
        );
        let lines: Vec<_> = (summary.lines.iter())
            .map(|line| (line.frame.function.as_str(), line.own, line.total))
            .collect();
        let expected = [
            ("walk", weight(6, 20), weight(6, 20)),
            ("main", weight(4, 30), weight(10, 50)),
        ];
        assert_eq!(lines, expected);
    }
}
