//! The response of the service: bytes in, status, fields and body out.
//!
//! Invariant: a response counts only when it is complete and has one framing (RFC 9112 §6); everything else is a
//! [`BadAnswer`], so that a service that fails or lies lets no request pass.

use std::fmt;

/// Bytes of the head, and of a chunk's line.
const LONGEST_HEAD: usize = 64 << 10;

/// A body that goes to the client, such as a page for the login.
const LONGEST_BODY: usize = 256 << 10;

/// Responses with 1xx before the final one.
const MOST_INTERIM: u32 = 8;

/// A complete response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// The status, 200 to 599.
    pub status: u16,
    /// Name and value of each field, in their order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The whole body, decoded from chunks.
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub keeps_connection: bool,
}

/// What the service did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadAnswer {
    /// It closed the connection before its response was complete.
    Closed,
    /// The first line is not one of HTTP/1.
    InvalidStatusLine,
    /// A status below 100 or from 600 on, 101, or too many of 1xx.
    UnexpectedStatus,
    /// A line of the head is not a field.
    InvalidField,
    /// The head is too long.
    HeadTooLarge,
    /// Content-Length is repeated or no number.
    InvalidLength,
    /// Content-Length beside Transfer-Encoding.
    ContradictoryFraming,
    /// A Transfer-Encoding other than `chunked`.
    UnsupportedTransferCoding,
    /// A chunk has no valid size, or does not end where it should.
    InvalidChunk,
    /// The body is too long.
    BodyTooLarge,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "it closed the connection before its response was complete",
            Self::InvalidStatusLine => "its response does not begin with a status line of HTTP/1.1",
            Self::UnexpectedStatus => "its response has an unexpected status",
            Self::InvalidField => "its response has an invalid header",
            Self::HeadTooLarge => "its response has more than 64 KiB of headers",
            Self::InvalidLength => "its response has an invalid Content-Length",
            Self::ContradictoryFraming => {
                "its response has both Content-Length and Transfer-Encoding"
            }
            Self::UnsupportedTransferCoding => {
                "its response has a Transfer-Encoding other than chunked"
            }
            Self::InvalidChunk => "its response has an invalid chunk",
            Self::BodyTooLarge => "its response has a body of more than 256 KiB",
        })
    }
}

impl std::error::Error for BadAnswer {}

/// Reads one response.
#[derive(Debug, Default)]
pub struct AnswerReader {
    /// What has been received and not used.
    input: Vec<u8>,
    state: State,
    interim: u32,
    answer: Option<ServiceAnswer>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Length(usize),
    UntilEnd,
    ChunkSize,
    ChunkData(usize),
    ChunkEnd,
    Trailer {
        bytes: usize,
    },
    Complete,
}

impl AnswerReader {
    /// Whether nothing of the response has come.
    pub fn is_empty(&self) -> bool {
        self.state == State::Head && self.input.is_empty() && self.interim == 0
    }

    /// Takes input. `Some`: the response is complete.
    ///
    /// # Errors
    /// [`BadAnswer`].
    pub fn receive(&mut self, input: &[u8]) -> Result<Option<ServiceAnswer>, BadAnswer> {
        self.input.extend_from_slice(input);
        while self.state != State::Complete {
            if !self.step()? {
                return Ok(None);
            }
        }
        let Some(mut answer) = self.answer.take() else {
            return Ok(None);
        };
        // What follows belongs to no request: nothing on this connection can be trusted.
        answer.keeps_connection &= self.input.is_empty();
        Ok(Some(answer))
    }

    /// The service has closed the connection.
    ///
    /// # Errors
    /// [`BadAnswer`], unless the end of the connection is the end of the body.
    pub fn receive_end(&mut self) -> Result<ServiceAnswer, BadAnswer> {
        match (self.state, self.answer.take()) {
            (State::UntilEnd, Some(answer)) => Ok(answer),
            _ => Err(BadAnswer::Closed),
        }
    }

