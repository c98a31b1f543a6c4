//! A duration in seconds, as the log shows it.

use std::fmt;
use std::time::Duration;

/// `0.21 s`, `12.3 s`, `340 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..10.0 => write!(out, "{seconds:.2} s"),
            ..100.0 => write!(out, "{seconds:.1} s"),
            _ => write!(out, "{seconds:.0} s"),
        }
    }
}
