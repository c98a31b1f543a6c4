//! Says how often a complaint is repeated: at once, then at most once in a while, with the number of those left out.
//! Knows neither the complaint nor the clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A fault that every request meets fills no log: one line in so long a time.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of complaint.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    /// Whether to complain now, and how many complaints were left out since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_repeated_after_a_pause_and_tells_how_many_were_left_out() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for (after, admitted) in [
            (0, Some(0)),
            (1, None),
            (9_999, None),
            (10_000, Some(2)),
            (10_001, None),
            (90_000, Some(1)),
            (190_000, Some(0)),
        ] {
            let now = start + Duration::from_millis(after);
            assert_eq!(throttle.admit(now), admitted, "after {after} ms");
        }
    }
}
