//! The clocks of the system.

use std::time::{SystemTime, UNIX_EPOCH};

use lockgate_history::Moment;
use lockgate_worker::monotonic_nanos;

/// The time by both clocks.
pub(crate) fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        monotonic: monotonic_nanos(),
        unix: unix.map_or(0, |unix| {
            u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
        }),
    }
}
