//! What differs between systems: system calls and flags that Linux has, and what macOS and FreeBSD have in their place.

#[cfg(not(target_os = "linux"))]
#[path = "os/bsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "os/linux.rs"]
mod system;

pub use self::system::*;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, Timespec, poll};
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn the_end_of_a_peer_is_seen_also_behind_bytes() {
        type Case = (&'static str, fn(&mut UnixStream), [bool; 2]);
        let cases: [Case; 3] = [
            (
                "bytes",
                |peer| peer.write_all(b"1").unwrap(),
                [false, false],
            ),
            (
                "bytes and the end",
                |peer| {
                    peer.write_all(b"1").unwrap();
                    peer.shutdown(Shutdown::Write).unwrap();
                },
                [true, false],
            ),
            (
                "closed",
                |peer| peer.shutdown(Shutdown::Both).unwrap(),
                [true, true],
            ),
        ];
        for (name, act, [ended, is_dead]) in cases {
            let (mut peer, own) = UnixStream::pair().unwrap();
            act(&mut peer);
            let mut watched = [PollFd::from_borrowed_fd(own.as_fd(), PEER_END)];
            poll(&mut watched, Some(&Timespec::default())).unwrap();
            let seen = peer_end(watched[0].revents());
            assert_eq!(seen.read_closed || seen.hung_up, ended, "{name}");
            // Only Linux tells one end from both.
            assert!(!seen.hung_up || is_dead, "{name}");
        }
    }

    #[test]
    fn an_accepted_socket_blocks_neither_and_no_program_inherits_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let nothing = accept(&listener).map(drop);
        assert_eq!(nothing, Err(rustix::io::Errno::AGAIN));
        let _client = UnixStream::connect(&path).unwrap();
        let (socket, _) = accept(&listener).unwrap();
        let flags = rustix::io::fcntl_getfd(&socket).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let empty = rustix::io::read(&socket, &mut [0u8; 1][..]);
        assert_eq!(empty, Err(rustix::io::Errno::AGAIN));
    }

    #[test]
    fn random_bytes_fill_the_whole_buffer_and_differ() {
        let [mut first, mut second] = [[0; 64]; 2];
        fill_random(&mut first).unwrap();
        fill_random(&mut second).unwrap();
        assert!(first != second && first[32..] != [0; 32]);
        assert!(thread_id() > 0);
    }
}
