//! For tests: the death of a process before one of its stores.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    /// How many stores this thread makes before it dies.
    static STORES_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Before each store to the memory of a store with its lock held.
pub(crate) fn die_if_due() {
    STORES_LEFT.with(|left| match left.get() {
        0 => resume_unwind(Box::new("dead")),
        usize::MAX => {}
        number => left.set(number - 1),
    });
}

/// Calls a function that dies after this number of stores; returns whether it did not.
pub(crate) fn survives(stores: usize, call: impl FnOnce()) -> bool {
    STORES_LEFT.set(stores);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    STORES_LEFT.set(usize::MAX);
    outcome.is_ok()
}
