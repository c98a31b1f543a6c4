//! The inode of a socket file, where it can only be reached by its name (macOS, FreeBSD). Another user may have put
//! another file there, so its owner cannot be changed.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;
use socket2::Socket;

/// See the module documentation.
pub(super) struct Inode {
    pub(super) status: Stat,
}

impl Inode {
    pub(super) fn open(directory: BorrowedFd<'_>, name: &Path) -> Result<Self, Errno> {
        let status = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Self { status })
    }

    /// [`Inode::change_owner`] reports what is missing.
    pub(super) fn is_of(&self, _socket: &Socket) -> bool {
        true
    }

    pub(super) fn change_owner(&self, _user: u32, _group: u32) -> Result<(), Errno> {
        Err(Errno::NOTSUP)
    }
}