    /// Uses some of the input. `false`: more is needed.
    fn step(&mut self) -> Result<bool, BadAnswer> {
        match self.state {
            State::Head => self.read_head(),
            State::Length(left) => {
                let taken = self.take_body(left)?;
                self.state = match left - taken {
                    0 => State::Complete,
                    left => State::Length(left),
                };
                Ok(self.state == State::Complete)
            }
            State::UntilEnd => {
                self.take_body(usize::MAX)?;
                Ok(false)
            }
            State::ChunkSize => {
                let Some(line) = self.take_line()? else {
                    return Ok(false);
                };
                self.state = match chunk_size(&line).ok_or(BadAnswer::InvalidChunk)? {
                    0 => State::Trailer { bytes: 0 },
                    size if size > LONGEST_BODY => return Err(BadAnswer::BodyTooLarge),
                    size => State::ChunkData(size),
                };
                Ok(true)
            }
            State::ChunkData(left) => {
                let taken = self.take_body(left)?;
                self.state = match left - taken {
                    0 => State::ChunkEnd,
                    left => State::ChunkData(left),
                };
                Ok(self.state == State::ChunkEnd)
            }
            State::ChunkEnd => match self.input.get(..2) {
                Some(b"\r\n") => {
                    self.input.drain(..2);
                    self.state = State::ChunkSize;
                    Ok(true)
                }
                Some(_) => Err(BadAnswer::InvalidChunk),
                None => Ok(false),
            },
            State::Trailer { bytes } => {
                let Some(line) = self.take_line()? else {
                    return Ok(false);
                };
                // Trailers are no part of what was decided: they are dropped (RFC 9110 §6.5.1).
                let bytes = bytes + line.len() + 2;
                if bytes > LONGEST_HEAD {
                    return Err(BadAnswer::HeadTooLarge);
                }
                self.state = match line.is_empty() {
                    true => State::Complete,
                    false => State::Trailer { bytes },
                };
                Ok(true)
            }
            State::Complete => Ok(false),
        }
    }

    fn read_head(&mut self) -> Result<bool, BadAnswer> {
        let end = self.input.windows(4).position(|part| part == b"\r\n\r\n");
        let Some(end) = end else {
            return match self.input.len() > LONGEST_HEAD {
                true => Err(BadAnswer::HeadTooLarge),
                false => Ok(false),
            };
        };
        if end > LONGEST_HEAD {
            return Err(BadAnswer::HeadTooLarge);
        }
        let head: Vec<u8> = self.input.drain(..end + 4).collect();
        let (status, is_http10, fields) = parse_head(&head[..end])?;
        match status {
            // An interim response is followed by the final one (RFC 9110 §15.2).
            100 | 102..200 if self.interim < MOST_INTERIM => {
                self.interim += 1;
                return Ok(true);
            }
            200..600 => {}
            _ => return Err(BadAnswer::UnexpectedStatus),
        }
        let framing = framing(status, &fields)?;
        let asks = |option: &[u8]| has_option(&fields, option);
        let keeps_connection =
            framing != State::UntilEnd && !asks(b"close") && (!is_http10 || asks(b"keep-alive"));
        self.state = match framing {
            State::Length(length) if length > LONGEST_BODY => return Err(BadAnswer::BodyTooLarge),
            State::Length(0) => State::Complete,
            framing => framing,
        };
        self.answer = Some(ServiceAnswer {
            status,
            fields,
            body: Vec::new(),
            keeps_connection,
        });
        Ok(true)
    }

    /// Moves up to `most` bytes of the input to the body.
    fn take_body(&mut self, most: usize) -> Result<usize, BadAnswer> {
        let count = self.input.len().min(most);
        let Some(answer) = &mut self.answer else {
            return Ok(0);
        };
        if answer.body.len() + count > LONGEST_BODY {
            return Err(BadAnswer::BodyTooLarge);
        }
        answer.body.extend(self.input.drain(..count));
        Ok(count)
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>, BadAnswer> {
        let Some(end) = self.input.iter().position(|&byte| byte == b'\n') else {
            return match self.input.len() > LONGEST_HEAD {
                true => Err(BadAnswer::HeadTooLarge),
                false => Ok(None),
            };
        };
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        match line.pop() {
            Some(b'\r') if !line.contains(&b'\r') => Ok(Some(line)),
            _ => Err(BadAnswer::InvalidChunk),
        }
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Status, whether the version is 1.0, and the fields.
fn parse_head(head: &[u8]) -> Result<(u16, bool, Fields), BadAnswer> {
    let mut lines = Lines(Some(head));
    let line = lines.next().unwrap_or_default();
    let is_http10 = match line.get(..9) {
        Some(b"HTTP/1.1 ") => false,
        Some(b"HTTP/1.0 ") => true,
        _ => return Err(BadAnswer::InvalidStatusLine),
    };
    // A reason phrase may be missing, and its space with it.
    let (Some(digits), None | Some(b' ')) = (line.get(9..12), line.get(12)) else {
        return Err(BadAnswer::InvalidStatusLine);
    };
    if !digits.iter().all(u8::is_ascii_digit) || line.iter().any(u8::is_ascii_control) {
        return Err(BadAnswer::InvalidStatusLine);
    }
    let status = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok((status, is_http10, fields))
}

/// Lines between CRLF.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let end = rest.windows(2).position(|part| part == b"\r\n");
        self.0 = end.map(|end| &rest[end + 2..]);
        Some(&rest[..end.unwrap_or(rest.len())])
    }
}

fn parse_field(line: &[u8]) -> Result<(Vec<u8>, Vec<u8>), BadAnswer> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(BadAnswer::InvalidField)?);
    let value = value[1..].trim_ascii();
    // RFC 9110 §5.1, §5.5. A name with white space, also from a folded line, is none.
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if name.is_empty() || !name.iter().all(is_token) || value.iter().any(is_control) {
        return Err(BadAnswer::InvalidField);
    }
    Ok((name.to_vec(), value.to_vec()))
}

