//! All unsafe code of the crate: adopting descriptors that another process, or the previous program in this one, has
//! opened, and mapping memory that is shared with forked processes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

/// A close-on-exec duplicate of an inherited descriptor. `EBADF` when the number is not open.
///
/// The original stays open for the life of the process: the parent may use it for a second purpose (standard input of
/// inetd), and a duplicate has exactly one owner.
pub(crate) fn duplicate_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is not -1, which is all that the type itself relies on. No code in this process closes
    // inherited descriptors, so it stays what it is during the two calls below; when nothing is open under it, they
    // fail with EBADF and touch nothing.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(inherited)?;
    Ok(fcntl_dupfd_cloexec(inherited, 3)?)
}

/// Sets or clears close-on-exec on an inherited descriptor, for the next program in this process and for its children.
pub(crate) fn set_close_at_exec(number: RawFd, closes: bool) -> io::Result<()> {
    if number < 0 {
        return Err(io::Error::from(Errno::BADF));
    }
    // SAFETY: as in `duplicate_inherited`: the number is not -1, and when nothing is open under it the call below fails
    // with EBADF and touches nothing.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = if closes {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    Ok(fcntl_setfd(inherited, flags)?)
}

/// Takes ownership of a descriptor that the previous program has left open for this one, and sets close-on-exec.
/// `EBADF` when the number is not open.
pub(crate) fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from(Errno::BADF));
    }
    // SAFETY: as above: not -1, and when nothing is open under it the call fails and touches nothing.
    let left = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(left)?.contains(FdFlags::CLOEXEC) {
        // A descriptor left for this program had to survive exec. This one is close-on-exec, so it was opened later and
        // has another owner.
        return Err(io::Error::from(Errno::BADF));
    }
    fcntl_setfd(left, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and without CLOEXEC, which every descriptor opened by this program has: so it comes from the
    // previous program, which has named it to this one alone. A second call for it is refused above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Shared memory of this many words for this process and all its later forks, as a file that the next program in this
/// process can map too. Its size is sealed. Pages are allocated when they are first written.
pub(crate) fn shared_memory(words: usize) -> io::Result<OwnedFd> {
    let bytes = byte_count(words)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create("lockgate-scoreboard", flags)?;
    ftruncate(&memory, bytes as u64)?;
    fcntl_add_seals(&memory, SEALS)?;
    Ok(memory)
}

/// Seals the size: access to a mapping beyond the end of a file would kill the process.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::SEAL);

/// Maps that memory. It is page-aligned, so every cache line of it is whole.
pub(crate) fn map_words(memory: &OwnedFd, count: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = byte_count(count)?;
    let is_large_enough =
        u64::try_from(fstat(memory)?.st_size).is_ok_and(|size| size >= bytes as u64);
    if !is_large_enough || !fcntl_get_seals(memory)?.contains(SealFlags::SHRINK) {
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
            0,
        )
    }?;
    // SAFETY: `start` begins `bytes` bytes that are mapped for reading and writing, aligned to a page and so to 8; any
    // bytes are a valid AtomicU64. The file behind them has at least that size and is sealed against shrinking, and it
    // is never unmapped, here or in a child, so they live as long as the process. All access to this memory, in every
    // process, is through such a slice and so atomic.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), count) })
}

/// Zeroed 32-bit futex words on which a process can sleep until another one wakes it. They are shared by this program
/// and its forks only.
pub(crate) fn shared_bells(count: usize) -> io::Result<&'static [AtomicU32]> {
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

/// The peer of a unix socket: the process that connected it or listens on it.
pub(crate) struct UnixPeer {
    /// 0: the peer is in another pid namespace.
    pub(crate) pid: i32,
    pub(crate) user: u32,
}

/// Asks the kernel, which recorded the peer when the sockets were connected (unix(7), SO_PEERCRED).
#[cfg(target_os = "linux")]
pub(crate) fn unix_peer(socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    // Not rustix: its type cannot represent pid 0, which means a process in another namespace.
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `peer`, which has that many, and the length that it has
    // written to `length`. Any numbers are a valid `ucred`.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            ptr::from_mut(&mut peer).cast(),
            ptr::from_mut(&mut length),
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    match (peer.pid, peer.uid) {
        (_, u32::MAX) => Err(io::ErrorKind::NotConnected.into()),
        (pid, user) => Ok(UnixPeer { pid, user }),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn unix_peer(_socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    Err(io::ErrorKind::Unsupported.into())
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
    fn a_number_without_a_descriptor_is_an_error() {
        for number in [-1, RawFd::MAX] {
            assert!(duplicate_inherited(number).is_err(), "{number}");
        }
    }

    #[test]
    fn shared_words_begin_at_zero_on_a_line_of_their_own_and_are_one_memory_however_often_mapped() {
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
    fn no_words_too_many_and_memory_that_could_vanish_are_an_error() {
        for count in [0, usize::MAX] {
            assert!(shared_memory(count).is_err(), "{count}");
            assert!(shared_bells(count).is_err(), "{count}");
        }
        let memory = shared_memory(8).unwrap();
        assert!(map_words(&memory, 9).is_err());
        let unsealed: OwnedFd = tempfile::tempfile().unwrap().into();
        ftruncate(&unsealed, 4096).unwrap();
        assert!(map_words(&unsealed, 8).is_err());
    }

    #[test]
    fn only_what_survives_exec_is_taken_over_and_only_once() {
        let (reader, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        assert!(take_over(reader.as_raw_fd()).is_err());
        fcntl_setfd(&reader, FdFlags::empty()).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(reader);
        let taken = take_over(number).unwrap();
        assert!(fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        assert!(take_over(number).is_err());
        for number in [-1, 0, 2, RawFd::MAX] {
            assert!(take_over(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_descriptor_is_closed_at_exec_or_not_as_was_said_last() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for closes in [false, true, false] {
            set_close_at_exec(file.as_raw_fd(), closes).unwrap();
            let flags = fcntl_getfd(&file).unwrap();
            assert_eq!(flags.contains(FdFlags::CLOEXEC), closes);
        }
        assert!(set_close_at_exec(-1, true).is_err());
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
