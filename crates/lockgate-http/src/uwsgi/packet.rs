//! What a packet says besides the head of its request: the client, the server's name, the scheme, and the variables that
//! the web server adds.

use std::net::IpAddr;

use crate::span::Field;

/// Who sent the request to the web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RemoteAddress {
    /// The packet does not say.
    #[default]
    Absent,
    /// A client on a unix socket of the web server.
    Unix,
    /// This address; the port is 0 if the packet does not name it.
    Network(IpAddr, u16),
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) parameters: Vec<Field>,
    pub(super) remote: RemoteAddress,
    pub(super) is_https: bool,
    pub(super) server_name: Box<str>,
    pub(super) server_port: Option<u16>,
}

impl Packet {
    /// REMOTE_ADDR and REMOTE_PORT.
    pub fn remote_address(&self) -> RemoteAddress {
        self.remote
    }

    /// Whether the client used https: UWSGI_SCHEME, HTTPS or REQUEST_SCHEME, the first one that says something.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// SERVER_NAME, or else the host of the request; empty if there is neither.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// SERVER_PORT.
    pub fn server_port(&self) -> Option<u16> {
        self.server_port
    }

    /// Name and value of the variables that are no part of the request, such as REMOTE_USER or one that the operator has
    /// added. Of several with the same name, the last one counts.
    pub fn parameters(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.parameters
            .iter()
            .map(|pair| (pair.name.of(&self.bytes), pair.value.of(&self.bytes)))
    }
}
