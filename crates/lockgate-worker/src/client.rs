//! Who sent a request, and which listener it arrived at, as text for CGI variables and logs.

use std::net::IpAddr;
use std::sync::OnceLock;

/// The client of a request, as text for CGI variables and logs: the peer of the connection, or the client that a
/// trusted proxy names. Both texts are empty on a unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Host and port, in one allocation: every connection has a client.
    text: Box<str>,
    host_length: usize,
    /// Read from the text when it is asked for first: a connection may have many requests.
    address: OnceLock<Option<IpAddr>>,
    proxy: Option<Box<ProxyEnd>>,
}

impl Client {
    /// A client with the address of its host, without the port, and the port in decimal.
    pub fn new(host: &str, port: &str) -> Self {
        Self {
            text: [host, port].concat().into(),
            host_length: host.len(),
            address: OnceLock::new(),
            proxy: None,
        }
    }

    /// The same client, which a PROXY header has named; `end` is the address that it was connected to.
    #[must_use]
    pub fn behind_proxy(self, end: Option<Box<ProxyEnd>>) -> Self {
        Self { proxy: end, ..self }
    }

    /// Address without port: `127.0.0.1`, `::1`.
    pub fn host(&self) -> &str {
        self.text.get(..self.host_length).unwrap_or_default()
    }

    /// The address of its host; `None` on a unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        *self.address.get_or_init(|| self.host().parse().ok())
    }

    /// Port in decimal; empty when a proxy has not given it.
    pub fn port(&self) -> &str {
        self.text.get(self.host_length..).unwrap_or_default()
    }

    /// The address that the client was connected to, when a PROXY header has given it.
    pub fn proxy(&self) -> Option<&ProxyEnd> {
        self.proxy.as_deref()
    }

    /// For the error log.
    pub(crate) fn shown(&self) -> &str {
        match self.host() {
            "" => ON_UNIX_SOCKET,
            host => host,
        }
    }
}

/// How a client without an address is shown.
pub(crate) const ON_UNIX_SOCKET: &str = "a client on a unix socket";

/// The address that a client connected to, as given by a PROXY header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyEnd {
    /// `TCP4` or `TCP6`.
    pub protocol: &'static str,
    /// Address without port.
    pub host: String,
    /// Port in decimal.
    pub port: String,
}

/// The listener that accepted the connection; its address is text for `SERVER_NAME` and `SERVER_PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// Address; `localhost` on a unix socket.
    pub server_name: String,
    /// Port in decimal; empty on a unix socket.
    pub server_port: String,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// Whether the uwsgi protocol is spoken there.
    pub is_uwsgi: bool,
}
