//! macOS and FreeBSD.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::PollFlags;
use rustix::io::{FdFlags, dup2, fcntl_setfd, ioctl_fionbio};
use rustix::net::{SendFlags, SocketAddrAny, SocketAddrUnix, acceptfrom, sockopt};
use rustix::time::ClockId;

use crate::poller::Readiness;

/// No clock is cheaper than this one.
pub const COARSE_MONOTONIC: ClockId = ClockId::Monotonic;
/// As [`COARSE_MONOTONIC`].
pub const COARSE_REALTIME: ClockId = ClockId::Realtime;

/// macOS has no flag: an accepted socket has SO_NOSIGPIPE, and Python ignores the signal.
pub const NO_SIGNAL: SendFlags = SendFlags::empty();
/// There is none: each piece may become a packet.
pub const MORE: SendFlags = SendFlags::empty();

/// The end of a peer's stream is reported as POLLHUP beside POLLIN.
pub const PEER_END: PollFlags = PollFlags::IN;

/// The directory that lists the open descriptors of this process.
const OWN_DESCRIPTORS: &str = "/dev/fd";

/// What poll(2) has seen of the peer's end under [`PEER_END`]. POLLHUP is the end of one direction or of both; only
/// sending finds out which.
pub fn peer_end(seen: PollFlags) -> Readiness {
    Readiness {
        read_closed: seen.contains(PollFlags::HUP),
        hung_up: seen.contains(PollFlags::ERR),
        ..Readiness::default()
    }
}

/// Accepts a connection that does not block, and that no other program inherits, unless another thread begins one before
/// the second call. TCP_NODELAY is inherited from the listener.
pub fn accept(listener: impl AsFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (socket, address) = acceptfrom(listener)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    // Refused on a connection that was reset meanwhile (EINVAL), to which nothing is sent.
    let _refused = sockopt::set_socket_nosigpipe(&socket, true);
    Ok((socket, address))
}

/// The sendfile(2) of these systems has no safe interface: the caller reads and writes.
pub fn send_file(
    _socket: impl AsFd,
    _file: &File,
    _offset: u64,
    _count: usize,
) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads, and waits for the disk where it has to: these systems do not say what is in memory.
pub fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// A single write cannot be made non-blocking.
pub fn write_at_once(_stream: &File, _piece: &[u8]) -> Option<io::Result<usize>> {
    None
}

/// `/dev/fd` opens a file again with the flags that it has, which does not help.
pub fn open_again(_file: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Number of open descriptors of this process; 0 where the system does not provide it.
pub fn count_descriptors() -> u64 {
    fs::read_dir(OWN_DESCRIPTORS).map_or(0, |entries| entries.count() as u64)
}

/// A number of the calling thread in this process: the kernel's has no safe interface.
pub fn thread_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static ID: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ID.with(|id| *id)
}

/// Sleeps are as exact as they can be.
pub fn sleep_exactly() {}

/// Fills the buffer with random bytes of the kernel.
///
/// # Errors
/// The system's.
pub fn fill_random(buffer: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(buffer)
}

/// Makes the number of `descriptor` stand for the file of `fresh`. A program that starts meanwhile inherits it.
///
/// # Errors
/// The system's.
pub fn replace(descriptor: &mut OwnedFd, fresh: impl AsFd) -> io::Result<()> {
    dup2(fresh, descriptor)?;
    Ok(fcntl_setfd(descriptor, FdFlags::CLOEXEC)?)
}

/// Every unix socket that has a name has it in the file system.
pub fn abstract_name(_address: &SocketAddrUnix) -> Option<&[u8]> {
    None
}
