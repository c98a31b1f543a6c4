//! Listen addresses, parsed from text and written back. Names are not resolved.
//!
//! Invariant: `parse` reads the output of `Display` as the same address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// A host name or IP address (IPv6 without brackets) and a port; port 0 lets the kernel choose.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket in the file system, at most 107 bytes of path.
    Unix(PathBuf),
    /// A socket in Linux's abstract namespace: its name without the leading NUL, at most 107 bytes.
    Abstract(Vec<u8>),
    /// A listening socket inherited under this descriptor.
    Fd(i32),
    /// Listening sockets passed by systemd: those of this name, or without a name all that no other address names.
    Systemd(Option<String>),
}

impl BindAddress {
    /// The port of an address that names none.
    pub const DEFAULT_PORT: u16 = 8000;

    /// Whether two sockets cannot listen at these addresses at the same time: they are the same, or one is that of all
    /// IPv4 interfaces.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { port: 0, .. }, _) => false,
            (
                Self::Tcp { host, port },
                Self::Tcp {
                    host: other,
                    port: of_other,
                },
            ) => {
                let is_all = |host: &String| host.parse::<Ipv4Addr>() == Ok(Ipv4Addr::UNSPECIFIED);
                let is_ipv4 = |host: &String| host.parse::<Ipv4Addr>().is_ok();
                let covers = |one, other| is_all(one) && is_ipv4(other);
                port == of_other && (host == other || covers(host, other) || covers(other, host))
            }
            (Self::Unix(_) | Self::Abstract(_), _) => self == other,
            _ => false,
        }
    }

    /// Parses `HOST`, `HOST:PORT`, `:PORT`, `[v6]:PORT`, `unix:PATH`, `unix:@NAME`, `unix-abstract:NAME`, `fd://N`,
    /// `systemd`, `systemd:NAME`, or any TCP form after `tcp://` or `http://`. The error says what is wrong and what to
    /// write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('\0') {
            return Err("must not contain a NUL".to_owned());
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return unix_path(path);
        }
        if let Some(name) = text
            .strip_prefix("unix:@")
            .or_else(|| text.strip_prefix("unix-abstract:"))
        {
            return abstract_name(name);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return descriptor(number);
        }
        if text == "systemd" {
            return Ok(Self::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return socket_name(name);
        }
        if text.starts_with("https://") {
            return Err("this listener does not speak TLS; write http://".to_owned());
        }
        if let Some(rest) = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
        {
            return tcp(rest.strip_suffix('/').unwrap_or(rest));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(format!(
                "no kind of address is called {scheme}://; there are tcp://, http://, fd:// and unix:, and in bind https:// and uwsgi://"
            ));
        }
        tcp(text)
    }
}

impl BindAddress {
    /// The port of a TCP address.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            _ => None,
        }
    }

    /// Whether only this machine can reach it, judging by the address alone.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Abstract(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Self::Fd(_) | Self::Systemd(_) => false,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            // A host may have that name, and without a scheme it would be read as a path.
            Self::Tcp { host, port }
                if ["unix", "unix-abstract", "systemd"].contains(&host.as_str()) =>
            {
                write!(f, "tcp://{host}:{port}")
            }
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => {
                let path = path.display().to_string();
                // After `unix://` everything is a path; after `unix:` a leading `@` or `//` means something else.
                let slashes = if path.starts_with('@') || path.starts_with("//") {
                    "//"
                } else {
                    ""
                };
                write!(f, "unix:{slashes}{path}")
            }
            Self::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
            Self::Fd(number) => write!(f, "fd://{number}"),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// Linux's `sun_path` has 108 bytes, one of them for a NUL (unix(7)).
const LONGEST_UNIX_NAME: usize = 107;

fn unix_path(path: &str) -> Result<BindAddress, String> {
    if path.is_empty() {
        return Err("has no path; write unix:/run/app.sock".to_owned());
    }
    if path.len() > LONGEST_UNIX_NAME {
        return Err(format!(
            "the path of a unix socket has at most {LONGEST_UNIX_NAME} bytes"
        ));
    }
    Ok(BindAddress::Unix(PathBuf::from(path)))
}

fn abstract_name(name: &str) -> Result<BindAddress, String> {
    if name.is_empty() {
        return Err("has no name; write unix:@name".to_owned());
    }
    if name.len() > LONGEST_UNIX_NAME {
        return Err(format!(
            "the name of an abstract socket has at most {LONGEST_UNIX_NAME} bytes"
        ));
    }
    Ok(BindAddress::Abstract(name.as_bytes().to_vec()))
}

fn descriptor(number: &str) -> Result<BindAddress, String> {
    match number.parse::<i32>() {
        Ok(number) if number >= 0 => Ok(BindAddress::Fd(number)),
        _ => Err("fd:// needs the number of an open descriptor, as in fd://3".to_owned()),
    }
}

/// The names that systemd accepts for `FileDescriptorName=` (systemd.socket(5)).
fn socket_name(name: &str) -> Result<BindAddress, String> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.is_empty() || name.len() > 255 || !name.bytes().all(is_allowed) {
        return Err(
            "systemd: needs the FileDescriptorName= of a .socket unit, as in systemd:web; \
             a host of that name is written tcp://systemd:8000"
                .to_owned(),
        );
    }
    Ok(BindAddress::Systemd(Some(name.to_owned())))
}

