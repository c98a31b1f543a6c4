//! Who sent a request, and which listener it arrived at, as text for CGI variables and logs.

/// The client of a request, as text for CGI variables and logs: the peer of the connection, or the client that a
/// trusted proxy names. Both texts are empty on a unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Address without port: `127.0.0.1`, `::1`.
    pub host: Box<str>,
    /// Port in decimal; empty when a proxy has not given it.
    pub port: Box<str>,
    /// The address that the client was connected to, when a PROXY header has given it.
    pub proxy: Option<Box<ProxyEnd>>,
}

impl Client {
    /// For the error log.
    pub(crate) fn shown(&self) -> &str {
        if self.host.is_empty() {
            "a client on a unix socket"
        } else {
            &self.host
        }
    }
}

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

/// The listener that accepted the connection, as text for `SERVER_NAME` and `SERVER_PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    /// Address; `localhost` on a unix socket.
    pub server_name: String,
    /// Port in decimal; empty on a unix socket.
    pub server_port: String,
}
