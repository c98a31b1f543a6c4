//! What the descriptors are that threads wait for.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;

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
}

/// The descriptors of this process.
pub(super) struct OwnDescriptors {
    /// The ports of the server: what is connected to them are clients, each with a port of its own.
    pub(super) ports: Vec<u16>,
}

/// The peer of connections to the server.
const CLIENT: &str = "client";

impl Descriptors for OwnDescriptors {
    fn kind(&self, number: i32) -> Descriptor {
        let Ok(file) = fs::metadata(format!("/proc/self/fd/{number}")) else {
            return Descriptor::Other;
        };
        let kind = file.file_type();
        if kind.is_socket() {
            return Descriptor::Socket(self.peer(number));
        }
        match kind.is_file() || kind.is_block_device() || kind.is_dir() {
            true => Descriptor::File,
            false => Descriptor::Other,
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

/// The path of a unix socket; `@name` for an abstract one.
fn unix_path(address: &SocketAddrAny) -> Option<String> {
    let unix = rustix::net::SocketAddrUnix::try_from(address.clone()).ok()?;
    if let Some(path) = unix.path() {
        return Some(path.to_string_lossy().into_owned());
    }
    let name = unix.abstract_name()?;
    Some(format!("@{}", String::from_utf8_lossy(name)))
}
