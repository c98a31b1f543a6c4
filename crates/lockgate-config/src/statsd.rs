//! Settings for metrics that are sent to statsd.

use std::fmt;
use std::path::PathBuf;

/// Metrics that are sent to statsd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsdConfig {
    /// Where they are sent; `None`: they are not.
    pub address: Option<StatsdAddress>,
    /// The beginning of each name.
    pub prefix: String,
    /// Tags of DogStatsD, separated by commas.
    pub tags: String,
    /// Whether connections that wait for accept are counted.
    pub has_backlog: bool,
}

impl StatsdConfig {
    /// The path of the socket, if it is one in the file system.
    pub(crate) fn path(&mut self) -> Option<&mut PathBuf> {
        match &mut self.address {
            Some(StatsdAddress::Unix(path)) => Some(path),
            _ => None,
        }
    }
}

/// The address of a statsd server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatsdAddress {
    /// Over UDP.
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A datagram socket in the file system.
    Unix(PathBuf),
}

const DEFAULT_PORT: u16 = 8125;

impl StatsdAddress {
    /// Parses `HOST`, `HOST:PORT`, `[v6]:PORT` or `unix://PATH`; `None` if it is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("unix://").or_else(|| {
            // In gunicorn `unix:8125` is a host with this name.
            let path = text.strip_prefix("unix:")?;
            path.parse::<u16>().is_err().then_some(path)
        });
        if let Some(path) = path {
            return (!path.is_empty()).then(|| Self::Unix(PathBuf::from(path)));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                (
                    host,
                    rest.strip_prefix(':').or(rest.is_empty().then_some("")),
                )
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let port = match port? {
            "" => DEFAULT_PORT,
            port => port.parse().ok().filter(|port| *port > 0)?,
        };
        let is_host = !host.is_empty() && !host.contains(['/', ' ', ']']);
        is_host.then(|| Self::Udp {
            host: host.to_owned(),
            port,
        })
    }
}

/// As the setting takes it.
impl fmt::Display for StatsdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Udp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_gunicorn_reads_it() {
        for (text, shown) in [
            ("localhost:9125", Some("localhost:9125")),
            ("statsd", Some("statsd:8125")),
            ("10.0.0.1:1", Some("10.0.0.1:1")),
            ("[::1]:8125", Some("[::1]:8125")),
            ("[::1]", Some("[::1]:8125")),
            ("unix:///run/statsd.sock", Some("unix:///run/statsd.sock")),
            ("unix:run/statsd.sock", Some("unix://run/statsd.sock")),
            ("unix:8125", Some("unix:8125")),
            ("", None),
            ("unix://", None),
            (":8125", None),
            ("host:0", None),
            ("host:port", None),
            ("http://host:1", None),
            ("::1", None),
            ("[::1]8125", None),
        ] {
            let address = StatsdAddress::parse(text);
            assert_eq!(address.map(|it| it.to_string()).as_deref(), shown, "{text}");
        }
    }
}
