//! Why an address cannot be listened on, and what the operator can do about it.

use std::fmt;
use std::io;

use lockgate_config::BindAddress;
use lockgate_observe::{GunicornAddress, GunicornEvent};
use rustix::io::Errno;

/// An address that could not be listened on.
#[derive(Debug)]
pub(crate) struct BindFailure {
    pub(crate) address: BindAddress,
    pub(crate) error: BindError,
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub(crate) enum BindError {
    /// Another process listens on this unix socket.
    Occupied,
    /// The path of a unix socket is a file of another kind.
    NotASocket,
    /// The file at the path was replaced while the socket was bound.
    Replaced,
    /// The inherited descriptor is not a listening stream socket.
    NotListening,
    /// No socket was passed under this name.
    NotPassed,
    /// The host name does not resolve.
    UnknownHost(io::Error),
    /// A system call failed.
    Failed(io::Error),
}

impl BindFailure {
    /// Whether another process listens there, which may be about to stop.
    pub(crate) fn is_in_use(&self) -> bool {
        match &self.error {
            BindError::Occupied => true,
            BindError::Failed(error) => error.kind() == io::ErrorKind::AddrInUse,
            _ => false,
        }
    }
}

impl BindFailure {
    /// The address as gunicorn logs it.
    pub(crate) fn gunicorn_address(&self) -> GunicornAddress {
        match &self.address {
            BindAddress::Tcp { host, port } => GunicornAddress::Tcp(host.clone(), *port),
            BindAddress::Unix(path) => GunicornAddress::Other(path.display().to_string()),
            other => GunicornAddress::Other(other.to_string()),
        }
    }

    /// The failure as gunicorn logs it.
    pub(crate) fn as_gunicorn(&self) -> GunicornEvent {
        let is_invalid = matches!(
            &self.error,
            BindError::Failed(error) if error.kind() == io::ErrorKind::AddrNotAvailable
        );
        GunicornEvent::CannotListen {
            address: self.gunicorn_address(),
            is_invalid,
            detail: self.to_string(),
        }
    }
}

/// One line: the address, what is wrong, what to do.
impl fmt::Display for BindFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        match &self.error {
            BindError::Occupied => {
                write!(
                    out,
                    "another process listens on {address}: stop it or choose another --bind"
                )
            }
            BindError::NotASocket => {
                write!(
                    out,
                    "cannot listen on {address}: the path exists and is not a socket; move it or choose another --bind"
                )
            }
            BindError::Replaced => {
                write!(
                    out,
                    "cannot listen on {address}: another process replaced the file during the bind; \
                       let only root and the user of the workers write to its directory, or choose another --bind"
                )
            }
            BindError::NotListening => {
                write!(
                    out,
                    "cannot use {address}: the descriptor is not a listening stream socket; \
                       pass one from the process that starts the server (in a .socket unit: ListenStream=, Accept=no), \
                       or choose another --bind"
                )
            }
            BindError::NotPassed => {
                write!(
                    out,
                    "cannot listen on {address}: no such socket was passed; choose another --bind"
                )
            }
            BindError::UnknownHost(error) => {
                write!(
                    out,
                    "cannot listen on {address}: the host has no address ({error}); \
                       use an address of this machine, or 0.0.0.0 for all"
                )
            }
            BindError::Failed(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                let Some(advice) = errno.and_then(|errno| advice(address, errno)) else {
                    return write!(out, "cannot listen on {address}: {error}");
                };
                if errno == Some(Errno::ADDRINUSE) {
                    write!(
                        out,
                        "another process listens on {address}: {advice} ({error})"
                    )?;
                    return match address {
                        BindAddress::Tcp { port, .. } => {
                            write!(out, "; `ss -ltnp sport = :{port}` names it")
                        }
                        _ => Ok(()),
                    };
                }
                write!(out, "cannot listen on {address}: {error}; {advice}")
            }
        }
    }
}

fn advice(address: &BindAddress, errno: Errno) -> Option<String> {
    match (address, errno) {
        (_, Errno::ADDRINUSE) => Some("stop it or choose another --bind".to_owned()),
        (BindAddress::Tcp { port: ..1024, .. }, Errno::ACCESS) => {
            Some("ports below 1024 need root or CAP_NET_BIND_SERVICE (in a unit of systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE): \
                  choose a higher port with --bind".to_owned())
        }
        (BindAddress::Tcp { host, .. }, Errno::ADDRNOTAVAIL) => {
            Some(format!("{host} is not an address of this machine: use one that is, or 0.0.0.0 for all"))
        }
        (BindAddress::Tcp { .. }, Errno::AFNOSUPPORT) => {
            Some("this machine has no IPv6: use an IPv4 address".to_owned())
        }
        (BindAddress::Unix(_), Errno::NOENT) => Some("create the directory first".to_owned()),
        (BindAddress::Unix(_), Errno::ACCESS | Errno::ROFS) => {
            Some("the server must be allowed to write to the directory".to_owned())
        }
        // bind(2) fails otherwise: this is chown(2).
        (BindAddress::Unix(_), Errno::PERM) => {
            Some("the socket belongs to --user and --group, and without root a server can give it only to a group that \
                  its user is a member of: usermod -a -G GROUP USER".to_owned())
        }
        (BindAddress::Fd(_), Errno::BADF) => {
            Some("nothing is open under this number: the process that starts the server must pass the socket".to_owned())
        }
        _ => None,
    }
}
