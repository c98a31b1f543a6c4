//! Flow-control windows (RFC 9113 §5.2, §6.9) in both directions.
//!
//! Invariants: a receive window, what the peer has used of it and what was given back but not announced add up to its
//! size; a send window never exceeds 2^31-1, and is negative only after SETTINGS have made it smaller.

/// The size of every window at the start (RFC 9113 §6.9.2).
pub(crate) const INITIAL_WINDOW: u32 = 65_535;

/// What the peer may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveWindow {
    left: u32,
    /// Given back by the application, and not announced with WINDOW_UPDATE.
    unannounced: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            left: size,
            unannounced: 0,
        }
    }

    /// Counts received bytes; returns whether the window allows them.
    #[inline]
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: u32) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives bytes back; returns the increment to announce once that is half of the window. `size` is always the same.
    #[inline]
    #[must_use]
    pub(crate) fn release(&mut self, bytes: u32, size: u32) -> Option<u32> {
        let held = size - self.left - self.unannounced;
        self.unannounced += bytes.min(held);
        if self.unannounced < size / 2 {
            return None;
        }
        self.left += self.unannounced;
        Some(std::mem::take(&mut self.unannounced))
    }
}

/// What the server may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SendWindow(i32);

impl SendWindow {
    /// `size` is at most 2^31-1.
    pub(crate) fn new(size: u32) -> Self {
        Self(i32::try_from(size).unwrap_or(i32::MAX))
    }

    /// WINDOW_UPDATE; returns whether the window stays within 2^31-1.
    #[must_use]
    pub(crate) fn grow(&mut self, increment: u32) -> bool {
        self.shift(i64::from(increment))
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE has changed (RFC 9113 §6.9.2); returns whether the window stays within 2^31-1.
    #[must_use]
    pub(crate) fn shift(&mut self, by: i64) -> bool {
        match i32::try_from(i64::from(self.0) + by) {
            Ok(size) => {
                self.0 = size;
                true
            }
            Err(_) => false,
        }
    }

    /// How many bytes may be sent.
    #[inline]
    pub(crate) fn capacity(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Counts sent bytes, at most [`SendWindow::capacity`].
    #[inline]
    pub(crate) fn send(&mut self, bytes: usize) {
        self.0 -= bytes.min(self.capacity()) as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_announced_by_halves() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.receive(80) && !window.receive(21) && window.receive(20));
        assert_eq!(window.release(49, 100), None);
        assert_eq!(window.release(1, 100), Some(50));
        assert!(!window.receive(51) && window.receive(50));
        // No more than was received.
        assert_eq!(window.release(1000, 100), Some(100));
        assert_eq!(window, ReceiveWindow::new(100));
    }

    #[test]
    fn a_send_window_is_bounded_and_may_become_negative() {
        let mut window = SendWindow::new(INITIAL_WINDOW);
        window.send(65_000);
        assert_eq!(window.capacity(), 535);
        assert!(window.shift(-1000));
        assert_eq!(window.capacity(), 0);
        assert!(window.grow(465));
        assert_eq!(window.capacity(), 0);
        assert!(window.grow(1));
        assert_eq!(window.capacity(), 1);
        assert!(!window.grow(i32::MAX as u32));
        assert!(window.grow(i32::MAX as u32 - 1));
        assert!(!window.shift(1));
    }
}
