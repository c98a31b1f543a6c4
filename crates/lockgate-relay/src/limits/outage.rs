//! What is logged about failures: the first one, and the end once exchanges have worked for a while. A Redis server that
//! is now and then too slow so gives two messages, and not two a second.

use std::time::Duration;

use crate::failure::Failure;
use crate::link::{Change, Half, Link};

/// How long exchanges have to work after a failure.
const STEADY: Duration = Duration::from_secs(2);

/// See the module. Times are those of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Outage {
    link: Link,
    /// Since when exchanges have worked.
    works_since: Option<Duration>,
}

impl Outage {
    pub(super) fn on_exchanged(&mut self, now: Duration) -> Option<Change> {
        let since = *self.works_since.get_or_insert(now);
        if self.link.has_failed() && now.saturating_sub(since) < STEADY {
            return None;
        }
        // One connection has both directions.
        let changes = [Half::Sender, Half::Receiver].map(|half| self.link.on_connected(half, now));
        changes.into_iter().flatten().next()
    }

    pub(super) fn on_failed(&mut self, failure: &Failure, now: Duration) -> Option<Change> {
        self.works_since = None;
        self.link.on_failed(failure, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_logged_once_and_so_is_its_end() {
        let slow = Failure::Unreachable("slow".to_owned());
        let full = Failure::refused("EVAL", "OOM a");
        let mut outage = Outage::default();
        // Milliseconds, what happens, and what is logged.
        for (at, failure, expected) in [
            (0, None, Some(Change::Works)),
            (100, None, None),
            (200, Some(&slow), Some(Change::Fails)),
            (300, Some(&slow), None),
            // Some exchanges work, and the next does not.
            (1000, None, None),
            (2900, None, None),
            (2950, Some(&slow), None),
            (3000, None, None),
            (4999, None, None),
            (
                5000,
                None,
                Some(Change::WorksAgain(Duration::from_millis(4800))),
            ),
            (5100, None, None),
            (6000, Some(&full), Some(Change::Fails)),
            (6500, Some(&slow), Some(Change::Fails)),
            (7000, Some(&full), None),
        ] {
            let now = Duration::from_millis(at);
            let change = match failure {
                Some(failure) => outage.on_failed(failure, now),
                None => outage.on_exchanged(now),
            };
            assert_eq!(change, expected, "{at}");
        }
    }
}
