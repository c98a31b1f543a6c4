//! System calls that look at this process without touching it: its memory, by process_vm_readv(2), and the CPU time of
//! its threads.

#[cfg(not(target_os = "linux"))]
#[path = "own_memory/bsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "own_memory/linux.rs"]
mod system;

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{FileType, fstat};
use rustix::net::{SocketAddrAny, getpeername, getsockname};

pub(crate) use self::system::cpu_time;
use self::system::read_first_parts;

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
