//! The one room with unsafe code: taking over a descriptor that another process opened for this one, and memory that
//! this process will share with those it forks. Refuses to know what either is for.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A duplicate of an inherited descriptor that `exec` closes. `EBADF` when nothing is open under this number.
///
/// The original stays open for the life of the process: whoever started it may have given it a second purpose
/// (standard input of inetd), and a duplicate cannot be closed under another owner's feet.
pub(crate) fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is not -1, which is all that the type itself relies on. Nobody in this process closes
    // descriptors that it inherited, so it stays what it is during the two calls below; when nothing is open under
    // it, they fail with EBADF and touch nothing.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(inherited)?;
    Ok(fcntl_dupfd_cloexec(inherited, 3)?)
}

/// So many zeros that this process and all that it forks later see and change together, for their whole lives.
///
/// They begin at a page of the machine, so every line of its caches is whole. Memory is only used for what is written.
pub(crate) fn shared_words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let start = shared_memory(count, size_of::<AtomicU64>())?;
    // SAFETY: `start` begins `count` words that are mapped for reading and writing, aligned to a machine page and so
    // to 8, and zeroed, which is a valid AtomicU64. Nobody unmaps them, here or in a child, so they live as long as
    // the process. This slice is the only way to them, and it is shared: all access, of every process, is atomic.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), count) })
}

/// The same in words of 32 bits, on which a process can sleep until another one wakes it.
pub(crate) fn shared_bells(count: usize) -> io::Result<&'static [AtomicU32]> {
    let start = shared_memory(count, size_of::<AtomicU32>())?;
    // SAFETY: as in `shared_words`, with words of 4 bytes.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU32>(), count) })
}

/// Where `count` zeros of `size` bytes begin, in memory of its own that nobody unmaps.
fn shared_memory(count: usize, size: usize) -> io::Result<*mut c_void> {
    let Some(bytes) = count.checked_mul(size).filter(|&bytes| bytes > 0) else {
        return Err(io::Error::from(rustix::io::Errno::INVAL));
    };
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: without an address and without MAP_FIXED the kernel chooses a place where nothing is mapped, so no
    // memory that anybody holds is changed.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::SHARED) }?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_number_without_a_descriptor_is_an_error() {
        for number in [-1, RawFd::MAX] {
            assert!(duplicate_inherited(number).is_err(), "{number}");
        }
    }

    #[test]
    fn shared_words_begin_at_zero_on_a_line_of_their_own() {
        let words = shared_words(1024).unwrap();
        assert_eq!((words.len(), words.as_ptr().addr() % 64), (1024, 0));
        for (index, word) in words.iter().enumerate() {
            assert_eq!(word.swap(index as u64, Ordering::Relaxed), 0);
        }
        assert_eq!(words[1023].load(Ordering::Relaxed), 1023);
    }

    #[test]
    fn no_words_and_too_many_are_an_error() {
        for count in [0, usize::MAX, usize::MAX / 8] {
            assert!(shared_words(count).is_err(), "{count}");
            assert!(shared_bells(count).is_err(), "{count}");
        }
    }

    #[test]
    fn an_open_descriptor_is_duplicated() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let copy = duplicate_inherited(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        assert!(
            fcntl_getfd(&copy)
                .unwrap()
                .contains(rustix::io::FdFlags::CLOEXEC)
        );
    }
}
