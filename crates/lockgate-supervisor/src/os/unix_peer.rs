//! The process at the other end of a unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// The peer of a unix socket: the process that connected it or listens on it.
pub(crate) struct UnixPeer {
    /// 0: the peer is in another pid namespace.
    pub(crate) pid: i32,
    pub(crate) user: u32,
}

/// Asks the kernel, which recorded the peer when the sockets were connected (unix(7), SO_PEERCRED).
#[cfg(target_os = "linux")]
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

#[cfg(not(target_os = "linux"))]
pub(crate) fn unix_peer(_socket: BorrowedFd<'_>) -> io::Result<UnixPeer> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = unix_peer(one.as_fd()).unwrap();
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
        assert_eq!(peer.user, rustix::process::geteuid().as_raw());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(unix_peer(file.as_fd()).is_err());
    }
}