/// How the body is delimited (RFC 9112 §6.3).
fn framing(status: u16, fields: &Fields) -> Result<State, BadAnswer> {
    let values = |wanted: &'static [u8]| {
        let is_wanted = move |(name, _): &&(Vec<u8>, Vec<u8>)| name.eq_ignore_ascii_case(wanted);
        fields.iter().filter(is_wanted).map(|(_, value)| &value[..])
    };
    let mut lengths = values(b"content-length");
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(digits), None) => Some(decimal(digits).ok_or(BadAnswer::InvalidLength)?),
        (Some(_), Some(_)) => return Err(BadAnswer::InvalidLength),
    };
    let codings: Vec<&[u8]> = values(b"transfer-encoding").collect();
    let is_chunked = match codings[..] {
        [] => false,
        [coding] if coding.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(BadAnswer::UnsupportedTransferCoding),
    };
    if is_chunked && length.is_some() {
        return Err(BadAnswer::ContradictoryFraming);
    }
    Ok(match (status, length) {
        (204 | 304, _) => State::Length(0),
        _ if is_chunked => State::ChunkSize,
        (_, Some(length)) => State::Length(length),
        (_, None) => State::UntilEnd,
    })
}

/// Whether Connection has this option.
fn has_option(fields: &Fields, option: &[u8]) -> bool {
    fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| value.split(|&byte| byte == b','))
        .any(|own| own.trim_ascii().eq_ignore_ascii_case(option))
}

