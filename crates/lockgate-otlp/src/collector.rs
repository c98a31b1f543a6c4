//! One request to the collector: POST over a connection of its own.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use lockgate_config::OtlpConfig;

use crate::answer::{Answer, END, header};

/// Time for the whole request: OTLP's default.
const PATIENCE: Duration = Duration::from_secs(10);
/// No head of a response is longer.
const LONGEST_HEAD: usize = 16 << 10;

/// The collector does not have what was sent.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Its name has no address.
    NoAddress,
    /// The connection failed.
    Io(io::Error),
    /// The request has taken longer than [`PATIENCE`].
    TooSlow,
    /// It has closed the connection instead of an answer.
    Closed,
    /// What it answered is no response of HTTP.
    NotHttp,
    /// It has not taken the request.
    Refused(Answer),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("its name has no address"),
            Self::Io(error) => error.fmt(f),
            Self::TooSlow => write!(f, "no answer within {} s", PATIENCE.as_secs()),
            Self::Closed => f.write_str("it closes the connection without an answer"),
            Self::NotHttp => f.write_str("its answer is not HTTP"),
            Self::Refused(Answer {
                status,
                message: Some(message),
                ..
            }) => write!(f, "it answers {status}: {message}"),
            Self::Refused(Answer { status, .. }) => write!(f, "it answers {status}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A socket with a timeout reports WouldBlock, and a connection that is not made TimedOut.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::Io(error),
        }
    }
}

impl Failure {
    /// Whether the same may be sent once more (OTLP 1, "Failures").
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoAddress | Self::NotHttp => false,
            Self::Io(_) | Self::TooSlow | Self::Closed => true,
            Self::Refused(answer) => matches!(answer.status, 429 | 502 | 503 | 504),
        }
    }

    /// How long the collector asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(answer) => answer.retry_after.filter(|_| self.is_passing()),
            _ => None,
        }
    }
}

/// Sends one body of JSON. Returns the answer of a collector that has taken it, or most of it.
///
/// # Errors
/// [`Failure`].
pub(crate) fn send(
    config: &OtlpConfig,
    path: &str,
    version: &str,
    body: &[u8],
) -> Result<Answer, Failure> {
    let until = Instant::now() + PATIENCE;
    let mut stream = connect(config, until)?;
    let OtlpConfig { host, port, .. } = config;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.clone(),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: lockgate/{version}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    write(&mut stream, head.as_bytes(), until)?;
    write(&mut stream, body, until)?;
    let mut bytes = read_head(&mut stream, until)?;
    if bytes.is_empty() {
        return Err(Failure::Closed);
    }
    // It has taken or refused the request, whatever becomes of the rest of its answer.
    let _cut = read_body(&mut stream, &mut bytes, until);
    let answer = Answer::parse(&bytes).ok_or(Failure::NotHttp)?;
    match answer.status {
        200..=299 => Ok(answer),
        _ => Err(Failure::Refused(answer)),
    }
}

fn connect(config: &OtlpConfig, until: Instant) -> Result<TcpStream, Failure> {
    let mut failure = Failure::NoAddress;
    for address in (&*config.host, config.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// The time that is left. A collector that takes or sends a byte now and then gains none.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The final response up to the empty line, as far as it comes.
fn read_head(stream: &mut TcpStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < LONGEST_HEAD {
        if let Some(end) = head.windows(END.len()).position(|end| end == END) {
            // Interim responses come before it (RFC 9110 §15.2).
            match head.starts_with(b"HTTP/1.1 1") {
                true => drop(head.drain(..end + END.len())),
                false => break,
            }
            continue;
        }
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// Reads the body behind a head, if it says its length and is short.
fn read_body(stream: &mut TcpStream, answer: &mut Vec<u8>, until: Instant) -> io::Result<()> {
    let Some(end) = answer.windows(END.len()).position(|end| end == END) else {
        return Ok(());
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let length = header(&head, "content-length").and_then(|value| value.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length < LONGEST_HEAD) else {
        return Ok(());
    };
    let mut part = [0; 1024];
    while answer.len() < end + END.len() + length {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_again_where_otlp_allows_it() {
        let asked = Some(Duration::from_secs(9));
        let status = |status, retry_after| {
            Failure::Refused(Answer {
                status,
                retry_after,
                ..Answer::default()
            })
        };
        for (failure, is_passing, retry_after) in [
            (status(400, asked), false, None),
            (status(404, None), false, None),
            (status(500, None), false, None),
            (status(429, asked), true, asked),
            (status(502, None), true, None),
            (status(503, asked), true, asked),
            (status(504, None), true, None),
            (
                io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                true,
                None,
            ),
            (
                io::Error::from(io::ErrorKind::WouldBlock).into(),
                true,
                None,
            ),
            (Failure::Closed, true, None),
            (Failure::NotHttp, false, None),
            (Failure::NoAddress, false, None),
        ] {
            assert_eq!(failure.is_passing(), is_passing, "{failure}");
            assert_eq!(failure.retry_after(), retry_after, "{failure}");
        }
    }

    #[test]
    fn a_failure_says_what_the_collector_did() {
        for (failure, text) in [
            (
                io::Error::from(io::ErrorKind::WouldBlock).into(),
                "no answer within 10 s",
            ),
            (
                Failure::Refused(Answer {
                    status: 401,
                    message: Some("no token".to_owned()),
                    ..Answer::default()
                }),
                "it answers 401: no token",
            ),
            (
                Failure::Closed,
                "it closes the connection without an answer",
            ),
        ] {
            assert_eq!(failure.to_string(), text);
        }
    }
}
