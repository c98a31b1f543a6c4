//! Calls that differ between systems: macOS and FreeBSD.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, SendFlags, getpeername};

use super::unix_peer::UnixPeer;

/// Python ignores the signal, and so do programs whose main function is Rust's.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();
/// There is no such flag: a program that is started meanwhile would inherit what was received.
pub(crate) const CLOSE_AT_EXEC: RecvFlags = RecvFlags::empty();
/// Opens a directory as a place for names; it must be readable.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// How late a sleeper may see that it is woken.
const MOMENT: Duration = Duration::from_millis(20);

/// Names that are tried for a file; each is random.
const ATTEMPTS: usize = 16;

/// A pipe, close-on-exec at both ends: where it is read, and where it is written.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// The same, non-blocking at both ends.
pub(crate) fn nonblocking_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe()?;
    ioctl_fionbio(&reader, true)?;
    ioctl_fionbio(&writer, true)?;
    Ok((reader, writer))
}

/// Two connected sockets that keep the bounds of messages, which macOS has only with datagrams of 2 KiB.
pub(crate) fn packet_sockets() -> io::Result<(OwnedFd, OwnedFd)> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "it needs sockets of the type SEQPACKET, as Linux has them",
    ))
}

/// An empty file without a name, close-on-exec. There is no file in memory that can be read, written and mapped.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    let folder = std::env::temp_dir();
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        let mut random = [0; 8];
        fill_random(&mut random)?;
        let name = name.to_string_lossy();
        let path = folder.join(format!("{name}-{:016x}", u64::from_le_bytes(random)));
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match (options.read(true).write(true).create_new(true)).open(&path) {
            Ok(file) => {
                remove_file(&path)?;
                return Ok(file.into());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

/// Files have no seals here: the file has no name, so only this server's processes have it, and none of them shortens it.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn seal_size(_memory: &OwnedFd) -> io::Result<()> {
    Ok(())
}

/// Whether the file can become shorter: see [`seal_size`].
#[allow(clippy::unnecessary_wraps)]
pub(super) fn may_shrink(_memory: &OwnedFd) -> io::Result<bool> {
    Ok(false)
}

/// Makes a named pipe.
pub(crate) fn make_fifo(path: &Path, mode: Mode) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL and lives until the call returns.
    match unsafe { libc::mkfifo(path.as_ptr(), mode.bits()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The size of a pipe is fixed.
pub(crate) fn enlarge(_pipe: BorrowedFd<'_>, _bytes: usize) {}

/// Fills the buffer with random bytes of the kernel.
///
/// # Errors
/// The system's.
pub(crate) fn fill_random(buffer: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(buffer)
}

/// Device and number of a file.
pub(crate) fn identity(status: &Stat) -> (u64, u64) {
    (status.st_dev as u64, status.st_ino)
}

/// Type and mode of a file.
pub(crate) fn mode_of(status: &Stat) -> u32 {
    status.st_mode.into()
}

/// A mode as the settings have it.
pub(crate) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as rustix::fs::RawMode)
}

/// Whether a socket listens: macOS does not tell, so a socket without a peer is taken for one.
pub(crate) fn is_listening(socket: BorrowedFd<'_>) -> bool {
    getpeername(socket) == Err(Errno::NOTCONN)
}

/// # Errors
/// Orphans become children of PID 1.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "preload needs Linux",
    ))
}

/// Asks the kernel, which recorded the user when the sockets were connected (getpeereid(3)).
pub(crate) fn unix_peer(socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    let (mut user, mut group) = (libc::uid_t::MAX, libc::gid_t::MAX);
    // SAFETY: both are numbers to write to, which live until the call returns.
    let outcome = unsafe {
        libc::getpeereid(
            socket.as_raw_fd(),
            ptr::from_mut(&mut user),
            ptr::from_mut(&mut group),
        )
    };
    match outcome {
        0 => Ok(UnixPeer { pid: 0, user }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sleeps for a moment while the word, which processes share, has this value.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn sleep_while(word: &AtomicU32, value: u32) -> io::Result<()> {
    if word.load(Ordering::Acquire) == value {
        thread::sleep(MOMENT);
    }
    Ok(())
}

/// Sleepers look again by themselves.
pub(crate) fn wake(_word: &AtomicU32) {}

/// The memory stays in use: what is in it is not read.
#[allow(clippy::unnecessary_wraps)]
pub(crate) fn free(_file: &OwnedFd, _start: usize, _length: usize) -> io::Result<()> {
    Ok(())
}
