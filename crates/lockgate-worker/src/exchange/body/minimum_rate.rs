//! The minimum rate at which a client sends a body or takes a response: bytes and `now` go in, deadlines come out.
//!
//! The rule is a token bucket of time: it is full at first, runs out as time passes, and each byte puts back the time
//! it may take at the minimum rate, up to the bucket's size. So trickling bytes gains no time, silence ends with the
//! bucket, a client that keeps the rate continues for ever, and a fast start does not pay for slowness an hour later.

use std::time::{Duration, Instant};

/// The minimum rate, and how far behind it a client may fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumRate {
    /// 0: any byte at all is enough.
    pub bytes_per_second: u32,
    pub grace: Duration,
}

impl MinimumRate {
    /// The deadline of a client that has all of its grace.
    pub fn begin(&self, now: Instant) -> Instant {
        now + self.grace
    }

    /// The deadline after `bytes` bytes were received or sent.
    pub fn extend(&self, deadline: Instant, bytes: u64, now: Instant) -> Instant {
        let full = self.begin(now);
        match self.worth(bytes) {
            // Compared first, because the worth of many bytes may exceed what an instant can hold.
            worth if worth >= full.saturating_duration_since(deadline) => full,
            worth => deadline + worth,
        }
    }

    /// How long `bytes` bytes may take.
    fn worth(&self, bytes: u64) -> Duration {
        match self.bytes_per_second {
            0 if bytes == 0 => Duration::ZERO,
            0 => Duration::MAX,
            rate => {
                Duration::try_from_secs_f64(bytes as f64 / f64::from(rate)).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// How fast a client takes one response, over all the pieces that the application sends, or sends one body that the
/// application reads piece by piece.
///
/// Time counts only while the server waits for the client (is *blocked*): the application's time is not charged to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientRate {
    /// The last flush left something behind.
    is_blocked: bool,
    /// How much of the grace was used up when the socket was last full; zero for every client that keeps up.
    debt: Duration,
}

impl ClientRate {
    /// Whether a flush that leaves nothing behind has to be recorded.
    pub fn is_behind(&self) -> bool {
        self.is_blocked || !self.debt.is_zero()
    }

    /// A flush has sent `bytes` bytes and left some behind: returns the client's deadline.
    pub fn record_blocked(
        &mut self,
        rate: &MinimumRate,
        deadline: Instant,
        bytes: u64,
        now: Instant,
    ) -> Instant {
        let from = if self.is_blocked {
            deadline
        } else {
            self.is_blocked = true;
            rate.begin(now) - self.debt.min(rate.grace)
        };
        rate.extend(from, bytes, now)
    }

    /// A flush has sent `bytes` bytes, and nothing is left.
    pub fn record_clear(
        &mut self,
        rate: &MinimumRate,
        deadline: Instant,
        bytes: u64,
        now: Instant,
    ) {
        let from = if std::mem::take(&mut self.is_blocked) {
            deadline
        } else {
            rate.begin(now) - self.debt.min(rate.grace)
        };
        let left = rate.extend(from, bytes, now).saturating_duration_since(now);
        self.debt = rate.grace.saturating_sub(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinimumRate = MinimumRate {
        bytes_per_second: 240,
        grace: Duration::from_secs(30),
    };

    fn seconds(count: f64) -> Duration {
        Duration::from_secs_f64(count)
    }

    /// Lets a client move `bytes` every `pause`; returns how long it lives, observed for `at_most`.
    fn lifetime(rate: MinimumRate, bytes: u64, pause: f64, at_most: f64) -> Option<f64> {
        let start = Instant::now();
        let mut deadline = rate.begin(start);
        let mut now = start;
        while now < start + seconds(at_most) {
            now += seconds(pause);
            if now > deadline {
                return Some((deadline - start).as_secs_f64());
            }
            deadline = rate.extend(deadline, bytes, now);
        }
        None
    }

    #[test]
    fn a_client_lives_as_long_as_its_rate_allows() {
        let any = MinimumRate {
            bytes_per_second: 0,
            ..RATE
        };
        let day = 86_400.0;
        let cases: [(MinimumRate, u64, f64, Option<f64>, &str); 9] = [
            (RATE, 1, 29.0, Some(30.0), "a byte every 29 s buys nothing"),
            (RATE, 1, 1.0, Some(30.1), "nor does a byte every second"),
            (RATE, 0, 1.0, Some(30.0), "silence"),
            (
                RATE,
                239,
                1.0,
                Some(7200.0),
                "just below the rate: for hours",
            ),
            (RATE, 240, 1.0, None, "at the rate"),
            (RATE, 7200, 29.9, None, "at the rate, in bursts"),
            (RATE, 7200, 30.1, Some(30.0), "in bursts that come too late"),
            (any, 1, 29.0, None, "no minimum: every byte counts"),
            (any, 1, 31.0, Some(30.0), "no minimum: silence all the same"),
        ];
        for (rate, bytes, pause, expected, what) in cases {
            let found = lifetime(rate, bytes, pause, day);
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    assert!(
                        (found - expected).abs() < expected * 0.05,
                        "{what}: {found}"
                    );
                }
                _ => assert_eq!(found, expected, "{what}"),
            }
        }
    }

    #[test]
    fn a_fast_start_gains_no_time_for_later() {
        let start = Instant::now();
        let deadline = RATE.extend(RATE.begin(start), u64::MAX, start + seconds(1.0));
        assert_eq!(deadline, start + seconds(31.0));
    }

    #[test]
    fn bytes_that_arrived_during_a_long_call_extend_a_missed_deadline() {
        // A call has kept the only thread for 100 s, and the kernel has collected what the client sent.
        let start = Instant::now();
        let late = start + seconds(100.0);
        assert!(RATE.extend(RATE.begin(start), 240 * 100, late) > late);
        assert!(RATE.extend(RATE.begin(start), 240, late) < late);
    }

    #[test]
    fn only_time_with_a_full_socket_counts_against_a_reader() {
        let mut now = Instant::now();
        let mut read_rate = ClientRate::default();
        let mut deadline = now;
        assert!(!read_rate.is_behind());
        for round in 0..4 {
            // The socket is full for 9 s, then empty for an hour.
            deadline = read_rate.record_blocked(&RATE, deadline, 0, now);
            assert_eq!(deadline, now + RATE.grace - round * seconds(9.0), "{round}");
            now += seconds(9.0);
            if round == 3 {
                break;
            }
            read_rate.record_clear(&RATE, deadline, 0, now);
            assert!(read_rate.is_behind());
            now += seconds(3600.0);
        }
        assert!(now > deadline, "four times 9 s are more than the grace");
    }

    #[test]
    fn a_reader_that_catches_up_has_its_whole_grace_again() {
        let start = Instant::now();
        let mut read_rate = ClientRate::default();
        let deadline = read_rate.record_blocked(&RATE, start, 0, start);
        let later = start + seconds(20.0);
        read_rate.record_clear(&RATE, deadline, 240 * 10, later);
        assert!(read_rate.is_behind());
        read_rate.record_clear(&RATE, deadline, 240 * 10, later);
        assert!(!read_rate.is_behind());
        assert_eq!(
            read_rate.record_blocked(&RATE, deadline, 0, later),
            later + RATE.grace
        );
    }

    #[test]
    fn a_client_that_reads_small_pieces_slowly_times_out() {
        // Each piece is blocked for 29 s and then taken: 1 KiB every 29 s is 35 bytes a second.
        let mut now = Instant::now();
        let mut read_rate = ClientRate::default();
        let mut deadline = now;
        let mut rounds = 0;
        while rounds < 100 {
            deadline = read_rate.record_blocked(&RATE, deadline, 0, now);
            now += seconds(29.0);
            if now > deadline {
                break;
            }
            read_rate.record_clear(&RATE, deadline, 1024, now);
            rounds += 1;
        }
        assert!(rounds < 3, "{rounds}");
    }
}
