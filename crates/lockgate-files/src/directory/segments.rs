//! Names that are resolved here, one directory after the other, where the kernel does not do it: no symbolic link is
//! followed, wherever it leads.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(not(target_os = "linux"))]
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};

#[cfg(not(target_os = "linux"))]
use super::Lookup;

/// NONBLOCK: the open of a fifo does not wait for its writer.
pub(super) const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// A directory that only has to be passed through need not be readable, where the system knows that.
#[cfg(target_os = "linux")]
const STEP: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const STEP: OFlags = OFlags::RDONLY;

/// Opens what has this name, of any kind.
pub(super) fn open(directory: BorrowedFd<'_>, name: &str) -> Result<File> {
    // The callers resolve dots in the path of a request; a name with one would lead out.
    if name
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(Errno::XDEV);
    }
    let mut current: Option<OwnedFd> = None;
    let (folders, last) = name.rsplit_once('/').unwrap_or(("", name));
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let step = STEP | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = current.as_ref().map_or(directory, AsFd::as_fd);
        current = Some(openat(parent, folder, step, Mode::empty())?);
    }
    let parent = current.as_ref().map_or(directory, AsFd::as_fd);
    openat(parent, last, FLAGS | OFlags::NOFOLLOW, Mode::empty()).map(File::from)
}

/// A directory whose names can be looked up.
#[cfg(not(target_os = "linux"))]
pub(super) fn open_directory(path: &Path, lookup: Lookup) -> Result<OwnedFd> {
    let flags = STEP | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match lookup {
        Lookup::MayWait => openat(rustix::fs::CWD, path, flags, Mode::empty()),
        Lookup::InMemory => Err(Errno::AGAIN),
    }
}

/// No other system than Linux answers from memory alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn look_up_in_memory(_directory: BorrowedFd<'_>, _name: &str) -> Result<OwnedFd> {
    Err(Errno::AGAIN)
}
