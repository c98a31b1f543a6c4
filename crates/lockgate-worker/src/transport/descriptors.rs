//! The registry of the server's own descriptors: sockets, pollers and events. A child that the application forks
//! inherits them all, and a connection that the child keeps open never looks closed to its client.
//!
//! One bit per number, set and cleared without a lock: the application may fork while another thread accepts or closes.
//! A number is removed before it is closed, so a registered number never belongs to another file.

pub mod budget;
pub mod fork_gate;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Higher numbers are not registered. 2^20 is the default limit of Linux per process (`fs.nr_open`); memory is only
/// used for the pages of numbers that occur.
const MOST: usize = 1 << 20;
const BITS: usize = u64::BITS as usize;

static OWN: [AtomicU64; MOST / BITS] = [const { AtomicU64::new(0) }; MOST / BITS];

/// select(2) takes only lower numbers, and C libraries that do not check write beyond their array.
const SELECT_LIMIT: i32 = 1024;

/// Numbers from here to [`SELECT_LIMIT`] are left to the application.
const LEFT_TO_APPLICATION: i32 = SELECT_LIMIT / 2;

/// Moves a descriptor to a number that select(2) cannot use, when low numbers become scarce. The kernel assigns the
/// lowest free number, so a server with few descriptors pays one comparison for this.
pub fn move_up(descriptor: OwnedFd) -> OwnedFd {
    if !(LEFT_TO_APPLICATION..SELECT_LIMIT).contains(&descriptor.as_raw_fd()) {
        return descriptor;
    }
    // If the limit of the process is lower (EINVAL) or reached (EMFILE), the number stays as it is.
    rustix::io::fcntl_dupfd_cloexec(&descriptor, SELECT_LIMIT).unwrap_or(descriptor)
}

/// A descriptor that is registered as long as it is open.
#[derive(Debug)]
pub struct TrackedFd {
    descriptor: OwnedFd,
}

impl TrackedFd {
    /// Registers a descriptor.
    pub fn new(descriptor: OwnedFd) -> Self {
        register_ahead(&descriptor);
        Self { descriptor }
    }
}

impl AsFd for TrackedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for TrackedFd {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(&self.descriptor) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

fn place(descriptor: &OwnedFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(descriptor.as_raw_fd()).ok()?;
    Some((OWN.get(number / BITS)?, 1 << (number % BITS)))
}

/// Registers a descriptor that stays open, or a socket that a worker is about to take: the application may fork while
/// it is imported.
pub fn register_ahead(descriptor: &OwnedFd) {
    if let Some((word, bit)) = place(descriptor) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// For a child that the application has just forked: the inherited numbers that it should close. They are returned only
/// once, because the child may reuse them afterwards.
pub fn take_inherited() -> Vec<i32> {
    let mut numbers = Vec::new();
    for (word, first) in OWN.iter().zip((0..).step_by(BITS)) {
        // Read first, so that pages of numbers that never occurred use no memory.
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let bits = word.swap(0, Ordering::Relaxed);
        numbers.extend(
            (0..u64::BITS)
                .filter(|bit| bits >> bit & 1 == 1)
                .map(|bit| first + bit.cast_signed()),
        );
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn is_registered(number: i32) -> bool {
        let number = number as usize;
        OWN[number / BITS].load(Ordering::Relaxed) >> (number % BITS) & 1 == 1
    }

    // Not through `take_inherited`, which would forget the sockets of other tests.
    #[test]
    fn a_descriptor_is_registered_while_it_is_open() {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (
            TrackedFd::new(reader.into()),
            TrackedFd::new(OwnedFd::from(writer)),
        );
        let numbers = [reader.as_fd().as_raw_fd(), writer.as_fd().as_raw_fd()];
        assert!(numbers.into_iter().all(is_registered));
        drop(reader);
        // Another test may take the number again at once; the other descriptor is still open.
        assert!(is_registered(numbers[1]));
    }
}
