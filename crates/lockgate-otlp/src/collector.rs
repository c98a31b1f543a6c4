//! One request to the collector: POST over a connection of its own.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use lockgate_config::OtlpConfig;

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
    /// What it answered is no response of HTTP.
    NotHttp,
    /// It answered with this status, and perhaps with Retry-After in seconds.
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("its name has no address"),
            Self::Io(error) => error.fmt(f),
            Self::NotHttp => f.write_str("its answer is not HTTP"),
            Self::Status { status, .. } => write!(f, "it answers {status}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    /// When the same may be sent once more; `None`: not at all (OTLP 1, "Failures"). `default`: if the collector
    /// does not say when.
    pub(crate) fn retry_after(&self, default: Duration) -> Option<Duration> {
        match self {
            Self::NoAddress | Self::NotHttp => None,
            Self::Io(_) => Some(default),
            Self::Status {
                status: 429 | 502 | 503 | 504,
                retry_after,
            } => Some(retry_after.unwrap_or(default)),
            Self::Status { .. } => None,
        }
    }
}

/// Sends one body of JSON. Returns how many spans or the like of it the collector has refused (OTLP 1, "Partial
/// Success").
///
/// # Errors
/// [`Failure`].
pub(crate) fn send(
    config: &OtlpConfig,
    path: &str,
    version: &str,
    body: &[u8],
) -> Result<u64, Failure> {
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
    let mut answer = read_head(&mut stream, until)?;
    let (status, retry_after) = parse_head(&answer).ok_or(Failure::NotHttp)?;
    match status {
        200..=299 => {
            // It has taken the request, whatever becomes of the rest of its answer.
            let _cut = read_body(&mut stream, &mut answer, until);
            Ok(refused(&answer))
        }
        status => Err(Failure::Status {
            status,
            retry_after,
        }),
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
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            // Interim responses come before it (RFC 9110 §15.2).
            match head.starts_with(b"HTTP/1.1 1") {
                true => drop(head.drain(..end + 4)),
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
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
    let text = String::from_utf8_lossy(answer);
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let (Some(end), Some(length)) = (end, length.filter(|length| *length < LONGEST_HEAD)) else {
        return Ok(());
    };
    let mut part = [0; 1024];
    while answer.len() < end + 4 + length {
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

/// The number in `rejectedSpans`, `rejectedDataPoints` or `rejectedLogRecords`, which JSON of protobuf may write as a
/// text.
fn refused(answer: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(answer);
    let Some((_, rest)) = text.split_once("\"rejected") else {
        return 0;
    };
    let value = rest.split_once(':').map_or("", |(_, value)| value);
    let value = value.trim_start().trim_start_matches('"');
    let digits = value.split(|other: char| !other.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Status and Retry-After in seconds (RFC 9110 §10.2.3); a date is not read.
fn parse_head(head: &[u8]) -> Option<(u16, Option<Duration>)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status_line = lines.next()?.strip_prefix("HTTP/1.")?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    let retry_after = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("retry-after");
        is_it.then(|| value.trim().parse().ok()).flatten()
    });
    Some((status, retry_after.map(Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_collector_is_its_status_and_retry_after() {
        let seconds = |count| Some(Duration::from_secs(count));
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, None))),
            ("HTTP/1.0 204\r\n\r\n", Some((204, None))),
            (
                "HTTP/1.1 503 x\r\nRetry-After: 7\r\n\r\n",
                Some((503, seconds(7))),
            ),
            (
                "HTTP/1.1 429 x\r\nA: b\r\nretry-after:0\r\n\r\n",
                Some((429, seconds(0))),
            ),
            (
                "HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n",
                Some((503, None)),
            ),
            (
                "HTTP/1.1 503 x\r\n\r\nRetry-After: 7\r\n\r\n",
                Some((503, None)),
            ),
            ("HTTP/2 200\r\n\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(parse_head(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn a_part_that_was_refused_is_counted() {
        for (body, expected) in [
            ("{}", 0),
            ("{\"partialSuccess\":{}}", 0),
            (
                "{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"9\"}}",
                3,
            ),
            ("{\"partialSuccess\":{\"rejectedLogRecords\": 12}}", 12),
            ("{\"partialSuccess\":{\"rejectedDataPoints\":\"0\"}}", 0),
            ("{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}", 0),
            (
                "{\"partialSuccess\":{\"rejectedSpans\":99999999999999999999}}",
                0,
            ),
            ("{\"partialSuccess\":{\"rejectedSpans", 0),
            ("", 0),
        ] {
            assert_eq!(refused(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn spans_are_sent_again_where_otlp_allows_it() {
        let default = Duration::from_secs(1);
        let asked = Some(Duration::from_secs(9));
        let status = |status, retry_after| Failure::Status {
            status,
            retry_after,
        };
        for (failure, expected) in [
            (status(400, asked), None),
            (status(404, None), None),
            (status(500, None), None),
            (status(429, asked), asked),
            (status(502, None), Some(default)),
            (status(503, asked), asked),
            (status(504, None), Some(default)),
            (
                Failure::Io(io::ErrorKind::ConnectionRefused.into()),
                Some(default),
            ),
            (Failure::NotHttp, None),
            (Failure::NoAddress, None),
        ] {
            assert_eq!(failure.retry_after(default), expected, "{failure}");
        }
    }
}
