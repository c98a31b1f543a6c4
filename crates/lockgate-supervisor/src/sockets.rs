//! Listening sockets: binds every address of the configuration and explains failures to the operator.
//!
//! All sockets are non-blocking and close-on-exec. `reuse_port` sets the option on the one socket that all workers
//! share, so that another server may bind the same address; workers do not have sockets of their own.

mod adopted;
mod bind_error;
mod retry;
mod standalone;
mod unix_socket;

pub(crate) use bind_error::BindFailure;
pub(crate) use retry::bind_with_retry;
pub use standalone::{ListenError, StandaloneSockets};

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use lockgate_config::{Bind, BindAddress, Config, Endpoint, Scheme};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::handover::payload::{self, HandoverError};
use bind_error::BindError;
use unix_socket::SocketFile;

/// One listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The configured address.
    configured: BindAddress,
    /// The resolved address: with the real port and IP address.
    address: BindAddress,
    /// What is spoken there, by the present settings.
    scheme: Scheme,
    /// `None` after the supervisor has closed it.
    socket: Option<OwnedFd>,
    file: Option<SocketFile>,
}

impl Listener {
    /// Closes the socket; the file stays until [`remove_file`](Self::remove_file).
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }

    /// A second handle to the same socket and its file.
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            configured: self.configured.clone(),
            address: self.address.clone(),
            scheme: self.scheme,
            socket: self.socket.as_ref().map(OwnedFd::try_clone).transpose()?,
            file: self.file.clone(),
        })
    }

    /// The handover entry for the next program in this process.
    ///
    /// # Errors
    /// With a name that is not UTF-8.
    pub(crate) fn describe(&self, fd: RawFd) -> Result<payload::ListenerEntry, HandoverError> {
        let text = |address: &BindAddress| {
            let text = address.to_string();
            match BindAddress::parse(&text) {
                Ok(parsed) if parsed == *address => Ok(text),
                _ => Err(HandoverError::NotRepresentable(text)),
            }
        };
        let file = match &self.file {
            None => None,
            Some(file) => Some(
                file.identity()
                    .ok_or_else(|| HandoverError::NotRepresentable(self.configured.to_string()))?,
            ),
        };
        Ok(payload::ListenerEntry {
            fd,
            configured: text(&self.configured)?,
            address: text(&self.address)?,
            file,
        })
    }

    /// The socket, until the supervisor has closed it.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// A socket that the previous program in this process has handed over. What is spoken there follows from the
    /// settings: see [`set_scheme`](Self::set_scheme).
    ///
    /// # Errors
    /// When its addresses are invalid.
    pub(crate) fn inherited(entry: &payload::ListenerEntry, socket: OwnedFd) -> io::Result<Self> {
        let address = |text: &str| {
            BindAddress::parse(text)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, text.to_owned()))
        };
        let file = entry.file.as_ref();
        Ok(Self {
            configured: address(&entry.configured)?,
            address: address(&entry.address)?,
            scheme: Scheme::Http,
            socket: Some(socket),
            file: file.map(|(path, device, inode)| SocketFile::known(path.into(), *device, *inode)),
        })
    }

    /// Determines what is spoken there by these settings.
    pub(crate) fn set_scheme(&mut self, config: &Config) {
        let mut binds = config.bind.iter();
        let bind = binds.find(|bind| bind.address == self.configured);
        let bind = bind
            .cloned()
            .unwrap_or_else(|| Bind::from(self.address.clone()));
        self.scheme = config.scheme_at(&bind, &self.address);
    }

    /// Whether only this machine can reach it.
    pub(crate) fn is_private(&self) -> bool {
        self.address.is_private()
    }

    /// Whether the other one is the same socket and speaks the same.
    pub(crate) fn is_unchanged(&self, other: &Self) -> bool {
        self.is_same(other) && self.scheme == other.scheme
    }

    /// Whether both are, or were, the same socket.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.file == other.file
    }

    /// The part that a worker keeps; the file stays with the supervisor.
    pub(crate) fn into_socket(self) -> Option<(Endpoint, OwnedFd)> {
        Some((self.endpoint(), self.socket?))
    }

    /// The real address, and what is spoken there.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address.clone(),
            scheme: self.scheme,
        }
    }

    /// Final cleanup: removes the socket file.
    pub(crate) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// The users who may connect, if that is restricted; for the log.
    pub(crate) fn access_note(&self) -> String {
        let access = self.file.as_ref().and_then(SocketFile::access);
        access.map_or_else(String::new, |access| access.note())
    }
}

