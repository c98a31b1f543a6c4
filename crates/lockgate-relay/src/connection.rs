//! A connection to Redis: TCP or TLS, with a time limit for every step.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockgate_config::RedisAddress;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;

use crate::failure::Failure;
use crate::resp::{Reply, read_reply, write_command};

/// How long the steps of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimits {
    /// For one address of the host.
    pub(crate) connect: Duration,
    /// For one read or write.
    pub(crate) step: Duration,
    /// For the TLS handshake, and for commands with all their answers, also when these arrive slowly.
    pub(crate) whole: Option<Duration>,
}

impl TimeLimits {
    /// For streams, whose reads wait for new entries.
    pub(crate) const STREAMS: Self = Self {
        connect: Duration::from_secs(5),
        step: Duration::from_secs(15),
        whole: None,
    };
}

/// See the module.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write {
    /// Commands are sent from now on.
    fn begin(&mut self);
}

/// A TCP connection that observes the limits.
struct LimitedTcp {
    tcp: TcpStream,
    limits: TimeLimits,
    deadline: Option<Instant>,
}

impl Stream for LimitedTcp {
    fn begin(&mut self) {
        self.deadline = self.limits.whole.map(|whole| Instant::now() + whole);
    }
}

impl Stream for StreamOwned<ClientConnection, LimitedTcp> {
    fn begin(&mut self) {
        self.sock.begin();
    }
}

impl LimitedTcp {
    fn remaining(&self) -> io::Result<Duration> {
        let step = self.limits.step;
        let Some(deadline) = self.deadline else {
            return Ok(step);
        };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            remaining => Ok(remaining.min(step)),
        }
    }
}

impl Read for LimitedTcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.remaining()?))?;
        self.tcp.read(buffer)
    }
}

impl Write for LimitedTcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.remaining()?))?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Commands that are sent together.
#[derive(Default)]
pub(crate) struct Commands {
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl Commands {
    /// Adds a command, whose first argument is its name.
    pub(crate) fn add(&mut self, arguments: &[&[u8]]) -> &mut Self {
        write_command(&mut self.bytes, arguments);
        let name = arguments.first().copied().unwrap_or_default();
        self.names.push(String::from_utf8_lossy(name).into_owned());
        self
    }
}

#[cfg(test)]
impl Commands {
    pub(crate) fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Connection {
    /// Connects, with the user and the database of the address.
    pub(crate) fn open(address: &RedisAddress, limits: TimeLimits) -> Result<Self, Failure> {
        let tcp = connect(&address.host, address.port, limits)?;
        let stream: Box<dyn Stream> = match address.is_tls {
            true => Box::new(encrypt(tcp, &address.host)?),
            false => Box::new(tcp),
        };
        let mut connection = Self {
            stream: BufReader::new(stream),
        };
        let mut commands = Commands::default();
        match (&address.user, &address.password) {
            (Some(user), Some(password)) => {
                commands.add(&[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            (None, Some(password)) => {
                commands.add(&[b"AUTH", password.as_bytes()]);
            }
            (_, None) => {}
        }
        if address.database != 0 {
            commands.add(&[b"SELECT", address.database.to_string().as_bytes()]);
        }
        connection.ask(&commands)?;
        Ok(connection)
    }

    /// Sends commands and reads their answers, of which none is an error.
    pub(crate) fn ask(&mut self, commands: &Commands) -> Result<Vec<Reply>, Failure> {
        let stream = self.stream.get_mut();
        stream.begin();
        stream.write_all(&commands.bytes)?;
        stream.flush()?;
        let replies = commands
            .names
            .iter()
            .map(|name| match read_reply(&mut self.stream)? {
                Reply::Error(error) => Err(Failure::refused(name, &error)),
                reply => Ok(reply),
            });
        replies.collect()
    }
}

fn connect(host: &str, port: u16, limits: TimeLimits) -> Result<LimitedTcp, Failure> {
    let mut problem = None;
    let addresses = (host, port).to_socket_addrs();
    for address in addresses.map_err(|error| Failure::Unreachable(error.to_string()))? {
        match TcpStream::connect_timeout(&address, limits.connect) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                let mut stream = LimitedTcp {
                    tcp,
                    limits,
                    deadline: None,
                };
                stream.begin();
                return Ok(stream);
            }
            Err(error) => problem = Some(format!("cannot connect to {address}: {error}")),
        }
    }
    let problem = problem.unwrap_or_else(|| format!("{host} has no address"));
    Err(Failure::Unreachable(problem))
}

/// Does the handshake, so that a certificate that is not trusted is the reason of the failure.
fn encrypt(
    mut tcp: LimitedTcp,
    host: &str,
) -> Result<StreamOwned<ClientConnection, LimitedTcp>, Failure> {
    let mut roots = RootCertStore::empty();
    // Read at each attempt: the process sees new CA certificates.
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let failure = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failure(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failure(&error))?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|error| failure(&error))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)
            .map_err(|error: io::Error| match error.kind() {
                io::ErrorKind::InvalidData => failure(&error),
                _ => error.into(),
            })?;
    }
    Ok(StreamOwned::new(tls, tcp))
}
