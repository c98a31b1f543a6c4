//! The file descriptor budget of a worker, shared between connections, bodies on disk, and a reserve for the
//! application. `Shares` computes it from given counts.
//!
//! Neither kind can take all of what the server may use: bodies on disk leave room for new connections, and connections
//! for bodies on disk.

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

/// The descriptors of one worker.
#[derive(Debug)]
pub struct DescriptorBudget {
    shares: Shares,
    connections: AtomicUsize,
    files: AtomicUsize,
}

impl DescriptorBudget {
    pub fn new(wanted_connections: usize, limit: Option<u64>, open: u64) -> Self {
        Self {
            shares: Shares::new(wanted_connections, limit, open),
            connections: AtomicUsize::new(0),
            files: AtomicUsize::new(0),
        }
    }

    /// Sets the number of open connections.
    pub fn record_connections(&self, connections: usize) {
        self.connections.store(connections, Ordering::Relaxed);
    }

    /// How many connections may be accepted in addition to `connections`.
    pub fn room_for_connections(&self, connections: usize) -> usize {
        let files = self.files.load(Ordering::Relaxed);
        self.shares.room_for_connections(connections, files)
    }

    /// Counts one more body on disk. False: there is no descriptor for it. Only the leader calls this.
    pub fn take_file(&self) -> bool {
        let connections = self.connections.load(Ordering::Relaxed);
        let files = self.files.load(Ordering::Relaxed);
        let has_room = self.shares.has_room_for_file(connections, files);
        if has_room {
            self.files.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// A body on disk was closed.
    pub fn give_file(&self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }

    /// Number of bodies on disk.
    pub fn files(&self) -> usize {
        self.files.load(Ordering::Relaxed)
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
}
