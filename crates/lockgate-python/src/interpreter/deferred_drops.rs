//! Deferred drops: references to Python objects whose last owner did not hold the GIL. The next thread that is attached
//! drops them. PyO3's own pool would be checked at every attach, under one lock for all threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

static DEFERRED: Mutex<Vec<Py<PyBytes>>> = Mutex::new(Vec::new());
static IS_PENDING: AtomicBool = AtomicBool::new(false);

/// Keeps a reference until a thread is attached.
pub(crate) fn defer(object: Py<PyBytes>) {
    let mut deferred = DEFERRED.lock().unwrap_or_else(PoisonError::into_inner);
    deferred.push(object);
    IS_PENDING.store(true, Ordering::Release);
}

/// Whether references wait to be dropped.
pub(crate) fn is_pending() -> bool {
    IS_PENDING.load(Ordering::Acquire)
}

/// Drops the references that wait.
pub(crate) fn run(_attached: Python<'_>) {
    if is_pending() {
        // No thread waits for the GIL while it holds this lock, so taking the lock attached cannot deadlock.
        let objects = {
            let mut deferred = DEFERRED.lock().unwrap_or_else(PoisonError::into_inner);
            IS_PENDING.store(false, Ordering::Release);
            std::mem::take(&mut *deferred)
        };
        drop(objects);
    }
}
