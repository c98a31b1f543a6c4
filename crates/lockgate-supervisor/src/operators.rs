//! Operators' requests to the supervisor through the admin listener: authorization and transport.
//!
//! Invariant: the user is identified by the kernel's record of the peer, never by data in the request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketAddrAny, getpeername, getsockname};

use crate::channels::status::{StatusMessage, StatusSender};
use crate::os;
use crate::supervisor::Request;

/// The admin process's channel to the supervisor.
#[derive(Clone)]
pub struct OperatorRequests {
    status: Arc<StatusSender>,
    /// The supervisor's user id.
    owner: u32,
}

impl OperatorRequests {
    pub(crate) fn new(status: Arc<StatusSender>, owner: u32) -> Self {
        Self { status, owner }
    }

    /// The supervisor's user id.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether this user may make requests: the rule is that of sending a signal (kill(2)).
    pub fn may_request(&self, user: u32) -> bool {
        user == 0 || user == self.owner
    }

    /// Sends a request to the supervisor, to be done `times` times.
    ///
    /// # Errors
    /// When the supervisor has exited, or the pipe is full.
    pub fn send(&self, request: Request, times: u32) -> io::Result<()> {
        self.status
            .try_send(&StatusMessage::Requested { request, times })
    }
}

/// The user of the process at the other end of a local connection.
///
/// # Errors
/// When the user is unknown: on systems other than Linux, without /proc, after the peer has closed its socket.
pub fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let local = getsockname(socket)?;
    if local.address_family() == AddressFamily::UNIX {
        return Ok(os::unix_peer(socket)?.user);
    }
    let peer = getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    let (local, peer) = (address(local)?, address(peer)?);
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A machine without IPv6 has no second table.
        let text = match std::fs::read_to_string(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            outcome => outcome?,
        };
        if let Some(user) = owner_of(&text, peer, local) {
            return Ok(user);
        }
    }
    Err(io::ErrorKind::NotConnected.into())
}

fn address(name: SocketAddrAny) -> io::Result<SocketAddr> {
    let address = SocketAddr::try_from(name)?;
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// `01` in the table: both ends are open.
const ESTABLISHED: &str = "01";

/// The user of the socket that is connected from `from` to `to` (proc(5), /proc/net/tcp).
///
/// Only an established socket counts: after its process has closed it, the table lists user 0.
fn owner_of(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let ends = (parse(fields.next()?)?, parse(fields.next()?)?);
        let state = fields.next()?;
        let user = fields.nth(3)?;
        let inode = fields.nth(1)?;
        let is_it = ends == (from, to) && state == ESTABLISHED && inode != "0";
        is_it.then(|| user.parse().ok()).flatten()
    })
}

/// `0100007F:1F90`: the words of the address in memory order, and the port.
fn parse(end: &str) -> Option<SocketAddr> {
    let (address, port) = end.split_once(':')?;
    let word = |text: &str| Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(word(address)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(address.get(8 * index..8 * index + 8)?)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::status::status_channel;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::process::geteuid;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:D431 0100007F:2328 01 00000000:00000000 00:00000000 00000000  1000        0 102 1 0 20 4 30 10 -1
   2: 0100007F:D432 0100007F:2328 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   3: 0100007F:D433 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   4: 0000000000000000FFFF00000100007F:D434 0000000000000000FFFF00000100007F:2328 01 0:0 0:0 0 7 0 103 1 0
   5: 00000000000000000000000001000000:D435 00000000000000000000000001000000:2328 01 0:0 0:0 0 8 0 104 1 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn only_an_open_socket_has_an_owner() {
        let table: &[(&str, &str, Option<u32>)] = &[
            ("127.0.0.1:54321", "127.0.0.1:9000", Some(1000)),
            ("127.0.0.1:9000", "127.0.0.1:54321", None),
            // Closed by its process: the table lists root.
            ("127.0.0.1:54322", "127.0.0.1:9000", None),
            ("127.0.0.1:54323", "127.0.0.1:9000", None),
            ("127.0.0.1:54324", "127.0.0.1:9000", Some(7)),
            ("[::1]:54325", "[::1]:9000", Some(8)),
            ("127.0.0.1:54326", "127.0.0.1:9000", None),
        ];
        for (from, to, owner) in table {
            let found = owner_of(TABLE, from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(found, *owner, "{from}");
        }
        assert_eq!(
            owner_of("", "[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap()),
            None
        );
    }

    #[test]
    fn both_ends_of_a_local_connection_belong_to_this_user() {
        let user = geteuid().as_raw();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(peer_user(ours.as_fd()).unwrap(), user);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        assert_eq!(peer_user(ours.as_fd()).unwrap(), user);
        drop(theirs);
        assert!(
            peer_user(ours.as_fd()).is_err(),
            "a closed socket has no owner"
        );
    }

    #[test]
    fn root_and_the_user_of_the_supervisor_may_make_requests() {
        let (mut receiver, sender) = status_channel().unwrap();
        let requests = OperatorRequests::new(Arc::new(sender), 1000);
        let may: Vec<u32> = (0..3000)
            .filter(|user| requests.may_request(*user))
            .collect();
        assert_eq!(may, [0, 1000]);
        requests.send(Request::Reload, 1).unwrap();
        let (request, times) = (Request::Reload, 1);
        assert_eq!(
            receiver.read(),
            [StatusMessage::Requested { request, times }]
        );
        drop(receiver);
        assert!(requests.send(Request::Terminate, 1).is_err());
    }
}
