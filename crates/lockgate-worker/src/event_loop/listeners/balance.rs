//! Load balancing between workers on the same listeners: how many new connections a worker may accept.
//!
//! Invariant: a worker that has waited once accepts something, so no connection waits for absent siblings.

use lockgate_observe::Counts;

/// A worker may hold this many connections more than the mean…
const LEEWAY: u64 = 2;
/// …or this fraction of the mean (1/8, 12.5 %) more, if that is more: a smaller imbalance has no visible effect.
const LEEWAY_PART: u64 = 8;

/// How often the allowance for absent siblings' connections may grow fourfold: 2, 8, 32, 128, 512, 2048.
const MOST_GROWTH: u32 = 5;

/// What a worker remembers of its siblings between two arrivals: their slots, and their turns at that time.
#[derive(Debug, Default)]
pub struct Balance {
    /// The siblings that a connection was left to.
    trusted: Vec<(usize, u64)>,
    /// The siblings that have not even polled since, because they are in long calls. Connections are not left to them.
    absent: Vec<(usize, u64)>,
    /// How often this worker has waited since all siblings were present.
    waits: u32,
    /// How many connections it may hold in their place before it waits again: they may only have been slow to wake.
    ceiling: u64,
}

impl Balance {
    /// How many connections a worker that holds `own` may accept, now that one waits. 0: leave it to the siblings for a
    /// moment, then ask again with `has_waited`, which never gives 0.
    pub fn room(
        &mut self,
        own: usize,
        siblings: impl Iterator<Item = (usize, Counts)> + Clone,
        has_waited: bool,
    ) -> usize {
        let room = fair_room(own, siblings.clone());
        if room > 0 {
            return room;
        }
        let turns = siblings.clone().map(|(slot, counts)| (slot, counts.turns));
        self.absent
            .retain(|absent| turns.clone().any(|sibling| sibling == *absent));
        if self.absent.is_empty() && !has_waited {
            self.waits = 0;
        }
        if has_waited {
            let missed = self.trusted.drain(..);
            self.absent
                .extend(missed.filter(|trusted| turns.clone().any(|sibling| sibling == *trusted)));
            self.ceiling = own as u64 + (LEEWAY << (2 * self.waits));
            self.waits = (self.waits + 1).min(MOST_GROWTH);
        }
        let left = usize::try_from(self.ceiling)
            .unwrap_or(usize::MAX)
            .saturating_sub(own);
        let room = match self.absent.is_empty() {
            true => 0,
            false => fair_room(own, self.present(siblings)).min(left),
        };
        if room > 0 || has_waited {
            return room.max(LEEWAY as usize);
        }
        self.trusted.clear();
        let absent = &self.absent;
        self.trusted
            .extend(turns.filter(|sibling| !absent.contains(sibling)));
        0
    }

    fn present(
        &self,
        siblings: impl Iterator<Item = (usize, Counts)> + Clone,
    ) -> impl Iterator<Item = (usize, Counts)> + Clone {
        siblings.filter(|(slot, counts)| !self.absent.contains(&(*slot, counts.turns)))
    }
}

