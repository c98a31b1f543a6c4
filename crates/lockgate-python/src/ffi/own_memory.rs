//! System calls that look at this process without touching it: its memory, by process_vm_readv(2), and the CPU time of
//! its threads.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use rustix::net::{SocketAddrAny, getpeername, getsockname};

/// Bytes to read from an address.
pub(crate) struct Part<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: &'a mut [u8],
    /// Whether all bytes were read.
    pub(crate) is_read: bool,
}

impl<'a> Part<'a> {
    pub(crate) fn new(address: u64, bytes: &'a mut [u8]) -> Self {
        Self {
            address,
            bytes,
            is_read: false,
        }
    }
}

/// Most parts of one call (IOV_MAX is 1024).
const MOST_PARTS: usize = 512;

/// Reads all parts that are readable, of the process `own`, which is this one. The kernel copies: an address that is not
/// mapped fails and does not fault, whatever other threads do with the memory meanwhile.
///
/// # Errors
/// When the system refuses the call itself.
pub(crate) fn read_parts(own: i32, parts: &mut [Part<'_>]) -> io::Result<()> {
    for some in parts.chunks_mut(MOST_PARTS) {
        let mut rest = some;
        while !rest.is_empty() {
            let count = read_first_parts(own, rest)?;
            // The part after those that were read has an address that is not readable.
            let (_, after) = rest.split_at_mut((count + 1).min(rest.len()));
            rest = after;
        }
    }
    Ok(())
}

/// Reads up to the first part that is not readable; returns how many parts were read.
fn read_first_parts(own: i32, parts: &mut [Part<'_>]) -> io::Result<usize> {
    let local: Vec<libc::iovec> = (parts.iter_mut())
        .map(|part| libc::iovec {
            iov_base: part.bytes.as_mut_ptr().cast(),
            iov_len: part.bytes.len(),
        })
        .collect();
    let remote: Vec<libc::iovec> = (parts.iter())
        .map(|part| libc::iovec {
            iov_base: part.address as usize as *mut libc::c_void,
            iov_len: part.bytes.len(),
        })
        .collect();
    // At most MOST_PARTS.
    let (locals, remotes) = (local.len() as libc::c_ulong, remote.len() as libc::c_ulong);
    // SAFETY: the local parts are exclusive borrows that live until the call returns; what the remote ones name is only
    // read, by the kernel, which checks each address.
    let read =
        unsafe { libc::process_vm_readv(own, local.as_ptr(), locals, remote.as_ptr(), remotes, 0) };
    let read = match usize::try_from(read) {
        Ok(read) => read,
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EFAULT) => 0,
            error => return Err(error),
        },
    };
    let mut left = read;
    for (index, part) in parts.iter_mut().enumerate() {
        let Some(rest) = left.checked_sub(part.bytes.len()) else {
            return Ok(index);
        };
        left = rest;
        part.is_read = true;
    }
    Ok(parts.len())
}

/// The CPU time of a thread of this process; `None` if there is none of this TID.
pub(crate) fn cpu_time(tid: u32) -> Option<Duration> {
    // The clock of TID 0 is the caller's own. A thread state has 0 when its thread has ended.
    if tid == 0 {
        return None;
    }
    // The clock of a thread: the complement of its TID, and CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED (the kernel's
    // include/linux/posix-timers_types.h).
    let clock = (!tid.cast_signed() << 3) | 6;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec to write to; an unknown clock is an error.
    let code = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (code == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// The identifier of this thread as the C library has it, which is Python's too: the address of its control block.
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: pthread_self(3) has no preconditions.
    let ident = unsafe { libc::pthread_self() };
    ident as u64
}

/// The address of a symbol of this program or of any library that all of it sees.
pub(crate) fn symbol(name: &std::ffi::CStr) -> Option<u64> {
    // SAFETY: the name ends with NUL.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.addr() as u64)
}

/// What kind of file a descriptor of this process is; `None` if there is none.
pub(crate) fn file_type(number: RawFd) -> Option<FileType> {
    if number < 0 {
        return None;
    }
    // SAFETY: not -1, and borrowed for a call that changes nothing. If it is closed meanwhile, the call fails, or answers
    // for another file.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    Some(FileType::from_raw_mode(fstat(file).ok()?.st_mode))
}

/// The addresses of a socket of this process: its own and its peer's; `None` if it has no peer.
pub(crate) fn socket_addresses(number: RawFd) -> Option<(SocketAddrAny, SocketAddrAny)> {
    if number < 0 {
        return None;
    }
    // SAFETY: not -1, and borrowed for two calls that change nothing. It may be closed meanwhile, and its number may be
    // given to another file: then they fail, or answer for that one, and nothing is affected.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let peer = getpeername(socket).ok()??;
    Some((getsockname(socket).ok()?, peer))
}
