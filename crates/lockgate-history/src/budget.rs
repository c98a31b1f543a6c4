//! How many bytes of the log slow requests may take, so that an hour of points always fits: a token bucket.

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Bytes that may be written now; negative after a record that had to be written.
    bytes: i64,
    /// When it was last filled: nanoseconds.
    filled: u64,
}

/// Bytes a second, and at once. With the points and top paths an hour stays below the size of the log; see
/// [`crate::log`].
pub(crate) const PER_SECOND: u64 = 850;
pub(crate) const BURST: i64 = 128 * 1024;

impl Budget {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            bytes: BURST,
            filled: now,
        }
    }

    /// Time has passed.
    pub(crate) fn fill(&mut self, now: u64) {
        let passed = u128::from(now.saturating_sub(self.filled));
        let more = i64::try_from(passed * u128::from(PER_SECOND) / 1_000_000_000);
        let more = more.unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(more).min(BURST);
        // The rest of the time counts for the next byte.
        let used = more.unsigned_abs().saturating_mul(1_000_000_000) / PER_SECOND;
        self.filled = self.filled.saturating_add(used).min(now);
    }

    /// The bytes that a record may have now.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0)
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_with_time() {
        let second = 1_000_000_000;
        let mut budget = Budget::new(0);
        budget.take(BURST as usize + 850);
        assert_eq!(budget.left(), 0);
        budget.fill(second);
        assert_eq!(budget.left(), 0);
        // In steps that are too short for a byte of their own.
        for now in (second..=3 * second).step_by(100_000) {
            budget.fill(now);
        }
        assert!((1690..=1700).contains(&budget.left()), "{}", budget.left());
        budget.fill(u64::MAX);
        assert_eq!(budget.left(), BURST as usize);
    }
}