fn decimal(digits: &[u8]) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// The size in the line of a chunk, whose extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let end = line
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(line.len());
    let digits = &line[..end];
    let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = str::from_utf8(digits).ok().filter(|_| is_number)?;
    usize::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result, the same for each division of the input into two.
    fn read(text: &str, is_closed: bool) -> Result<Option<ServiceAnswer>, BadAnswer> {
        let run = |parts: [&str; 2]| {
            let mut reader = AnswerReader::default();
            assert!(reader.is_empty());
            for part in parts {
                let answer = reader.receive(part.as_bytes())?;
                if answer.is_some() {
                    return Ok(answer);
                }
            }
            match is_closed {
                true => reader.receive_end().map(Some),
                false => Ok(None),
            }
        };
        let whole = run([text, ""]);
        for cut in 0..text.len() {
            let divided = run([&text[..cut], &text[cut..]]);
            // What follows a response may come later than it.
            let is_early = matches!((&whole, &divided), (Ok(Some(one)), Ok(Some(other))) if one.body == other.body);
            assert!(
                divided == whole || is_early,
                "{text:?} cut at {cut}: {divided:?}"
            );
        }
        whole
    }

    #[test]
    fn a_complete_response_is_an_answer() {
        for (text, is_closed, status, body, keeps) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                false,
                200,
                "ok",
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true),
            (
                "HTTP/1.1 204\r\nContent-Length: 9\r\n\r\n",
                false,
                204,
                "",
                true,
            ),
            (
                "HTTP/1.1 401 \r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
                false,
                401,
                "",
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
                false,
                200,
                "",
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: a, Keep-Alive\r\nContent-Length: 0\r\n\r\n",
                false,
                200,
                "",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nto the end",
                true,
                200,
                "to the end",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
                false,
                200,
                "abc0123456789",
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
                false,
                403,
                "x",
                true,
            ),
            // More than the response: the connection is not used again.
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200",
                false,
                200,
                "ok",
                false,
            ),
        ] {
            let answer = read(text, is_closed).unwrap().unwrap();
            let found = (answer.status, &answer.body[..], answer.keeps_connection);
            assert_eq!(found, (status, body.as_bytes(), keeps), "{text:?}");
        }
    }

    #[test]
    fn fields_are_as_sent() {
        let text = "HTTP/1.1 302 Found\r\nLocation: /login?a=b:c \r\nset-cookie:a=1\r\nSet-Cookie:\tb=2\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n";
        let fields = read(text, false).unwrap().unwrap().fields;
        let shown: Vec<String> = (fields.iter())
            .map(|(name, value)| [&name[..], value].map(String::from_utf8_lossy).join("="))
            .collect();
        let expected = [
            "Location=/login?a=b:c",
            "set-cookie=a=1",
            "Set-Cookie=b=2",
            "X-Empty=",
            "Content-Length=0",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_not_complete_is_no_answer() {
        for text in [
            "",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        ] {
            assert_eq!(read(text, false), Ok(None), "{text:?}");
            assert_eq!(read(text, true), Err(BadAnswer::Closed), "{text:?}");
        }
    }

    #[test]
    fn a_faulty_response_is_none() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(LONGEST_HEAD));
        let endless = "x".repeat(LONGEST_HEAD + 1);
        let large = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            LONGEST_BODY + 1
        );
        let interim = "HTTP/1.1 100 C\r\n\r\n".repeat(9);
        let chunked =
            |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        for (text, expected) in [
            ("SSH-2.0-OpenSSH\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("HTTP/2 200\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("HTTP/1.1 2000 OK\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("HTTP/1.1 2OO OK\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("HTTP/1.1  200 OK\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", BadAnswer::InvalidStatusLine),
            ("HTTP/1.1 099 OK\r\n\r\n", BadAnswer::UnexpectedStatus),
            ("HTTP/1.1 600 OK\r\n\r\n", BadAnswer::UnexpectedStatus),
            (
                "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                BadAnswer::UnexpectedStatus,
            ),
            (&interim, BadAnswer::UnexpectedStatus),
            (
                "HTTP/1.1 200 OK\r\nRemote-User : a\r\n\r\n",
                BadAnswer::InvalidField,
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\r\n Remote-User: b\r\n\r\n",
                BadAnswer::InvalidField,
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
                BadAnswer::InvalidField,
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\nRemote-User: b\r\n\r\n",
                BadAnswer::InvalidField,
            ),
            ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", BadAnswer::InvalidField),
            (
                "HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
                BadAnswer::InvalidField,
            ),
            ("HTTP/1.1 200 OK\r\n: x\r\n\r\n", BadAnswer::InvalidField),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
                BadAnswer::InvalidLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
                BadAnswer::InvalidLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
                BadAnswer::InvalidLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
                BadAnswer::ContradictoryFraming,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nx",
                BadAnswer::UnsupportedTransferCoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nx",
                BadAnswer::UnsupportedTransferCoding,
            ),
            (&chunked("x\r\n"), BadAnswer::InvalidChunk),
            (&chunked(" 1\r\nx\r\n"), BadAnswer::InvalidChunk),
            (&chunked("1\r\nxy\r\n"), BadAnswer::InvalidChunk),
            (&chunked("1\nx\r\n"), BadAnswer::InvalidChunk),
            (&chunked("123456789\r\n"), BadAnswer::InvalidChunk),
            (&chunked("FFFFFFFF\r\n"), BadAnswer::BodyTooLarge),
            (&large, BadAnswer::BodyTooLarge),
        ] {
            assert_eq!(read(text, false), Err(expected), "{text:?}");
        }
        for text in [&long, &endless] {
            let found = AnswerReader::default().receive(text.as_bytes());
            assert_eq!(found, Err(BadAnswer::HeadTooLarge));
        }
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(LONGEST_BODY + 1));
        let found = AnswerReader::default().receive(endless.as_bytes());
        assert_eq!(found, Err(BadAnswer::BodyTooLarge));
    }
}
