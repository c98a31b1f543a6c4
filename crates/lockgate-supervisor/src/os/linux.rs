//! Calls that differ between systems: Linux.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU32;

use rustix::fs::{
    CWD, FallocateFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags, Stat, fallocate,
    fcntl_add_seals, fcntl_get_seals, memfd_create, mknodat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair, sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{getpid, set_child_subreaper};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::futex;

use super::unix_peer::UnixPeer;

/// A peer that is gone is an error of the call and no signal.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// Received descriptors are close-on-exec.
pub(crate) const CLOSE_AT_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// Opens a directory as a place for names only; it need not be readable.
pub(crate) const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Seals the size: access to a mapping beyond the end of a file would kill the process.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::SEAL);

/// A pipe, close-on-exec at both ends: where it is read, and where it is written.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// The same, non-blocking at both ends.
pub(crate) fn nonblocking_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Two connected sockets that keep the bounds of messages, close-on-exec and non-blocking.
pub(crate) fn packet_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// An empty file in memory, close-on-exec; /proc shows the name.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    Ok(memfd_create(
        name,
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?)
}

/// Has the file in memory never become shorter.
pub(super) fn seal_size(memory: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_add_seals(memory, SEALS)?)
}

/// Whether the file can become shorter.
pub(super) fn may_shrink(memory: &OwnedFd) -> io::Result<bool> {
    Ok(!fcntl_get_seals(memory)?.contains(SealFlags::SHRINK))
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path, mode: Mode) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, mode, 0)?)
}

/// Makes the pipe hold more than the usual 64 KiB.
pub(crate) fn enlarge(pipe: BorrowedFd<'_>, bytes: usize) {
    // A limit of the user may refuse it: then writers wait sooner.
    let _refused = rustix::pipe::fcntl_setpipe_size(pipe, bytes);
}

/// Fills the buffer with random bytes of the kernel.
///
/// # Errors
/// The system's.
pub(crate) fn fill_random(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match getrandom(&mut *buffer, GetRandomFlags::empty()) {
            Ok(count) => buffer = &mut buffer[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Device and number of a file.
pub(crate) fn identity(status: &Stat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Type and mode of a file.
pub(crate) fn mode_of(status: &Stat) -> u32 {
    status.st_mode
}

/// A mode as the settings have it.
pub(crate) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

/// Whether a socket listens.
pub(crate) fn is_listening(socket: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(false)
}

/// Makes this process the subreaper: orphans, such as workers forked by a fork server, become its children.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Asks the kernel, which recorded the peer when the sockets were connected (unix(7), SO_PEERCRED).
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

/// Sleeps while the word, which processes share, has this value; may return early.
pub(crate) fn sleep_while(word: &AtomicU32, value: u32) -> io::Result<()> {
    match futex::wait(word, futex::Flags::empty(), value, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Wakes all sleepers on the word.
pub(crate) fn wake(word: &AtomicU32) {
    // It fails only for an address that is not mapped; this one is.
    let _woken = futex::wake(word, futex::Flags::empty(), u32::MAX);
}

/// Frees the memory of a part of a file in memory, which then has zeros.
pub(crate) fn free(file: &OwnedFd, start: usize, length: usize) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, start as u64, length as u64)?)
}
