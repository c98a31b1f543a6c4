//! The inode of a socket file: Linux opens it without the file, so that later changes of the name do not affect it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::os;

/// See the module documentation.
pub(super) struct Inode {
    handle: OwnedFd,
    pub(super) status: Stat,
}

impl Inode {
    pub(super) fn open(directory: BorrowedFd<'_>, name: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = openat(directory, name, flags, Mode::empty())?;
        let status = fstat(&handle)?;
        Ok(Self { handle, status })
    }

    /// Whether a connection to the inode reaches this listening socket: the kernel then reports this process as its peer
    /// (unix(7), SO_PEERCRED).
    pub(super) fn is_of(&self, socket: &Socket) -> bool {
        let connect = || -> io::Result<bool> {
            let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            probe.set_nonblocking(true)?;
            probe.connect(&SockAddr::unix(format!(
                "/proc/self/fd/{}",
                self.handle.as_raw_fd()
            ))?)?;
            let peer = os::unix_peer(probe.as_fd())?.pid;
            // Workers must not see this connection. Until now only root could connect.
            drop(socket.accept()?);
            Ok(u32::try_from(peer) == Ok(std::process::id()))
        };
        connect().unwrap_or(false)
    }

    pub(super) fn change_owner(&self, user: u32, group: u32) -> Result<(), Errno> {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        chownat(
            &self.handle,
            "",
            Some(user),
            Some(group),
            AtFlags::EMPTY_PATH,
        )
    }
}
