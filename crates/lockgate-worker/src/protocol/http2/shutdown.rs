//! How the end of a connection is announced: GOAWAY twice (RFC 9113 §6.8), so that no request is lost that is on its way.
//!
//! The first GOAWAY names no stream, the second one the last request that was taken. Both are sent when no stream is
//! open: a client that has opened one meanwhile learns that it was not processed. Clients that use Python's h2, such as
//! httpx, fail every request that is open when a GOAWAY comes, and every one on its way that the last GOAWAY does not
//! exclude. If streams are open all the time, the first GOAWAY is sent nevertheless, and the second after a round trip.

use std::time::{Duration, Instant};

use lockgate_http::http2::GoAway;

/// The payload of the PING that measures the round trip.
pub(super) const PING: u64 = u64::from_be_bytes(*b"lockgate");

/// How long the first GOAWAY of a worker that stops waits for a moment without streams.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The same for a connection that has served its number of requests.
pub(super) const LIMIT_PATIENCE: Duration = Duration::from_millis(500);

/// How long the second GOAWAY waits for the answer to the PING.
const FINAL_WITHIN: Duration = Duration::from_secs(1);

/// See the module documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The connection serves.
    #[default]
    None,
    /// The first GOAWAY is due at this time at the latest.
    Wanted { by: Option<Instant> },
    /// The second GOAWAY is due at this time at the latest.
    Announced { until: Instant },
    /// It was sent: the connection ends with its last stream.
    Final,
}

impl Shutdown {
    /// The connection is to end. Returns whether this was not known.
    pub(super) fn want(&mut self) -> bool {
        let is_new = *self == Self::None;
        if is_new {
            *self = Self::Wanted { by: None };
        }
        is_new
    }

    pub(super) fn is_wanted(&self) -> bool {
        *self != Self::None
    }

    pub(super) fn is_final(&self) -> bool {
        *self == Self::Final
    }

    /// The client has answered the PING: it knows the first GOAWAY.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        if let Self::Announced { until } = self {
            *until = now;
        }
    }

    /// Which GOAWAY is due now, if one is. The first one waits at most for `patience` while streams are open.
    pub(super) fn advance(
        &mut self,
        open_streams: usize,
        patience: Duration,
        now: Instant,
    ) -> Option<GoAway> {
        match self {
            Self::Wanted { by } => {
                let by = *by.get_or_insert(now + patience);
                let until = match open_streams {
                    0 => now,
                    _ if now < by => return None,
                    _ => now + FINAL_WITHIN,
                };
                *self = Self::Announced { until };
                Some(GoAway::Graceful)
            }
            Self::Announced { until } if *until <= now => {
                *self = Self::Final;
                Some(GoAway::Final)
            }
            _ => None,
        }
    }

    /// Whether the second GOAWAY waits for a round trip.
    pub(super) fn needs_round_trip(&self, now: Instant) -> bool {
        matches!(self, Self::Announced { until } if *until > now)
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Wanted { by } => *by,
            Self::Announced { until } => Some(*until),
            Self::None | Self::Final => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(500);

    #[test]
    fn without_streams_the_end_is_announced_twice_at_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut shutdown = Shutdown::default();
        assert_eq!(shutdown.advance(0, PATIENCE, at(0)), None);
        assert!(shutdown.want() && !shutdown.want());
        assert_eq!(shutdown.advance(1, PATIENCE, at(0)), None);
        assert_eq!(shutdown.deadline(), Some(at(500)));
        assert_eq!(shutdown.advance(1, PATIENCE, at(499)), None);
        let first = shutdown.advance(0, PATIENCE, at(499));
        assert_eq!(first, Some(GoAway::Graceful));
        assert!(!shutdown.needs_round_trip(at(499)));
        let second = shutdown.advance(0, PATIENCE, at(499));
        assert_eq!(second, Some(GoAway::Final));
        assert!(shutdown.is_final() && shutdown.deadline().is_none());
    }

    #[test]
    fn with_streams_the_second_announcement_waits_for_a_round_trip() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for is_acknowledged in [true, false] {
            let mut shutdown = Shutdown::Wanted { by: Some(at(500)) };
            let first = shutdown.advance(9, PATIENCE, at(500));
            assert_eq!(first, Some(GoAway::Graceful));
            assert!(shutdown.needs_round_trip(at(500)));
            assert_eq!(shutdown.advance(0, PATIENCE, at(600)), None);
            assert_eq!(shutdown.deadline(), Some(at(1500)));
            let ends_at = match is_acknowledged {
                true => at(700),
                false => at(1500),
            };
            if is_acknowledged {
                shutdown.acknowledge(ends_at);
            }
            let second = shutdown.advance(9, PATIENCE, ends_at);
            assert_eq!(second, Some(GoAway::Final));
        }
    }
}
