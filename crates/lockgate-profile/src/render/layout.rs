//! The places of a flame graph: callers above what they have called, as wide as their part of the whole.

use std::cmp::Reverse;

use super::tree::Tree;
use crate::Weight;

/// What the widths of a flame graph are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The time that passed, waits included.
    Wall,
    /// The CPU time.
    Cpu,
}

impl Measure {
    /// The weight by this measure, in samples or seconds.
    pub(super) fn of(self, weight: Weight) -> f64 {
        match self {
            Self::Wall => weight.samples as f64,
            Self::Cpu => weight.cpu.as_secs_f64(),
        }
    }
}

/// A node and its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) depth: usize,
    /// Parts of the whole, from 0 to 1.
    pub(super) start: f64,
    pub(super) width: f64,
}

/// The nodes that have at least this part of the whole, each before its children, and of these the largest first.
pub(super) fn preorder(tree: &Tree<'_>, measure: Measure, smallest: f64) -> Vec<Place> {
    let weight = |node: usize| measure.of(tree.nodes[node].total);
    let whole = weight(0);
    if whole == 0.0 {
        return Vec::new();
    }
    let mut places = Vec::new();
    // Not recursive: stacks of an application may be deep.
    let mut rest = vec![Place {
        node: 0,
        depth: 0,
        start: 0.0,
        width: 1.0,
    }];
    while let Some(place) = rest.pop() {
        places.push(place);
        let mut children: Vec<usize> = tree.nodes[place.node].children.clone();
        // The order of equal ones is that of the tree.
        children.sort_by_key(|&child| Reverse((weight(child) * 1e6) as u64));
        let mut start = place.start;
        let mut below = Vec::new();
        for child in children {
            let width = weight(child) / whole;
            if width < smallest || width == 0.0 {
                break;
            }
            below.push(Place {
                node: child,
                depth: place.depth + 1,
                start,
                width,
            });
            start += width;
        }
        rest.extend(below.into_iter().rev());
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::super::samples::{Sample, profile};
    use super::*;
    use crate::Activity;

    #[test]
    fn children_are_below_their_callers_with_the_largest_first() {
        let profile = profile(&[
            Sample("A", "one", Activity::Running, 10, 90),
            Sample("B", "one", Activity::Running, 20, 10),
            Sample("B", "one two", Activity::Lock, 68, 0),
            Sample("C", "", Activity::Running, 2, 0),
        ]);
        let tree = Tree::new(&profile);
        let names = Names::default();
        let lines = |measure, smallest| -> Vec<String> {
            let places = preorder(&tree, measure, smallest);
            let line = |place: &Place| {
                let label = tree.nodes[place.node].subject.label(&names);
                let name = label.split(" (").next().unwrap_or_default().to_owned();
                format!(
                    "{} {name} {:.2}+{:.2}",
                    place.depth, place.start, place.width
                )
            };
            places.iter().map(line).collect()
        };
        let wall = [
            "0 all 0.00+1.00",
            "1 B 0.00+0.88",
            "2 one 0.00+0.88",
            "3 two 0.00+0.68",
            "4 waits for a lock 0.00+0.68",
            "1 A 0.88+0.10",
            "2 one 0.88+0.10",
            "1 C 0.98+0.02",
        ];
        assert_eq!(lines(Measure::Wall, 0.0), wall);
        assert_eq!(lines(Measure::Wall, 0.05), wall[..7]);
        let cpu = [
            "0 all 0.00+1.00",
            "1 A 0.00+0.90",
            "2 one 0.00+0.90",
            "1 B 0.90+0.10",
            "2 one 0.90+0.10",
        ];
        assert_eq!(lines(Measure::Cpu, 0.0), cpu);
    }

    #[test]
    fn a_profile_without_samples_has_no_places() {
        let empty = crate::Profile::default();
        assert_eq!(preorder(&Tree::new(&empty), Measure::Wall, 0.0), []);
    }
}
