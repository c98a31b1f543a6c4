//! Access: who may come, by password, by another service's word, or by certificate.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// HTTP Basic (RFC 7617) over a file of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// Lines `name:hash`, with hashes of bcrypt or argon2id.
    pub users: PathBuf,
    /// The realm that clients show.
    pub realm: String,
}

/// Another service decides about each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuthConfig {
    /// `http://HOST:PORT/PATH` or `unix:PATH:/PATH`.
    pub url: ForwardAuthUrl,
    /// Names of fields that are copied from its 2xx response to the request. What a client sends under these names is
    /// removed from every request, on every path.
    pub copy: Vec<String>,
    /// How long a request waits for it.
    pub timeout: Duration,
}

/// Where the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuthUrl {
    /// The host and port, or the socket.
    pub address: ServiceAddress,
    /// The path and query that are requested.
    pub target: String,
}

/// Address of a service that the server asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAddress {
    /// A host, which may be a name, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// Which client certificates may come; `client_certificates` must ask for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateRule {
    /// Only those whose subject has one of these common names; empty: any.
    pub names: Vec<String>,
    /// Only those whose subject has one of these organizational units, the usual place of a group; empty: any.
    pub groups: Vec<String>,
}

/// As the setting takes it.
impl fmt::Display for ForwardAuthUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            ServiceAddress::Unix(path) => write!(f, "unix:{}:{}", path.display(), self.target),
            ServiceAddress::Tcp { host, port } if host.contains(':') => {
                write!(f, "http://[{host}]:{port}{}", self.target)
            }
            ServiceAddress::Tcp { host, port } => write!(f, "http://{host}:{port}{}", self.target),
        }
    }
}
