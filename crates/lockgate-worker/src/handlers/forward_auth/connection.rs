//! A connection to a service over TCP or a unix socket: one request and its response at a time, each with a deadline.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use lockgate_access::{AnswerReader, BadAnswer, ServiceAnswer};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockAddr, Socket, Type};

/// See the module documentation.
pub(super) struct Connection(Socket);

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Failure {
    /// The time is over.
    TooLate,
    /// The name has no address.
    NoAddress,
    /// No connection can be made.
    Unreachable(io::Error),
    /// The connection was lost before anything of the response came.
    Unanswered(io::Error),
    /// The connection was lost in the middle of the response.
    Lost(io::Error),
    /// The response is not valid.
    Bad(BadAnswer),
    /// Too many requests wait for the service already, or the system has no thread.
    NoThread(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLate => f.write_str("it did not answer within its timeout"),
            Self::NoAddress => f.write_str("its name has no address"),
            Self::Unreachable(error) => write!(f, "cannot connect: {error}"),
            Self::Unanswered(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                BadAnswer::Closed.fmt(f)
            }
            Self::Unanswered(error) | Self::Lost(error) => {
                write!(f, "the connection was lost: {error}")
            }
            Self::Bad(fault) => fault.fmt(f),
            Self::NoThread(error) if error.kind() == io::ErrorKind::WouldBlock => {
                f.write_str("too many requests wait for it already")
            }
            Self::NoThread(error) => write!(f, "cannot start a thread that asks it: {error}"),
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn open(address: &SockAddr, until: Instant) -> Result<Self, Failure> {
        let socket =
            Socket::new(address.domain(), Type::STREAM, None).map_err(Failure::Unreachable)?;
        let connected = socket.connect_timeout(address, left(until)?);
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::TooLate,
            _ => Failure::Unreachable(error),
        })?;
        if address.domain() != Domain::UNIX {
            // Without it the connection works, with a delay.
            let _delayed = socket.set_tcp_nodelay(true);
        }
        Ok(Self(socket))
    }

    /// Whether nothing has come, and it is open.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0_u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(recv(&self.0, &mut byte[..], flags), Err(Errno::AGAIN))
    }

    /// Sends a request and receives its response.
    ///
    /// # Errors
    /// [`Failure`]; the connection is of no use then.
    pub(super) fn exchange(
        &mut self,
        request: &[u8],
        until: Instant,
    ) -> Result<ServiceAnswer, Failure> {
        let mut rest = request;
        while !rest.is_empty() {
            self.limit_by(until, Socket::set_write_timeout)?;
            match self.0.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(Failure::Unanswered(error)),
            }
        }
        let mut reader = AnswerReader::default();
        let mut buffer = vec![0; 8192];
        loop {
            self.limit_by(until, Socket::set_read_timeout)?;
            let failure = match self.0.read(&mut buffer) {
                Ok(0) if reader.is_empty() => io::ErrorKind::UnexpectedEof.into(),
                Ok(0) => return reader.receive_end().map_err(Failure::Bad),
                Ok(count) => match reader.receive(&buffer[..count]) {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => continue,
                    Err(fault) => return Err(Failure::Bad(fault)),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => continue,
                Err(error) => error,
            };
            return Err(match reader.is_empty() {
                true => Failure::Unanswered(failure),
                false => Failure::Lost(failure),
            });
        }
    }

    fn limit_by(
        &self,
        until: Instant,
        set: impl FnOnce(&Socket, Option<Duration>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        set(&self.0, Some(left(until)?)).map_err(Failure::Lost)
    }
}

/// The time that is left, which is not 0.
fn left(until: Instant) -> Result<Duration, Failure> {
    let left = until.saturating_duration_since(Instant::now());
    // The system counts in microseconds, and takes 0 as no limit.
    match left < Duration::from_micros(1) {
        true => Err(Failure::TooLate),
        false => Ok(left),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
