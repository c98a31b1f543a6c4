//! How the end of a connection is announced: GOAWAY twice (RFC 9113 §6.8), so that no request is lost that is on its way.
//!
//! The first GOAWAY names no stream. It is sent when no stream is open, if that is soon: some clients give up their
//! open streams. The second one, after a round trip, names the last request that was taken.

use std::time::{Duration, Instant};

use lockgate_http::http2::GoAway;

/// The payload of the PING that measures the round trip.
pub(super) const PING: u64 = u64::from_be_bytes(*b"lockgate");

/// How long the first GOAWAY waits for a moment without streams.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);

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

    /// Which GOAWAY is due now, if one is.
    pub(super) fn advance(&mut self, open_streams: usize, now: Instant) -> Option<GoAway> {
        match self {
            Self::Wanted { by } => {
                let by = *by.get_or_insert(now + ANNOUNCED_WITHIN);
                if open_streams > 0 && now < by {
                    return None;
                }
                *self = Self::Announced {
                    until: now + FINAL_WITHIN,
                };
                Some(GoAway::Graceful)
            }
            Self::Announced { until } if *until <= now => {
                *self = Self::Final;
                Some(GoAway::Final)
            }
            _ => None,
        }
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

    #[test]
    fn the_end_is_announced_twice_and_waits_for_streams_only_the_first_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut shutdown = Shutdown::default();
        assert_eq!(shutdown.advance(0, at(0)), None);
        assert!(shutdown.want() && !shutdown.want());
        assert_eq!(shutdown.advance(1, at(0)), None);
        assert_eq!(shutdown.deadline(), Some(at(500)));
        assert_eq!(shutdown.advance(1, at(499)), None);
        assert_eq!(shutdown.advance(0, at(499)), Some(GoAway::Graceful));
        assert_eq!(shutdown.advance(0, at(500)), None);
        assert_eq!(shutdown.deadline(), Some(at(1499)));
        shutdown.acknowledge(at(501));
        assert_eq!(shutdown.advance(1, at(501)), Some(GoAway::Final));
        assert!(shutdown.is_final() && shutdown.deadline().is_none());

        let mut busy = Shutdown::Wanted { by: Some(at(500)) };
        assert_eq!(busy.advance(9, at(500)), Some(GoAway::Graceful));
        assert_eq!(busy.advance(9, at(1500)), Some(GoAway::Final));
    }
}
