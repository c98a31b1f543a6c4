//! What the descriptors are that threads wait for.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;

use lockgate_worker::os::abstract_name;
use rustix::fs::FileType;
use rustix::net::SocketAddrAny;

use crate::ffi::own_memory;

/// What a descriptor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// With the address of its peer; empty if it has none.
    Socket(String),
    File,
    Other,
}

/// The descriptors of the process that is sampled.
pub(super) trait Descriptors {
    fn kind(&self, number: i32) -> Descriptor;

    /// The first ones that an epoll descriptor has; `None` if that is not known.
    fn members(&self, number: i32) -> Option<Vec<u64>>;
}

/// The descriptors of this process.
pub(super) struct OwnDescriptors {
    /// The ports of the server: what is connected to them are clients, each with a port of its own.
    pub(super) ports: Vec<u16>,
}

/// The peer of connections to the server.
const CLIENT: &str = "client";

/// Bytes that are read of what an epoll descriptor has; a member takes some 80.
const MOST_MEMBERS: u64 = 8 << 10;

impl Descriptors for OwnDescriptors {
    fn members(&self, number: i32) -> Option<Vec<u64>> {
        let file = File::open(format!("/proc/self/fdinfo/{number}")).ok()?;
        let mut text = String::new();
        file.take(MOST_MEMBERS).read_to_string(&mut text).ok()?;
        Some(members(&text))
    }

    fn kind(&self, number: i32) -> Descriptor {
        match own_memory::file_type(number) {
            Some(FileType::Socket) => Descriptor::Socket(self.peer(number)),
            Some(FileType::RegularFile | FileType::BlockDevice | FileType::Directory) => {
                Descriptor::File
            }
            _ => Descriptor::Other,
        }
    }
}

impl OwnDescriptors {
    fn peer(&self, number: i32) -> String {
        let Some((own, peer)) = own_memory::socket_addresses(number) else {
            return String::new();
        };
        let port = |address: &SocketAddrAny| {
            let address = SocketAddr::try_from(address.clone()).ok();
            address.map(|address| address.port())
        };
        if port(&own).is_some_and(|port| self.ports.contains(&port)) {
            return CLIENT.to_owned();
        }
        match SocketAddr::try_from(peer.clone()) {
            Ok(address) => address.to_string(),
            Err(_) => unix_path(&peer).unwrap_or_default(),
        }
    }
}

/// The descriptors that an epoll descriptor has (proc(5), `tfd`).
fn members(text: &str) -> Vec<u64> {
    // The last line may have been cut.
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let lines = whole.lines();
    lines
        .filter_map(|line| line.strip_prefix("tfd:"))
        .filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .collect()
}

/// The path of a unix socket; `@name` for an abstract one.
fn unix_path(address: &SocketAddrAny) -> Option<String> {
    let unix = rustix::net::SocketAddrUnix::try_from(address.clone()).ok()?;
    if let Some(path) = unix.path() {
        return Some(path.to_string_lossy().into_owned());
    }
    // The kernel gives the ends of a socketpair(2) no name.
    let name = abstract_name(&unix).filter(|name| !name.is_empty())?;
    Some(format!("@{}", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::UnixStream;

    use rustix::event::epoll;

    use super::*;

    #[test]
    fn the_ends_of_a_socket_pair_have_no_name() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = OwnDescriptors { ports: Vec::new() };
        let expected = Descriptor::Socket(String::new());
        assert_eq!(own.kind(one.as_raw_fd()), expected);
    }

    #[test]
    fn members_of_an_epoll_descriptor_are_known() {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let own = OwnDescriptors { ports: Vec::new() };
        let number = poller.as_raw_fd();
        assert_eq!(own.members(number), Some(vec![]));
        let (reader, writer) = io::pipe().unwrap();
        for member in [reader.as_fd(), writer.as_fd()] {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&poller, member, data, epoll::EventFlags::IN).unwrap();
        }
        let mut found = own.members(number).unwrap();
        found.sort_unstable();
        let mut expected = [reader.as_raw_fd(), writer.as_raw_fd()].map(i32::cast_unsigned);
        expected.sort_unstable();
        assert_eq!(found, expected.map(u64::from));
        assert_eq!(own.members(-1), None);
    }
}
