//! A cache: a table, and the lock under which its processes use it.

use std::ops::Deref;

use crate::lock::{Guard, Lock, LockError};
use crate::table::{CachePlan, Table, TableCounts};

/// See the module. A copy refers to the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    table: Table,
    lock: Lock,
}

/// The table of a cache, while its lock is held.
#[derive(Debug)]
pub struct LockedTable {
    table: Table,
    _guard: Guard,
}

impl Cache {
    /// A cache of this table and this lock.
    pub fn new(table: Table, lock: Lock) -> Self {
        Self { table, lock }
    }

    /// The table, if no other thread uses it now.
    pub fn try_lock(&self) -> Option<LockedTable> {
        self.lock.try_lock().map(|guard| self.locked(guard))
    }

    /// The table, as soon as no other thread uses it: operations take microseconds.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn lock(&self) -> Result<LockedTable, LockError> {
        self.lock.lock().map(|guard| self.locked(guard))
    }

    /// What has happened to it so far. Without the lock: each number is one word.
    pub fn counts(&self) -> TableCounts {
        self.table.counts()
    }

    /// Its plan.
    pub fn plan(&self) -> &CachePlan {
        self.table.plan()
    }

    pub(crate) fn own_lock(&self) -> Lock {
        self.lock
    }

    fn locked(&self, guard: Guard) -> LockedTable {
        self.table.recover_if_torn();
        LockedTable {
            table: self.table,
            _guard: guard,
        }
    }
}

impl Deref for LockedTable {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}
