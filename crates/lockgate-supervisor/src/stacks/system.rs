//! System calls of the stack board: memory files and futexes. Linux has both; elsewhere there is no board.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;

/// An empty memory file.
#[cfg(target_os = "linux")]
pub(super) fn file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};

    Ok(memfd_create("lockgate-stacks", MemfdFlags::CLOEXEC)?)
}

/// Sleeps while the word has this value; may return early.
#[cfg(target_os = "linux")]
pub(super) fn sleep_while(word: &AtomicU32, value: u32) -> io::Result<()> {
    use rustix::io::Errno;
    use rustix::thread::futex;

    // Not private: the word is shared between processes.
    match futex::wait(word, futex::Flags::empty(), value, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Wakes all sleepers on the word.
#[cfg(target_os = "linux")]
pub(super) fn wake(word: &AtomicU32) {
    use rustix::thread::futex;

    // It fails only for an address that is not mapped; this one is.
    let _woken = futex::wake(word, futex::Flags::empty(), u32::MAX);
}

/// Frees the memory of a part of the file, which then has zeros.
#[cfg(target_os = "linux")]
pub(super) fn free(file: &OwnedFd, start: usize, length: usize) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};

    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, start as u64, length as u64)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn file() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sleep_while(_word: &AtomicU32, _value: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn wake(_word: &AtomicU32) {}

#[cfg(not(target_os = "linux"))]
pub(super) fn free(_file: &OwnedFd, _start: usize, _length: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
