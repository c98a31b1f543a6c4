//! What receives messages, as the event loop knows it.

use std::time::Instant;

/// Names one response or WebSocket that receives messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscriber {
    /// The token of the connection's slot.
    pub token: u64,
    /// The stream, in a protocol that has several.
    pub stream: u32,
}

impl Subscriber {
    /// The worker ends: this subscriber does at a moment until `by`, which differs from one to the next, so that not all
    /// clients come back at once. Only the first call counts, or one with an earlier limit.
    pub fn end_by(self, ends_at: &mut Option<Instant>, by: Instant, now: Instant) {
        if ends_at.is_none_or(|at| at > by) {
            let mixed =
                (self.token ^ u64::from(self.stream) << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let part = f64::from((mixed >> 32) as u32) / f64::from(u32::MAX);
            let within = by.saturating_duration_since(now);
            *ends_at = Some(now + within.mul_f64(part));
        }
    }
}
