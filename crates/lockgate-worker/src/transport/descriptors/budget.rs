//! The file descriptor budget of a worker, shared between connections, bodies on disk, and a reserve for the
//! application. `Shares` computes it from given counts.
//!
//! Neither kind can take all of what the server may use: bodies on disk leave room for new connections, and connections
//! for bodies on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors reserved for the application: an eighth of the limit, within these bounds.
const LEFT_TO_APPLICATION: (u64, u64) = (32, 1024);

/// Of what the server may use, 1/`PART` is reserved for new connections and 1/`PART` for bodies on disk.
const PART: usize = 8;

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    /// Maximum of connections and bodies on disk together.
    total: usize,
    /// Maximum of connections.
    connections: usize,
    /// Bodies on disk that are allowed with any number of connections, and connections that are allowed with any number
    /// of bodies on disk.
    part: usize,
}

impl Shares {
    /// `limit`: descriptors that the process may have (`ulimit -n`); `open`: those open before it serves.
    fn new(wanted_connections: usize, limit: Option<u64>, open: u64) -> Self {
        let Some(limit) = limit else {
            return Self {
                total: usize::MAX,
                connections: wanted_connections,
                part: 0,
            };
        };
        let (least, most) = LEFT_TO_APPLICATION;
        let left = limit.saturating_sub((limit / 8).clamp(least, most) + open);
        let total = usize::try_from(left).unwrap_or(usize::MAX).max(2);
        let part = (total / PART).max(1);
        Self {
            total,
            connections: wanted_connections.min(total - part),
            part,
        }
    }

    fn room_for_connections(&self, connections: usize, files: usize) -> usize {
        let used = connections.saturating_add(files);
        let left = self.total.saturating_sub(used);
        left.min(self.connections.saturating_sub(connections))
    }

    fn has_room_for_file(&self, connections: usize, files: usize) -> bool {
        files < self.part || connections.saturating_add(files) < self.total - self.part
    }
}

/// The descriptors of an event loop, which shares the worker's with the other event loops.
#[derive(Debug)]
pub struct DescriptorBudget {
    shares: Shares,
    own: Arc<Usage>,
    others: Vec<Arc<Usage>>,
}

/// The descriptors that one event loop uses, on a cache line of its own: it changes with each connection.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Usage {
    connections: AtomicUsize,
    files: AtomicUsize,
}

impl DescriptorBudget {
    /// For a worker with one event loop.
    #[cfg(test)]
    pub fn new(wanted_connections: usize, limit: Option<u64>, open: u64) -> Self {
        Self::shared(1, wanted_connections, limit, open).remove(0)
    }

    /// One for each event loop of a worker.
    pub fn shared(
        event_loops: usize,
        wanted_connections: usize,
        limit: Option<u64>,
        open: u64,
    ) -> Vec<Self> {
        let shares = Shares::new(wanted_connections, limit, open);
        let all: Vec<Arc<Usage>> = (0..event_loops).map(|_| Arc::default()).collect();
        let others_than = |own: &Arc<Usage>| {
            let others = all.iter().filter(|other| !Arc::ptr_eq(own, other));
            others.cloned().collect()
        };
        let of = |own: &Arc<Usage>| Self {
            shares,
            own: Arc::clone(own),
            others: others_than(own),
        };
        all.iter().map(of).collect()
    }

    /// Sets the number of open connections of this event loop.
    pub fn record_connections(&self, connections: usize) {
        self.own.connections.store(connections, Ordering::Relaxed);
    }

    /// The connections of all event loops, of which this one has `own`.
    pub fn connections(&self, own: usize) -> usize {
        let others = self.others.iter();
        let others = others.map(|other| other.connections.load(Ordering::Relaxed));
        others.fold(own, usize::saturating_add)
    }

    /// How many connections may be accepted in addition to `own` of this event loop.
    pub fn room_for_connections(&self, own: usize) -> usize {
        self.shares
            .room_for_connections(self.connections(own), self.files())
    }

    /// Counts one more body on disk. False: there is no descriptor for it. Only the leader calls this; leaders of two
    /// event loops that take the last place at once both get it, from the reserve.
    pub fn take_file(&self) -> bool {
        let connections = self.sum(|usage| &usage.connections);
        let has_room = self.shares.has_room_for_file(connections, self.files());
        if has_room {
            self.own.files.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// A body on disk was closed.
    pub fn give_file(&self) {
        self.own.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// Number of bodies on disk, of all event loops.
    pub fn files(&self) -> usize {
        self.sum(|usage| &usage.files)
    }

    fn sum(&self, of: impl Fn(&Usage) -> &AtomicUsize) -> usize {
        let all = std::iter::once(&self.own).chain(&self.others);
        all.map(|usage| of(usage).load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_between_application_connections_and_bodies() {
        let cases = [
            // wanted, limit, open, (together, connections)
            (10_000, None, 24, (usize::MAX, 10_000)),
            (10_000, Some(1024), 24, (872, 763)),
            (500, Some(1024), 24, (872, 500)),
            (10_000, Some(96), 24, (40, 35)),
            (10_000, Some(16), 24, (2, 1)),
            (10_000, Some(1_048_576), 24, (1_047_528, 10_000)),
        ];
        for (wanted, limit, open, expected) in cases {
            let shares = Shares::new(wanted, limit, open);
            assert_eq!((shares.total, shares.connections), expected, "{limit:?}");
        }
    }

    #[test]
    fn neither_connections_nor_bodies_use_all_descriptors() {
        let shares = Shares::new(10_000, Some(1024), 24);
        assert_eq!((shares.total, shares.part), (872, 109));
        for (connections, files, more_connections, one_more_file) in [
            (0, 0, 763, true),
            (700, 62, 63, true),
            (700, 63, 63, true),
            (700, 109, 63, false),
            (510, 252, 110, true),
            (510, 253, 109, false),
            (763, 108, 0, true),
            (763, 109, 0, false),
        ] {
            let found = (
                shares.room_for_connections(connections, files),
                shares.has_room_for_file(connections, files),
            );
            let expected = (more_connections, one_more_file);
            assert_eq!(found, expected, "{connections} and {files}");
        }
    }

    #[test]
    fn event_loops_share_the_descriptors_of_their_worker() {
        let budgets = DescriptorBudget::shared(3, 100, Some(1024), 24);
        for (budget, held) in budgets.iter().zip([30, 40, 0]) {
            budget.record_connections(held);
        }
        let rooms = |held: [usize; 3]| {
            let each = budgets.iter().zip(held);
            each.map(|(budget, held)| budget.room_for_connections(held))
                .collect::<Vec<_>>()
        };
        assert_eq!(rooms([30, 40, 0]), [30, 30, 30]);
        assert_eq!(budgets[1].connections(41), 71);
        assert_eq!(rooms([60, 41, 7]), [0, 29, 23]);
        assert!(budgets[0].take_file() && budgets[2].take_file());
        budgets[2].give_file();
        assert_eq!(budgets.iter().map(DescriptorBudget::files).max(), Some(1));
        let last = DescriptorBudget::shared(2, 100, Some(16), 24);
        assert!(last[0].take_file());
        assert!(!last[1].take_file(), "the other event loop has taken it");
    }
}
