//! Inherited listening sockets: checks that they can be used and determines their addresses. Their backlog and files
//! belong to the process that bound them and are not changed.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use lockgate_config::BindAddress;
use rustix::net::sockopt;
use socket2::SockRef;

use crate::os::{duplicate_inherited, is_listening};
use crate::sockets::bind_error::BindError;

/// A handle to the socket with this number, and its address if it can be represented.
pub(super) fn adopt(number: i32) -> Result<(OwnedFd, Option<BindAddress>), BindError> {
    let socket = duplicate_inherited(number).map_err(BindError::Failed)?;
    let listens = is_listening(socket.as_fd());
    let is_stream =
        sockopt::socket_type(&socket).is_ok_and(|kind| kind == rustix::net::SocketType::STREAM);
    if !listens || !is_stream {
        return Err(BindError::NotListening);
    }
    // The flag is shared with the process that passed the socket; accept must never block a worker.
    rustix::io::ioctl_fionbio(socket.as_fd(), true)
        .map_err(|errno| BindError::Failed(errno.into()))?;
    let address = real_address(&socket);
    if matches!(address, Some(BindAddress::Tcp { .. })) {
        // As for sockets that this server binds. If it fails, responses of several segments wait for the client's acknowledgements.
        let _slower = sockopt::set_tcp_nodelay(&socket, true);
    }
    Ok((socket, address))
}

fn real_address(socket: &OwnedFd) -> Option<BindAddress> {
    let address = SockRef::from(socket).local_addr().ok()?;
    if let Some(internet) = address.as_socket() {
        let host: IpAddr = internet.ip();
        return Some(BindAddress::Tcp {
            host: host.to_string(),
            port: internet.port(),
        });
    }
    if let Some(path) = address.as_pathname() {
        return Some(BindAddress::Unix(path.to_owned()));
    }
    let name = address.as_abstract_namespace()?;
    Some(BindAddress::Abstract(name.to_vec()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    #[test]
    fn an_adopted_socket_has_its_real_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let name = format!("lockgate-adopted-{}", std::process::id());
        let tcp = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let tcp = tcp.unwrap();
        let at = tcp.local_addr().unwrap();
        let hidden = SocketAddr::from_abstract_name(&name).unwrap();
        let cases: [(OwnedFd, String); 3] = [
            (tcp.into(), at.to_string()),
            (
                UnixListener::bind(&path).unwrap().into(),
                format!("unix:{}", path.display()),
            ),
            (
                UnixListener::bind_addr(&hidden).unwrap().into(),
                format!("unix:@{name}"),
            ),
        ];
        for (socket, expected) in cases {
            let (copy, address) = adopt(socket.as_raw_fd()).unwrap();
            assert_eq!(address.unwrap().to_string(), expected);
            let flags = rustix::fs::fcntl_getfl(&copy).unwrap();
            assert!(flags.contains(rustix::fs::OFlags::NONBLOCK), "{expected}");
        }
        assert!(path.exists());
    }
}
