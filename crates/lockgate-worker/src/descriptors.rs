//! Which descriptor numbers are the server's own sockets, pollers and events. A child that the application forks inherits
//! them all, and a connection that it holds open is one that no client sees closed. Closes nothing itself.
//!
//! One bit a number, set and cleared without a lock: whoever forks may do so while another thread accepts or closes.
//! A number is forgotten before it is closed, so what is noted is never somebody else's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Higher numbers are not noted. 2^20 is what Linux allows a process at most, unless told otherwise (`fs.nr_open`);
/// memory is only used for the pages of numbers that occur.
const MOST: usize = 1 << 20;
const BITS: usize = u64::BITS as usize;

static OWN: [AtomicU64; MOST / BITS] = [const { AtomicU64::new(0) }; MOST / BITS];

/// select(2) takes numbers below this only, and C libraries that do not check write beyond their array.
const SELECT_LIMIT: i32 = 1024;

/// Numbers from here to [`SELECT_LIMIT`] are left to the application.
const LEFT_TO_APPLICATION: i32 = SELECT_LIMIT / 2;

/// Gives a descriptor a number that select(2) cannot use, when the low ones have become few. The kernel gives the lowest
/// number that is free, so a server with few descriptors pays one comparison for it.
pub fn move_up(descriptor: OwnedFd) -> OwnedFd {
    if !(LEFT_TO_APPLICATION..SELECT_LIMIT).contains(&descriptor.as_raw_fd()) {
        return descriptor;
    }
    // Where the limit of the process is below (EINVAL) or reached (EMFILE), the number stays as it is.
    rustix::io::fcntl_dupfd_cloexec(&descriptor, SELECT_LIMIT).unwrap_or(descriptor)
}

/// A descriptor that is noted as long as it is open.
#[derive(Debug)]
pub struct Noted {
    descriptor: OwnedFd,
}

impl Noted {
    pub fn new(descriptor: OwnedFd) -> Self {
        note_ahead(&descriptor);
        Self { descriptor }
    }
}

impl AsFd for Noted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Noted {
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

/// Notes a descriptor that stays open, or a socket that a worker is going to take: an application may fork while it is
/// imported.
pub fn note_ahead(descriptor: &OwnedFd) {
    if let Some((word, bit)) = place(descriptor) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// For a child that the application has just forked: the numbers that it inherited and should let go of. They are told
/// once, because from then on they may become its own.
pub fn take_inherited() -> Vec<i32> {
    let mut numbers = Vec::new();
    for (word, first) in OWN.iter().zip((0..).step_by(BITS)) {
        // Looked at first, so that pages of numbers that never occurred stay without memory.
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

    fn is_noted(number: i32) -> bool {
        let number = number as usize;
        OWN[number / BITS].load(Ordering::Relaxed) >> (number % BITS) & 1 == 1
    }

    // Not through `take_inherited`, which would forget the sockets of tests beside this one.
    #[test]
    fn a_number_is_noted_as_long_as_the_descriptor_is_open() {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (Noted::new(reader.into()), Noted::new(OwnedFd::from(writer)));
        let numbers = [reader.as_fd().as_raw_fd(), writer.as_fd().as_raw_fd()];
        assert!(numbers.into_iter().all(is_noted));
        drop(reader);
        // The number may be taken again at once by a test beside this one; the other one is still ours.
        assert!(is_noted(numbers[1]));
    }
}
