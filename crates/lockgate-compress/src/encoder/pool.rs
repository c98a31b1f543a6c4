//! Contexts of encoders that wait for their next stream.

use std::sync::{Mutex, PoisonError};

/// As many streams are seldom encoded at the same time.
const KEPT_AT_MOST: usize = 4;

/// See the module. Few threads encode at a time, so the contexts are shared: those of 64 threads would take a quarter
/// of a GiB. The last one that was returned comes first, since its memory is most likely in the processor's cache.
pub(super) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(super) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn put(&self, context: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_AT_MOST {
            kept.push(context);
        }
    }
}
