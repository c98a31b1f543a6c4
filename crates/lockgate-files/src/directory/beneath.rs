//! Names that the kernel resolves below a directory (openat2(2) of Linux, `RESOLVE_BENEATH`): a symbolic link which leads
//! out is refused.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

use super::{Lookup, segments};

/// A rename somewhere in the file system may disturb a resolution (openat2(2), EAGAIN).
const ATTEMPTS: usize = 16;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// A directory whose names can be looked up. It need not be readable.
pub(super) fn open_directory(path: &Path, lookup: Lookup) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match lookup {
        Lookup::MayWait => openat(CWD, path, flags, Mode::empty()),
        Lookup::InMemory => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED),
    }
}

/// Opens what has this name, of any kind.
pub(super) fn open(directory: BorrowedFd<'_>, name: &str) -> Result<File> {
    let mut outcome = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        outcome = openat2(directory, name, segments::FLAGS, Mode::empty(), BENEATH);
        if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    match outcome {
        // An old kernel, or a filter of system calls that does not know this one.
        Err(Errno::NOSYS | Errno::PERM) => segments::open(directory, name),
        outcome => outcome.map(File::from),
    }
}

/// What the kernel has in memory about this name.
pub(super) fn look_up_in_memory(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::CACHED | BENEATH;
    openat2(directory, name, flags, Mode::empty(), how)
}
