//! Linux.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::PollFlags;
use rustix::io::{DupFlags, Errno, ReadWriteFlags, dup3, preadv2, pwritev2};
use rustix::net::{SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, acceptfrom_with};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::ClockId;

use crate::poller::Readiness;

/// A clock that costs no system call, and is right to 10 ms.
pub const COARSE_MONOTONIC: ClockId = ClockId::MonotonicCoarse;
/// As [`COARSE_MONOTONIC`].
pub const COARSE_REALTIME: ClockId = ClockId::RealtimeCoarse;

/// A connection that was reset is an error of the call, and raises no SIGPIPE in an embedding program.
pub const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// More bytes follow at once: the kernel waits for them before it sends a small packet.
pub const MORE: SendFlags = SendFlags::MORE;

/// What poll(2) watches for the end of a peer's stream.
pub const PEER_END: PollFlags = PollFlags::RDHUP;

/// The directory that lists the open descriptors of this process.
const OWN_DESCRIPTORS: &str = "/proc/self/fd";

/// File systems whose files are always in memory, and which have no RWF_NOWAIT in older kernels.
const IN_MEMORY: [i64; 3] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
];

/// What poll(2) has seen of the peer's end under [`PEER_END`].
pub fn peer_end(seen: PollFlags) -> Readiness {
    Readiness {
        read_closed: seen.contains(PollFlags::RDHUP),
        hung_up: seen.intersects(PollFlags::HUP | PollFlags::ERR),
        ..Readiness::default()
    }
}

/// Accepts a connection that does not block, and that no other program inherits. One system call; TCP_NODELAY is
/// inherited from the listener.
#[inline]
pub fn accept(listener: impl AsFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// Sends a part of a file, at most `count` bytes.
pub fn send_file(socket: impl AsFd, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    let mut position = offset;
    Ok(rustix::fs::sendfile(
        socket,
        file,
        Some(&mut position),
        count,
    )?)
}

/// Reads what is in the page cache.
///
/// # Errors
/// `WouldBlock` when the disk has to be asked.
pub fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    match preadv2(
        file,
        &mut [IoSliceMut::new(buffer)],
        offset,
        ReadWriteFlags::NOWAIT,
    ) {
        Ok(count) => Ok(count),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if is_in_memory(file) => {
            file.read_at(buffer, offset)
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_in_memory(file: &File) -> bool {
    // The type of the field differs between architectures.
    #[allow(clippy::useless_conversion, reason = "see above")]
    rustix::fs::fstatfs(file).is_ok_and(|system| {
        i64::try_from(system.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind))
    })
}

/// Writes to a stream that other processes share, and so may block, without waiting. `None`: this stream cannot do so.
pub fn write_at_once(stream: &File, piece: &[u8]) -> Option<io::Result<usize>> {
    // An offset of -1 is the stream's position (pwritev2(2)).
    match pwritev2(
        stream,
        &[IoSlice::new(piece)],
        u64::MAX,
        ReadWriteFlags::NOWAIT,
    ) {
        // Pipes support the flag since Linux 6.5; terminals and sandboxes may never do.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => None,
        outcome => Some(outcome.map_err(io::Error::from)),
    }
}

/// Opens a file again, for reading and for writing at any place.
///
/// # Errors
/// The system's; the path may have led to another file.
pub fn open_again(file: &File) -> io::Result<File> {
    let path = format!("{OWN_DESCRIPTORS}/{}", file.as_raw_fd());
    OpenOptions::new().read(true).write(true).open(path)
}

/// Number of open descriptors of this process; 0 where the system does not provide it.
pub fn count_descriptors() -> u64 {
    fs::read_dir(OWN_DESCRIPTORS).map_or(0, |entries| entries.count() as u64)
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

/// Has short sleeps of this thread end on time.
pub fn sleep_exactly() {
    // 1 ns; 0 would mean the default, 50 µs. Refused in some sandboxes: then sleeps take 50 µs more.
    let _refused = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Fills the buffer with random bytes of the kernel.
///
/// # Errors
/// The system's.
pub fn fill_random(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match getrandom(&mut *buffer, GetRandomFlags::empty()) {
            Ok(count) => buffer = &mut buffer[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes the number of `descriptor` stand for the file of `fresh`, in one step.
///
/// # Errors
/// The system's.
pub fn replace(descriptor: &mut OwnedFd, fresh: impl AsFd) -> io::Result<()> {
    Ok(dup3(fresh, descriptor, DupFlags::CLOEXEC)?)
}

/// The name of a unix socket that has none in the file system.
pub fn abstract_name(address: &SocketAddrUnix) -> Option<&[u8]> {
    address.abstract_name()
}
