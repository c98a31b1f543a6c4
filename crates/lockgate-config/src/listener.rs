//! Listeners: an address with what is spoken there, as configured ([`Bind`]) and as bound ([`Endpoint`]).

use std::fmt;

use crate::{BindAddress, Config};

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// No TLS.
    Http,
    /// TLS.
    Https,
    /// The uwsgi protocol in place of HTTP, without TLS.
    Uwsgi,
}

/// A listen address as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The address, which identifies the socket: its scheme may change at a reload.
    pub address: BindAddress,
    /// `None`: it follows from `protocol`, from the address and from whether there are certificates; see
    /// [`Config::scheme_at`].
    pub scheme: Option<Scheme>,
}

/// A listening socket: the real address, never with port 0 or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: BindAddress,
    /// What is spoken there.
    pub scheme: Scheme,
}

/// Where plain HTTP is expected.
pub(crate) const HTTP_PORT: u16 = 80;

/// Where HTTPS is expected.
pub const HTTPS_PORT: u16 = 443;

impl Bind {
    /// Parses an address as [`BindAddress::parse`] does, where a TCP address may follow `http://` or `https://`, and any
    /// address `uwsgi://`. The error says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("uwsgi://") {
            let has_scheme = ["http://", "https://", "uwsgi://"]
                .iter()
                .any(|scheme| rest.starts_with(scheme));
            if has_scheme {
                return Err(format!(
                    "has two schemes; write {rest} or uwsgi://HOST:PORT"
                ));
            }
            if rest.starts_with('/') {
                return Err(format!(
                    "needs a kind of address; write uwsgi://unix:{rest}"
                ));
            }
            let address = rest.strip_suffix('/').filter(|_| is_tcp(rest));
            return Ok(Self {
                address: BindAddress::parse(address.unwrap_or(rest))?,
                scheme: Some(Scheme::Uwsgi),
            });
        }
        let schemes = [
            (Scheme::Http, text.strip_prefix("http://")),
            (Scheme::Https, text.strip_prefix("https://")),
        ];
        for (scheme, rest) in schemes {
            let Some(rest) = rest else { continue };
            let host = rest.strip_suffix('/').unwrap_or(rest);
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| !port.contains(']'));
            if scheme == Scheme::Https && !has_port && !host.is_empty() {
                return Err(format!("needs a port; write https://{host}:{HTTPS_PORT}"));
            }
            return Ok(Self {
                address: BindAddress::parse(&format!("tcp://{rest}"))?,
                scheme: Some(scheme),
            });
        }
        BindAddress::parse(text).map(Self::from)
    }

    /// The address, without TLS.
    pub fn plain(address: BindAddress) -> Self {
        Self {
            address,
            scheme: Some(Scheme::Http),
        }
    }
}

/// Whether an address without a scheme is one of TCP.
fn is_tcp(address: &str) -> bool {
    let others = ["unix:", "unix-abstract:", "fd:", "systemd"];
    !others.iter().any(|other| address.starts_with(other))
}

impl From<BindAddress> for Bind {
    fn from(address: BindAddress) -> Self {
        Self {
            address,
            scheme: None,
        }
    }
}

impl From<BindAddress> for Endpoint {
    /// An endpoint without TLS.
    fn from(address: BindAddress) -> Self {
        Self {
            address,
            scheme: Scheme::Http,
        }
    }
}

impl Config {
    /// Whether there are certificates, or names for which they are made or obtained.
    pub fn has_certificates(&self) -> bool {
        self.tls.certificate_files().next().is_some() || !self.acme.domains.is_empty()
    }

    /// What is spoken at an address that is bound as `bind` says and is really `address`. Without a scheme it is uwsgi if
    /// `protocol` says so, or else TLS if there are certificates, except on unix sockets, which belong to proxies on this
    /// machine, and on port 80.
    pub fn scheme_at(&self, bind: &Bind, address: &BindAddress) -> Scheme {
        let is_secure = || match address {
            BindAddress::Tcp { port, .. } => *port != HTTP_PORT && self.has_certificates(),
            _ => false,
        };
        match bind.scheme {
            Some(scheme) => scheme,
            None if self.uwsgi.protocol.is_default => Scheme::Uwsgi,
            None if is_secure() => Scheme::Https,
            None => Scheme::Http,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Uwsgi => "uwsgi",
        })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Some(scheme) => url(f, scheme, &self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// `https://127.0.0.1:8443`, `unix:/run/app.sock` or `uwsgi://unix:/run/app.sock`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        url(f, self.scheme, &self.address)
    }
}

