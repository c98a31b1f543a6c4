//! A latch that poll(2) sees: its descriptor is readable once it was set, and remains so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::transport::descriptors::TrackedFd;

/// See the module documentation. A pipe, which every system has; nothing is ever read from it.
pub struct Latch {
    is_set: AtomicBool,
    reader: TrackedFd,
    writer: TrackedFd,
}

impl Latch {
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            is_set: AtomicBool::new(false),
            reader: TrackedFd::new(reader.into()),
            writer: TrackedFd::new(writer.into()),
        })
    }

    pub fn set(&self) {
        if !self.is_set.swap(true, Ordering::SeqCst) {
            // Cannot fail: the pipe is empty and both ends are open.
            let _ = rustix::io::write(self.writer.as_fd(), &[1]);
        }
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