/// Listens on every address of the configuration; after the first failure nothing stays bound. A socket in `present`
/// with the same configured address is reused.
///
/// Files of unix sockets get the owner's user and group.
pub(crate) fn bind(
    config: &Config,
    owner: Option<(u32, u32)>,
    present: &[Listener],
) -> Result<Vec<Listener>, BindFailure> {
    let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
    let mut listeners: Vec<Listener> = Vec::new();
    for configured in &config.bind {
        let address = &configured.address;
        let mut kept = present
            .iter()
            .filter(|listener| listener.configured == *address)
            .peekable();
        let bound = match address {
            _ if kept.peek().is_some() => kept
                .map(Listener::try_clone)
                .collect::<io::Result<Vec<_>>>()
                .map_err(BindError::Failed),
            BindAddress::Tcp { host, port } => tcp(host, *port, config, backlog),
            BindAddress::Unix(path) => {
                unix_socket::listen(path, backlog, config.umask.is_some(), owner).map(
                    |(socket, file)| {
                        vec![Listener {
                            configured: address.clone(),
                            address: address.clone(),
                            scheme: Scheme::Http,
                            socket: Some(socket),
                            file: Some(file),
                        }]
                    },
                )
            }
            BindAddress::Abstract(name) => abstract_socket(name, backlog)
                .map_err(BindError::Failed)
                .map(|socket| listener(address, socket)),
            BindAddress::Fd(number) => adopted::adopt(*number).map(|(socket, real)| {
                vec![Listener {
                    address: real.unwrap_or_else(|| address.clone()),
                    configured: address.clone(),
                    scheme: Scheme::Http,
                    socket: Some(socket),
                    file: None,
                }]
            }),
            BindAddress::Systemd(_) => Err(BindError::NotPassed),
        };
        match bound {
            Ok(bound) => listeners.extend(bound.into_iter().map(|mut listener| {
                listener.scheme = config.scheme_at(configured, &listener.address);
                listener
            })),
            Err(error) => {
                listeners
                    .iter()
                    .filter(|listener| !present.iter().any(|kept| kept.is_same(listener)))
                    .for_each(Listener::remove_file);
                return Err(BindFailure {
                    address: address.clone(),
                    error,
                });
            }
        }
    }
    Ok(listeners)
}

fn listener(address: &BindAddress, socket: OwnedFd) -> Vec<Listener> {
    vec![Listener {
        configured: address.clone(),
        address: address.clone(),
        scheme: Scheme::Http,
        socket: Some(socket),
        file: None,
    }]
}

/// A host name is bound at all its addresses (`localhost` at 127.0.0.1 and ::1), except those whose family or address
/// this machine does not have; with port 0 only at the first, because each would get a different port.
fn tcp(host: &str, port: u16, config: &Config, backlog: i32) -> Result<Vec<Listener>, BindError> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port)
        .to_socket_addrs()
        .map_err(BindError::UnknownHost)?
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // A machine without IPv6 has IPv4 addresses only.
    let every_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    if host == "::" && !has_ipv4_at(config, port) {
        addresses.push(every_ipv4);
    }
    let mut failure = BindError::UnknownHost(io::Error::from(io::ErrorKind::NotFound));
    let mut listeners = Vec::new();
    for address in addresses {
        if address == every_ipv4 && !listeners.is_empty() {
            break;
        }
        match tcp_socket(address, config, backlog) {
            Ok(socket) => {
                let real = socket
                    .local_addr()
                    .ok()
                    .and_then(|local| local.as_socket())
                    .unwrap_or(address);
                let address = BindAddress::Tcp {
                    host: real.ip().to_string(),
                    port: real.port(),
                };
                listeners.push(Listener {
                    configured: BindAddress::Tcp {
                        host: host.to_owned(),
                        port,
                    },
                    address,
                    scheme: Scheme::Http,
                    socket: Some(socket.into()),
                    file: None,
                });
                if port == 0 {
                    break;
                }
            }
            Err(error) if is_missing_here(&error) => failure = BindError::Failed(error),
            Err(error) => return Err(BindError::Failed(error)),
        }
    }
    if listeners.is_empty() {
        Err(failure)
    } else {
        Ok(listeners)
    }
}

