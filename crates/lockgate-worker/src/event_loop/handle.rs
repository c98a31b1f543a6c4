//! The event loop behind its lock. The thread that holds the lock leads.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::EventLoop;
use super::context::Context;

/// An event loop that threads take turns to run.
#[repr(align(64))]
pub struct SharedEventLoop {
    context: Arc<Context>,
    event_loop: Mutex<EventLoop>,
}

impl SharedEventLoop {
    pub fn new(event_loop: EventLoop, context: Arc<Context>) -> Self {
        Self {
            context,
            event_loop: Mutex::new(event_loop),
        }
    }

    /// Leads, if no other thread does.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, EventLoop>> {
        match self.event_loop.try_lock() {
            Ok(event_loop) => Some(event_loop),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => {
                self.context.report_fatal(
                    "a thread panicked while it ran the event loop; this worker ends and is replaced",
                );
                None
            }
        }
    }
}
