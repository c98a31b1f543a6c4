//! Histograms of request durations, in nanoseconds.
//!
//! Invariant: every duration falls into exactly one bucket, the first whose bound is not less than it.

/// Upper bounds in nanoseconds, and the same in seconds as text: 1, 2.5, 5 in each decade, which matches how operators
/// set their targets. The last bucket, above the last bound, has none.
pub const BOUNDS: [(u64, &str); 18] = [
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
];

/// The first bound for queue times: 1 ms. Shorter waits are the most frequent, and of no interest.
pub const FIRST_WAIT: usize = 3;

/// The bounded buckets and the unbounded one.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// Searches from the short end: a long request can afford a few more comparisons.
#[inline]
pub(super) fn bucket(nanoseconds: u64) -> usize {
    let mut index = 0;
    while index < BOUNDS.len() && nanoseconds > BOUNDS[index].0 {
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_agree_with_their_texts() {
        assert!(BOUNDS.is_sorted_by(|low, high| low.0 < high.0));
        for (nanoseconds, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1e9).round() as u64, nanoseconds);
        }
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        for (index, (bound, _)) in BOUNDS.iter().enumerate() {
            assert_eq!(bucket(*bound), index);
            assert_eq!(bucket(bound + 1), index + 1);
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }
}
