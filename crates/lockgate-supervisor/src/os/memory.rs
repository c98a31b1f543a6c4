//! Memory that is shared with forked processes and with the next program in this process.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{fstat, ftruncate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::system::{may_shrink, memory_file, seal_size};

/// Shared memory of this many words for this process and all its later forks, as a file that the next program in this
/// process can map too. Its size is sealed. Pages are allocated when they are first written.
pub(crate) fn shared_memory(words: usize) -> io::Result<OwnedFd> {
    let bytes = byte_count(words)?;
    let memory = memory_file(c"lockgate-scoreboard")?;
    ftruncate(&memory, bytes as u64)?;
    seal_size(&memory)?;
    Ok(memory)
}

/// Maps that memory. It is page-aligned, so every cache line of it is whole.
pub(crate) fn map_words(memory: &OwnedFd, count: usize) -> io::Result<&'static [AtomicU64]> {
    map_words_after(memory, 0, count)
}

/// Maps that memory from this offset on, a multiple of the page size.
pub(crate) fn map_words_after(
    memory: &OwnedFd,
    offset: usize,
    count: usize,
) -> io::Result<&'static [AtomicU64]> {
    let start = map_bytes(memory, offset, byte_count(count)?)?;
    // SAFETY: `start` begins `bytes` bytes that are mapped for reading and writing, aligned to a page and so to 8; any
    // bytes are a valid AtomicU64. The file behind them has at least that size and is sealed against shrinking, and it
    // is never unmapped, here or in a child, so they live as long as the process. All access to this memory, in every
    // process, is through such a slice and so atomic.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), count) })
}

/// Maps the first words of that memory as 32-bit words, which the kernel can wait on (futex(2)). No other mapping of the
/// same process may be used for these words.
pub(crate) fn map_lock_words(memory: &OwnedFd, count: usize) -> io::Result<&'static [AtomicU32]> {
    let start = map_bytes(memory, 0, byte_count(count.div_ceil(2))?)?;
    // SAFETY: as in `map_words_after`, with words of 4 bytes.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU32>(), count) })
}

/// Maps this many bytes of that memory, which it must have, for reading and writing and for ever.
fn map_bytes(memory: &OwnedFd, offset: usize, bytes: usize) -> io::Result<*mut c_void> {
    let end = offset.checked_add(bytes).ok_or(Errno::INVAL)?;
    let is_large_enough =
        u64::try_from(fstat(memory)?.st_size).is_ok_and(|size| size >= end as u64);
    if !is_large_enough || may_shrink(memory)? {
        return Err(io::Error::from(Errno::INVAL));
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: without an address and without MAP_FIXED the kernel chooses a place where nothing is mapped, so no memory
    // in use is changed.
    let start = unsafe {
        mmap(
            ptr::null_mut(),
            bytes,
            access,
            MapFlags::SHARED,
            memory.as_fd(),
            offset as u64,
        )
    }?;
    Ok(start)
}

/// Zeroed 32-bit futex words on which a process can sleep until another one wakes it. They are shared by this program
/// and its forks only.
pub(crate) fn shared_futexes(count: usize) -> io::Result<&'static [AtomicU32]> {
    let bytes = count
        .checked_mul(size_of::<AtomicU32>())
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| io::Error::from(Errno::INVAL))?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: as in `map_words`: the kernel chooses a place where nothing is mapped.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::SHARED) }?;
    // SAFETY: as in `map_words`, with words of 4 bytes that are zeroed, and without a file that could become shorter.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU32>(), count) })
}

fn byte_count(words: usize) -> io::Result<usize> {
    words
        .checked_mul(size_of::<AtomicU64>())
        .filter(|&bytes| bytes > 0 && i64::try_from(bytes).is_ok())
        .ok_or_else(|| io::Error::from(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn shared_words_are_zeroed_and_aligned_and_every_mapping_is_the_same_memory() {
        let memory = shared_memory(1024).unwrap();
        let words = map_words(&memory, 1024).unwrap();
        assert_eq!((words.len(), words.as_ptr().addr() % 64), (1024, 0));
        for (index, word) in words.iter().enumerate() {
            assert_eq!(word.swap(index as u64, Ordering::Relaxed), 0);
        }
        let again = map_words(&memory, 1024).unwrap();
        assert_eq!(again[1023].load(Ordering::Relaxed), 1023);
        assert!(ftruncate(&memory, 8).is_err());
    }

    #[test]
    fn locks_and_words_of_one_memory_are_mapped_apart() {
        let memory = shared_memory(3 * 8192).unwrap();
        let locks = map_lock_words(&memory, 3).unwrap();
        let words = map_words_after(&memory, 64 * 1024, 16).unwrap();
        locks[2].store(7, Ordering::Relaxed);
        words[15].store(8, Ordering::Relaxed);
        let again = map_lock_words(&memory, 3).unwrap();
        assert_eq!(again[2].load(Ordering::Relaxed), 7);
        assert_eq!(words[0].load(Ordering::Relaxed), 0);
        let all = map_words(&memory, 3 * 8192).unwrap();
        assert_eq!(all[8192 + 15].load(Ordering::Relaxed), 8);
        assert!(map_words_after(&memory, 64 * 1024, 3 * 8192).is_err());
        assert!(map_words_after(&memory, 8, 1).is_err(), "not a page");
        assert!(map_lock_words(&memory, 3 * 8192 * 2 + 1).is_err());
    }

    #[test]
    fn no_words_too_many_words_and_unsealed_memory_are_refused() {
        for count in [0, usize::MAX] {
            assert!(shared_memory(count).is_err(), "{count}");
            assert!(shared_futexes(count).is_err(), "{count}");
        }
        let memory = shared_memory(8).unwrap();
        assert!(map_words(&memory, 9).is_err());
        let unsealed: OwnedFd = tempfile::tempfile().unwrap().into();
        ftruncate(&unsealed, 4096).unwrap();
        assert!(map_words(&unsealed, 8).is_err());
    }
}