fn url(f: &mut fmt::Formatter<'_>, scheme: Scheme, address: &BindAddress) -> fmt::Result {
    match address {
        BindAddress::Tcp { host, port } if host.contains(':') => {
            write!(f, "{scheme}://[{host}]:{port}")
        }
        BindAddress::Tcp { host, port } if scheme != Scheme::Uwsgi => {
            write!(f, "{scheme}://{host}:{port}")
        }
        other if scheme == Scheme::Uwsgi => write!(f, "{scheme}://{other}"),
        other => write!(f, "{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppSpec, Scheme::Http, Scheme::Https, Scheme::Uwsgi};

    #[test]
    fn a_scheme_is_read_and_written_back() {
        let cases = [
            ("http://h:1/", Some(Http), "h:1", "http://h:1"),
            ("http://[::1]:1", Some(Http), "[::1]:1", "http://[::1]:1"),
            ("http://h", Some(Http), "h:8000", "http://h:8000"),
            (
                "https://:443",
                Some(Https),
                "0.0.0.0:443",
                "https://0.0.0.0:443",
            ),
            (
                "https://[::]:443/",
                Some(Https),
                "[::]:443",
                "https://[::]:443",
            ),
            (
                "https://unix:1",
                Some(Https),
                "tcp://unix:1",
                "https://unix:1",
            ),
            ("h:1", None, "h:1", "h:1"),
            ("uwsgi://h:1/", Some(Uwsgi), "h:1", "uwsgi://h:1"),
            (
                "uwsgi://:3031",
                Some(Uwsgi),
                "0.0.0.0:3031",
                "uwsgi://0.0.0.0:3031",
            ),
            ("uwsgi://[::1]:1", Some(Uwsgi), "[::1]:1", "uwsgi://[::1]:1"),
            ("uwsgi://unix:/a", Some(Uwsgi), "unix:/a", "uwsgi://unix:/a"),
            ("uwsgi://unix:a/", Some(Uwsgi), "unix:a/", "uwsgi://unix:a/"),
            ("uwsgi://unix:@a", Some(Uwsgi), "unix:@a", "uwsgi://unix:@a"),
            ("uwsgi://fd://3", Some(Uwsgi), "fd://3", "uwsgi://fd://3"),
            (
                "uwsgi://systemd:a",
                Some(Uwsgi),
                "systemd:a",
                "uwsgi://systemd:a",
            ),
            ("uwsgi://systemd", Some(Uwsgi), "systemd", "uwsgi://systemd"),
            (
                "uwsgi://tcp://unix:1",
                Some(Uwsgi),
                "tcp://unix:1",
                "uwsgi://tcp://unix:1",
            ),
            ("tcp://h:1", None, "h:1", "h:1"),
            ("unix:/run/x", None, "unix:/run/x", "unix:/run/x"),
        ];
        for (text, scheme, address, written) in cases {
            let bind = Bind::parse(text).expect(text);
            assert_eq!(bind.scheme, scheme, "{text}");
            assert_eq!(bind.address.to_string(), address, "{text}");
            assert_eq!(bind.to_string(), written, "{text}");
            assert_eq!(Bind::parse(written), Ok(bind), "{text}");
        }
        let mistakes = [
            ("https://h", "needs a port; write https://h:443"),
            ("https://[::1]", "needs a port; write https://[::1]:443"),
            ("https://", "is empty"),
            ("https://h:443/path", "the port must be"),
            ("ftp://h:1", "called ftp://"),
            ("uwsgi://", "is empty"),
            ("uwsgi:///run/x", "uwsgi://unix:/run/x"),
            ("uwsgi://https://h:1", "two schemes"),
        ];
        for (text, part) in mistakes {
            let error = Bind::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn tcp_addresses_speak_tls_where_there_are_certificates() {
        let cases = [
            ("h:443", "", Http),
            ("h:443", "h", Https),
            ("h:8000", "h", Https),
            ("h:80", "h", Http),
            ("https://h:80", "h", Https),
            ("http://h:443", "h", Http),
            ("unix:/x", "h", Http),
            ("unix:@x", "h", Http),
            ("uwsgi://h:443", "h", Uwsgi),
        ];
        for (text, domain, expected) in cases {
            let app = AppSpec::parse("a:b").expect("an application");
            let mut config = Config::with_defaults(app);
            config
                .acme
                .domains
                .extend((!domain.is_empty()).then(|| domain.to_owned()));
            let bind = Bind::parse(text).expect(text);
            assert_eq!(config.scheme_at(&bind, &bind.address), expected, "{text}");
            config.uwsgi.protocol.is_default = true;
            let expected = bind.scheme.unwrap_or(Uwsgi);
            assert_eq!(config.scheme_at(&bind, &bind.address), expected, "{text}");
        }
    }
}
