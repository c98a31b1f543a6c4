//! Whether both halves of the relay have a connection, and what the log says when that changes.

use std::time::Duration;

use crate::failure::Failure;

/// A half of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Sender,
    Receiver,
}

/// Reasons of one interruption that are logged.
const MOST_REASONS: usize = 8;

/// See the module. Times are those of the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Whether the sender and the receiver have had an answer since the last failure of either.
    connected: [bool; 2],
    has_worked: bool,
    /// What the log has of this interruption: the two halves may fail in different ways.
    reported: Vec<Failure>,
    failed_at: Duration,
}

/// What is to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Messages are relayed from now on.
    Works,
    /// They are relayed again, after this time.
    WorksAgain(Duration),
    /// They are not, for a reason that the log does not have yet.
    Fails,
}

impl Link {
    pub(crate) fn on_connected(&mut self, half: Half, now: Duration) -> Option<Change> {
        self.connected[half as usize] = true;
        if self.connected != [true, true] {
            return None;
        }
        let has_failed = !std::mem::take(&mut self.reported).is_empty();
        let had_worked = std::mem::replace(&mut self.has_worked, true);
        match (has_failed, had_worked) {
            (true, _) => Some(Change::WorksAgain(now.saturating_sub(self.failed_at))),
            (false, false) => Some(Change::Works),
            (false, true) => None,
        }
    }

    /// Whether this half has had an answer since the last failure.
    pub(crate) fn is_connected(&self, half: Half) -> bool {
        self.connected[half as usize]
    }

    /// Whether there was a failure since the link has worked.
    pub(crate) fn has_failed(&self) -> bool {
        !self.reported.is_empty()
    }

    pub(crate) fn on_failed(&mut self, failure: &Failure, now: Duration) -> Option<Change> {
        // The other half may not have noticed yet.
        self.connected = [false, false];
        if self.reported.is_empty() {
            self.failed_at = now;
        }
        let is_known = (self.reported.iter()).any(|reported| reported.is_like(failure));
        if is_known || self.reported.len() >= MOST_REASONS {
            return None;
        }
        self.reported.push(failure.clone());
        Some(Change::Fails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_once_and_so_is_its_end() {
        let at = Duration::from_secs;
        let lost = Failure::Unreachable("a".to_owned());
        let lost_too = Failure::Unreachable("b".to_owned());
        let refused = Failure::refused("AUTH", "WRONGPASS a");
        let mut link = Link::default();
        assert_eq!(link.on_connected(Half::Sender, at(1)), None);
        let works = link.on_connected(Half::Receiver, at(1));
        assert_eq!(works, Some(Change::Works));
        assert_eq!(link.on_failed(&lost, at(10)), Some(Change::Fails));
        // The sender has not noticed yet.
        assert_eq!(link.on_connected(Half::Receiver, at(10)), None);
        assert!(!link.is_connected(Half::Sender));
        assert_eq!(link.on_failed(&lost_too, at(11)), None);
        assert_eq!(link.on_failed(&refused, at(12)), Some(Change::Fails));
        assert_eq!(link.on_failed(&refused, at(12)), None);
        assert_eq!(link.on_failed(&lost, at(12)), None);
        assert_eq!(link.on_connected(Half::Receiver, at(13)), None);
        let again = Some(Change::WorksAgain(at(5)));
        assert_eq!(link.on_connected(Half::Sender, at(15)), again);
        assert_eq!(link.on_connected(Half::Sender, at(16)), None);
        assert!(link.is_connected(Half::Sender));
    }
}
