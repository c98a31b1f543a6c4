//! Keeps a connection's next request back until the application has finished with the previous one (`close()`, PEP
//! 3333).
//!
//! The event loop sends the response while the application still runs. What waits is the connection's input, and the
//! connection's slot if the connection is closed meanwhile.

use std::sync::atomic::{AtomicU8, Ordering};

const FREE: u8 = 0;
/// The application has not finished with the connection's request.
const HELD: u8 = 1;
/// The same, and the event loop has found the connection ready for its next request.
pub(super) const NEXT_WAITS: u8 = 2;
/// The same, and the connection is closed: its slot is still in use.
pub(super) const SLOT_WAITS: u8 = 3;

/// Whether a connection is held.
#[derive(Debug, Default)]
pub struct Hold(AtomicU8);

impl Hold {
    /// Whether the application has not finished with the request.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire) != FREE
    }

    /// For the event loop: whether the next request has to wait. If so, the loop is notified when the wait ends.
    pub fn keeps_next_request(&self) -> bool {
        self.is_held() && self.set_waiting(NEXT_WAITS)
    }

    /// For the event loop: whether a closed connection's slot has to wait; the loop is notified when the wait ends.
    pub fn keeps_slot(&self) -> bool {
        self.is_held() && self.set_waiting(SLOT_WAITS)
    }

    /// Sets what waits for the end of the hold. False when the hold has ended.
    fn set_waiting(&self, waiting: u8) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state != FREE).then_some(waiting)
            })
            .is_ok()
    }

    pub(super) fn begin(&self) {
        self.0.store(HELD, Ordering::Release);
    }

    /// Ends the hold; returns what the event loop waits for.
    pub(super) fn end(&self) -> u8 {
        self.0.swap(FREE, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_hold_returns_what_the_event_loop_waits_for() {
        let hold = Hold::default();
        assert!(!hold.keeps_next_request() && !hold.keeps_slot());
        assert_eq!(hold.end(), FREE);

        hold.begin();
        assert_eq!(hold.end(), HELD, "the event loop has not been there");

        hold.begin();
        assert!(hold.keeps_next_request() && hold.keeps_next_request());
        assert_eq!(hold.end(), NEXT_WAITS);
        assert!(!hold.keeps_next_request());

        hold.begin();
        assert!(hold.keeps_next_request() && hold.keeps_slot());
        assert_eq!(hold.end(), SLOT_WAITS, "the client has left meanwhile");
        assert!(!hold.keeps_slot());
    }
}