/// How many more connections a worker that holds `own` may have without holding clearly more than the mean of
/// itself and its siblings.
pub fn fair_room(own: usize, siblings: impl Iterator<Item = (usize, Counts)>) -> usize {
    let own = own as u64;
    let (workers, connections) = siblings.fold((1, own), |(workers, connections), sibling| {
        (workers + 1, connections + sibling.1.connections)
    });
    if workers == 1 {
        return usize::MAX;
    }
    // own + room <= mean + leeway, where the mean grows with room: mean = (connections + room) / workers.
    let leeway = (LEEWAY * workers).max(connections / LEEWAY_PART);
    let room = (connections + leeway).saturating_sub(own * workers) / (workers - 1);
    usize::try_from(room).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Siblings in slots 1 up with these connections and turns.
    fn siblings(those: &[(u64, u64)]) -> impl Iterator<Item = (usize, Counts)> + Clone {
        those.iter().zip(1..).map(|(&(connections, turns), slot)| {
            let counts = Counts {
                connections,
                turns,
                ..Counts::default()
            };
            (slot, counts)
        })
    }

    fn holding(those: &[u64]) -> Vec<(u64, u64)> {
        those.iter().map(|&held| (held, 0)).collect()
    }

    #[test]
    fn a_worker_accepts_until_it_holds_clearly_more_than_the_mean() {
        for (own, others, room) in [
            (0, &[0, 0, 0][..], 2),
            (1, &[0, 0, 0], 1),
            (2, &[0, 0, 0], 0),
            (3, &[0, 0, 0], 0),
            (5, &[4, 4, 4], 1),
            (6, &[4, 4, 4], 0),
            (0, &[4, 4, 4], 6),
            (100, &[100], 25),
            (125, &[100], 3),
            (129, &[100], 0),
            (0, &[1000], 1125),
        ] {
            let those = holding(others);
            assert_eq!(fair_room(own, siblings(&those)), room, "{own} {others:?}");
        }
    }

    #[test]
    fn a_single_worker_accepts_everything() {
        for own in [0, 7, 1_000_000] {
            let mut balance = Balance::default();
            assert_eq!(balance.room(own, siblings(&[]), false), usize::MAX);
        }
    }

    #[test]
    fn the_worker_with_the_fewest_connections_has_room() {
        for others in 1..20 {
            for least in 0..60 {
                let those = holding(&vec![least as u64; others]);
                assert!(fair_room(least, siblings(&those)) > 0, "{others} {least}");
            }
        }
    }

    #[test]
    fn a_worker_that_uses_all_its_room_stays_within_the_bound() {
        for count in 1..10 {
            for own in 0..60 {
                for each in 0..40 {
                    let those = holding(&vec![each; count]);
                    let room = fair_room(own, siblings(&those));
                    let all = (own + room) as f64 + (each as usize * count) as f64;
                    let bound = all / (count + 1) as f64 * 1.125 + 2.0;
                    assert!(room == 0 || (own + room) as f64 <= bound);
                }
            }
        }
    }

    #[test]
    fn a_worker_that_has_waited_always_accepts_something() {
        for turns in [0, 1] {
            let mut balance = Balance::default();
            assert_eq!(balance.room(9, siblings(&[(0, 0), (3, 0)]), false), 0);
            let later = [(0, turns), (3, turns)];
            assert_eq!(balance.room(9, siblings(&later), true), 2);
        }
        assert_eq!(Balance::default().room(9, siblings(&[(0, 0)]), true), 2);
    }

    #[test]
    fn waits_for_absent_siblings_become_rarer() {
        let mut balance = Balance::default();
        let those = [(1, 5), (1, 5), (1, 5)];
        let mut own = 3;
        let mut waited_at = Vec::new();
        while own < 1000 {
            if balance.room(own, siblings(&those), false) == 0 {
                waited_at.push(own);
                assert!(balance.room(own, siblings(&those), true) > 0);
            }
            own += 1;
        }
        assert_eq!(waited_at, [3, 5, 13, 45, 173, 685]);
    }

    #[test]
    fn a_sibling_that_polls_again_is_waited_for_again() {
        let mut balance = Balance::default();
        let gone = [(1, 5)];
        assert_eq!(balance.room(6, siblings(&gone), false), 0);
        assert_eq!(balance.room(6, siblings(&gone), true), 2);
        assert_eq!(balance.room(7, siblings(&gone), false), 2, "at once");
        assert_eq!(balance.room(7, siblings(&[(1, 6)]), false), 0, "it is back");
    }

    #[test]
    fn present_siblings_share_the_connections_of_absent_ones() {
        let mut balance = Balance::default();
        let before = [(14, 10), (14, 20), (1, 5)];
        assert_eq!(balance.room(15, siblings(&before), false), 0);
        let after = [(14, 11), (14, 21), (1, 5)];
        assert_eq!(balance.room(15, siblings(&after), true), 2);
        let next = [(15, 12), (15, 22), (1, 5)];
        assert!(
            balance.room(16, siblings(&next), false) > 0,
            "the mean of three"
        );
        assert_eq!(
            balance.room(19, siblings(&next), false),
            0,
            "clearly more than theirs"
        );
    }
}