fn tcp(text: &str) -> Result<BindAddress, String> {
    if text.is_empty() {
        return Err("is empty; write HOST:PORT, or :PORT for every interface".to_owned());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a port needs a colon before it; write :{text}"));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("the bracket is not closed; write [::1]:8000".to_owned());
        };
        // A zone, as in fe80::1%eth0, names an interface; only the kernel knows whether it exists.
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{host} is not an IPv6 address"));
        }
        let port = match rest.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if rest.is_empty() => BindAddress::DEFAULT_PORT,
            None => return Err("after the bracket only :PORT may follow".to_owned()),
        };
        return Ok(BindAddress::Tcp {
            host: host.to_owned(),
            port,
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("an IPv6 address needs brackets; write [::1]:8000".to_owned());
        }
        // As in gunicorn: no host means every IPv4 interface.
        Some(("", port)) => ("0.0.0.0", parse_port(port)?),
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, BindAddress::DEFAULT_PORT),
    };
    check_host(host)?;
    Ok(BindAddress::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn parse_port(text: &str) -> Result<u16, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if is_number => Ok(port),
        _ => Err("the port must be a number from 0 to 65535".to_owned()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if host.contains('/') {
        return Err("a host has no slash; for a unix socket write unix:PATH".to_owned());
    }
    let is_wrong = |c: char| c.is_whitespace() || c.is_control() || "?#@%[]\\\"'*".contains(c);
    if let Some(wrong) = host.chars().find(|&c| is_wrong(c)) {
        return Err(format!(
            "a host cannot contain {wrong:?}; for every interface write 0.0.0.0 or [::]"
        ));
    }
    let looks_like_ipv4 = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_like_ipv4 && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{host} is not an IPv4 address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> BindAddress {
        BindAddress::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn every_form_is_read_and_written_back() {
        let unix = |path: &str| BindAddress::Unix(PathBuf::from(path));
        let hidden = |name: &str| BindAddress::Abstract(name.as_bytes().to_vec());
        let passed = |name: &str| BindAddress::Systemd(Some(name.to_owned()));
        let cases = [
            ("localhost", tcp("localhost", 8000), "localhost:8000"),
            ("localhost:80", tcp("localhost", 80), "localhost:80"),
            ("0.0.0.0:0", tcp("0.0.0.0", 0), "0.0.0.0:0"),
            (":9000", tcp("0.0.0.0", 9000), "0.0.0.0:9000"),
            (" 127.0.0.1:1 ", tcp("127.0.0.1", 1), "127.0.0.1:1"),
            ("[::]", tcp("::", 8000), "[::]:8000"),
            ("[::1]:65535", tcp("::1", 65535), "[::1]:65535"),
            (
                "[fe80::1%eth0]:80",
                tcp("fe80::1%eth0", 80),
                "[fe80::1%eth0]:80",
            ),
            ("tcp://h:1", tcp("h", 1), "h:1"),
            ("tcp://[::1]", tcp("::1", 8000), "[::1]:8000"),
            ("http://h:1/", tcp("h", 1), "h:1"),
            ("http://h", tcp("h", 8000), "h:8000"),
            (
                "unix:/run/app.sock",
                unix("/run/app.sock"),
                "unix:/run/app.sock",
            ),
            (
                "unix:///run/app.sock",
                unix("/run/app.sock"),
                "unix:/run/app.sock",
            ),
            ("unix:app.sock", unix("app.sock"), "unix:app.sock"),
            ("unix://@x", unix("@x"), "unix://@x"),
            ("unix:////x", unix("//x"), "unix:////x"),
            ("unix:@app", hidden("app"), "unix:@app"),
            ("unix-abstract:app", hidden("app"), "unix:@app"),
            ("fd://3", BindAddress::Fd(3), "fd://3"),
            ("systemd", BindAddress::Systemd(None), "systemd"),
            ("systemd:web", passed("web"), "systemd:web"),
            ("systemd:8000", passed("8000"), "systemd:8000"),
            ("tcp://systemd:1", tcp("systemd", 1), "tcp://systemd:1"),
            // Hosts that are read as sockets if they have no scheme.
            ("unix", tcp("unix", 8000), "tcp://unix:8000"),
            (
                "http://unix-abstract:1",
                tcp("unix-abstract", 1),
                "tcp://unix-abstract:1",
            ),
        ];
        for (text, expected, written) in cases {
            assert_eq!(BindAddress::parse(text).as_ref(), Ok(&expected), "{text}");
            assert_eq!(expected.to_string(), written, "{text}");
            assert_eq!(BindAddress::parse(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_advice() {
        let long = format!("unix:/{}", "a".repeat(107));
        let long_name = format!("unix:@{}", "a".repeat(108));
        let cases = [
            ("", "is empty"),
            ("8000", "write :8000"),
            ("::1", "needs brackets"),
            ("::1:8000", "needs brackets"),
            ("[::1", "not closed"),
            ("[localhost]:80", "not an IPv6 address"),
            ("[::1]80", "only :PORT"),
            ("h:", "the port must be"),
            ("h:65536", "the port must be"),
            ("h:+80", "the port must be"),
            ("h:-1", "the port must be"),
            ("h:http", "the port must be"),
            ("999.0.0.1:80", "not an IPv4 address"),
            ("127.0.0:80", "not an IPv4 address"),
            ("*:80", "0.0.0.0 or [::]"),
            ("a b:80", "cannot contain"),
            ("/run/app.sock", "write unix:PATH"),
            ("http://h:80/path", "must be a number"),
            ("https://h:443", "does not speak TLS"),
            ("ftp://h", "called ftp://"),
            ("unix:", "has no path"),
            ("unix://", "has no path"),
            ("unix:@", "has no name"),
            ("unix-abstract:", "has no name"),
            ("fd://x", "fd://3"),
            ("fd://-1", "fd://3"),
            ("systemd:", "FileDescriptorName="),
            ("systemd:a:b", "tcp://systemd:8000"),
            ("systemd:ä", "FileDescriptorName="),
            ("unix:a\0b", "NUL"),
            (&long, "at most 107"),
            (&long_name, "at most 107"),
        ];
        for (text, part) in cases {
            let error = BindAddress::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
