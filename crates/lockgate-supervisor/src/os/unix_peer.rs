//! The process at the other end of a unix socket.

/// The peer of a unix socket: the process that connected it or listens on it.
pub(crate) struct UnixPeer {
    /// 0: unknown, as that of a process in another pid namespace.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux needs it")
    )]
    pub(crate) pid: i32,
    pub(crate) user: u32,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::os::unix_peer;
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