fn is_missing_here(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn tcp_socket(address: SocketAddr, config: &Config, backlog: i32) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let SocketAddr::V6(v6) = address {
        // A dual-stack [::] (the system's default) also takes the IPv4 port, which 0.0.0.0 beside it needs.
        if *v6.ip() != Ipv6Addr::UNSPECIFIED || has_ipv4_at(config, v6.port()) {
            socket.set_only_v6(true)?;
        }
    }
    socket.set_reuse_address(true)?;
    if config.reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // On Linux accepted sockets inherit this, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether an IPv4 address is configured with this port.
fn has_ipv4_at(config: &Config, wanted: u16) -> bool {
    let is_v4 = |host: &str| host.parse::<std::net::Ipv4Addr>().is_ok();
    let mut addresses = config.bind.iter();
    addresses.any(|bind| matches!(&bind.address, BindAddress::Tcp { host, port } if *port == wanted && is_v4(host)))
}

fn abstract_socket(name: &[u8], backlog: i32) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt;
    let path = [b"\0", name].concat();
    let address = SockAddr::unix(std::ffi::OsStr::from_bytes(&path))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::AppSpec;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn config(bind: Vec<BindAddress>) -> Config {
        let app = AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        };
        Config {
            bind: bind.into_iter().map(Bind::from).collect(),
            ..Config::with_defaults(app)
        }
    }

    fn on(host: &str, port: u16) -> BindAddress {
        BindAddress::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    /// The port of the first listener, and a client's connection to it.
    fn connect(listener: &Listener) -> (u16, TcpStream) {
        let BindAddress::Tcp { host, port } = &listener.address else {
            panic!("{listener:?}")
        };
        (*port, TcpStream::connect((host.as_str(), *port)).unwrap())
    }

    #[test]
    fn port_zero_is_replaced_by_the_real_one() {
        let listeners = bind(&config(vec![on("127.0.0.1", 0)]), None, &[]).unwrap();
        let (port, _client) = connect(&listeners[0]);
        assert_eq!(
            listeners[0].endpoint().to_string(),
            format!("http://127.0.0.1:{port}")
        );
        assert_ne!(port, 0);
    }

    #[test]
    fn accepted_sockets_inherit_nodelay_and_the_listener_never_blocks() {
        let mut listeners = bind(&config(vec![on("127.0.0.1", 0)]), None, &[]).unwrap();
        let (_, _client) = connect(&listeners[0]);
        let listener = TcpListener::from(listeners[0].socket.take().unwrap());
        // The handshake of a loopback connection is complete when connect returns.
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn both_wildcards_can_be_bound_together() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        match bind(
            &config(vec![on("0.0.0.0", free), on("::", free)]),
            None,
            &[],
        ) {
            Ok(listeners) => {
                let (port, _client) = connect(&listeners[0]);
                assert_eq!((listeners.len(), port), (2, free));
            }
            // A machine without IPv6 cannot test this.
            Err(failure) => assert!(failure.to_string().contains("no IPv6"), "{failure}"),
        }
    }

    #[test]
    fn a_name_is_bound_at_an_address_that_the_machine_has() {
        let listeners = bind(&config(vec![on("localhost", 0)]), None, &[]).unwrap();
        assert_eq!(listeners.len(), 1);
        connect(&listeners[0]);
    }

    #[test]
    fn a_failure_is_explained_and_removes_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let failure = bind(
            &config(vec![BindAddress::Unix(path.clone()), on("127.0.0.1", port)]),
            None,
            &[],
        )
        .unwrap_err();
        let start = format!(
            "another process listens on 127.0.0.1:{port}: stop it or choose another --bind"
        );
        assert!(failure.to_string().starts_with(&start), "{failure}");
        assert!(!path.exists());
        let refusals = [
            (
                on("192.0.2.1", 8000),
                "192.0.2.1 is not an address of this machine",
            ),
            (
                on("host.invalid", 8000),
                "cannot listen on host.invalid:8000: the host has no address",
            ),
            (
                BindAddress::Unix("/nonexistent/app.sock".into()),
                "create the directory first",
            ),
            (BindAddress::Fd(9999), "nothing is open under this number"),
        ];
        for (address, words) in refusals {
            let failure = bind(&config(vec![address]), None, &[])
                .unwrap_err()
                .to_string();
            assert!(failure.contains(words), "{failure}");
        }
    }

    #[test]
    fn privileged_ports_are_explained() {
        let error = BindError::Failed(io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error()));
        let failure = BindFailure {
            address: on("0.0.0.0", 80),
            error,
        }
        .to_string();
        assert!(
            failure.contains("ports below 1024 need root or CAP_NET_BIND_SERVICE"),
            "{failure}"
        );
    }

    #[test]
    fn only_listening_stream_sockets_are_adopted() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = bind(
            &config(vec![BindAddress::Fd(listening.as_raw_fd())]),
            None,
            &[],
        )
        .unwrap();
        let real = listening.local_addr().unwrap();
        assert_eq!(
            listeners[0].endpoint().to_string(),
            format!("http://{real}")
        );
        assert_eq!(
            listeners[0].configured,
            BindAddress::Fd(listening.as_raw_fd())
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in [file.as_raw_fd(), datagram.as_raw_fd()] {
            let failure = bind(&config(vec![BindAddress::Fd(number)]), None, &[]).unwrap_err();
            assert!(
                matches!(failure.error, BindError::NotListening),
                "{failure}"
            );
        }
    }

    #[test]
    fn an_abstract_name_can_be_bound_once() {
        let name =
            BindAddress::Abstract(format!("lockgate-test-{}", std::process::id()).into_bytes());
        let _listeners = bind(&config(vec![name.clone()]), None, &[]).unwrap();
        let failure = bind(&config(vec![name]), None, &[])
            .unwrap_err()
            .to_string();
        assert!(
            failure.starts_with("another process listens on unix:@lockgate-test-"),
            "{failure}"
        );
    }

    #[test]
    fn with_reuse_port_two_servers_share_an_address() {
        let reuse = |port| Config {
            reuse_port: true,
            ..config(vec![on("127.0.0.1", port)])
        };
        let first = bind(&reuse(0), None, &[]).unwrap();
        let (port, _client) = connect(&first[0]);
        bind(&reuse(port), None, &[]).unwrap();
        assert!(bind(&config(vec![on("127.0.0.1", port)]), None, &[]).is_err());
    }
}
