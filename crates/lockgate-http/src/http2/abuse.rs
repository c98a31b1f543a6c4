//! Budgets against floods: how much of what a well-behaved client does seldom a peer may do.
//!
//! Each budget is a token bucket that time refills, and useful work as well. No peer can cause more work than its budgets,
//! its windows and the number of its streams allow.

use std::time::Instant;

use crate::http2::connection_error::ConnectionError;

/// Streams that the client resets, makes the server reset, or opens beyond the limit. nghttp2 allows 1000 and 33 a
/// second; h2 allows 20 that were not handed over, as it does not count a cancelled request that runs as an open stream.
const STREAMS: Rate = Rate {
    burst: 400,
    per_second: 33,
};

/// Frames without content. Clients send a few for each response: WINDOW_UPDATE, and PING to measure the bandwidth.
const CONTROL: Rate = Rate {
    burst: 1000,
    per_second: 100,
};

/// Control frames that the DATA of a response allows: a client may announce its windows at every DATA frame.
const SENT_FOR_CONTROL: u32 = 512;

/// CONTINUATION frames of one block. A block of 64 KiB needs four.
pub(crate) const CONTINUATIONS: u8 = 32;

/// Answers that the peer has not read, in bytes.
pub const CONTROL_LIMIT: usize = 16_384;

#[derive(Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// The budgets of one connection.
#[derive(Debug)]
pub(crate) struct Budgets {
    now: Instant,
    streams: Bucket,
    control: Bucket,
    /// Sent bytes that have not earned a control frame yet.
    sent: u32,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled_at: Instant,
}

impl Budgets {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now,
            streams: Bucket::new(STREAMS, now),
            control: Bucket::new(CONTROL, now),
            sent: 0,
        }
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// A stream was reset or refused because of the client.
    pub(crate) fn count_reset(&mut self) -> Result<(), ConnectionError> {
        match self.streams.spend(1, STREAMS, self.now) {
            true => Ok(()),
            false => Err(ConnectionError::RapidReset),
        }
    }

    /// A frame without content, which costs as much as `cost` of them.
    #[inline]
    pub(crate) fn count_control(&mut self, cost: u32) -> Result<(), ConnectionError> {
        match self.control.spend(cost, CONTROL, self.now) {
            true => Ok(()),
            false => Err(ConnectionError::ControlFlood),
        }
    }

    /// A response was sent to its end.
    #[inline]
    pub(crate) fn earn_response(&mut self) {
        self.streams.earn(1, STREAMS);
        self.control.earn(4, CONTROL);
    }

    /// DATA was sent.
    #[inline]
    pub(crate) fn earn_sent(&mut self, bytes: usize) {
        // A frame is shorter than 2^24 bytes.
        self.sent += bytes as u32;
        self.control.earn(self.sent / SENT_FOR_CONTROL, CONTROL);
        self.sent %= SENT_FOR_CONTROL;
    }
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            refilled_at: now,
        }
    }

    #[inline]
    fn spend(&mut self, cost: u32, rate: Rate, now: Instant) -> bool {
        if self.tokens < cost {
            self.refill(rate, now);
        }
        match self.tokens.checked_sub(cost) {
            Some(tokens) => {
                self.tokens = tokens;
                true
            }
            None => false,
        }
    }

    #[inline]
    fn earn(&mut self, tokens: u32, rate: Rate) {
        self.tokens = self.tokens.saturating_add(tokens).min(rate.burst);
    }

    /// Only when the bucket is empty: most connections never ask for the time.
    #[cold]
    fn refill(&mut self, rate: Rate, now: Instant) {
        let milliseconds = now.saturating_duration_since(self.refilled_at).as_millis();
        let tokens = milliseconds.saturating_mul(rate.per_second.into()) / 1000;
        self.earn(u32::try_from(tokens).unwrap_or(u32::MAX), rate);
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "any instant serves as the start")]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_is_spent_and_refilled() {
        let start = Instant::now();
        let mut budgets = Budgets::new(start);
        let resets = |budgets: &mut Budgets| {
            let mut count = 0;
            while budgets.count_reset().is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!(resets(&mut budgets), 400);
        budgets.set_now(start + Duration::from_secs(2));
        assert_eq!(resets(&mut budgets), 66);
        budgets.earn_response();
        assert_eq!(resets(&mut budgets), 1);
        budgets.set_now(start + Duration::from_secs(1 << 40));
        assert_eq!(resets(&mut budgets), 400);
        assert_eq!(budgets.count_reset(), Err(ConnectionError::RapidReset));
    }

    #[test]
    fn sent_data_allows_control_frames() {
        let mut budgets = Budgets::new(Instant::now());
        assert_eq!(budgets.count_control(1000), Ok(()));
        budgets.earn_sent(511);
        assert!(budgets.count_control(1).is_err());
        budgets.earn_sent(1);
        assert_eq!(budgets.count_control(1), Ok(()));
        budgets.earn_sent(1 << 24);
        assert_eq!(budgets.count_control(1000), Ok(()));
        assert_eq!(budgets.count_control(1), Err(ConnectionError::ControlFlood));
    }
}
