//! The Redis protocol (RESP, version 2): commands to bytes, and replies from bytes.

use std::io::{self, BufRead, Read};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Reply>),
    Nil,
}

/// Bytes of the longest status, error or number.
const LONGEST_LINE: u64 = 16 * 1024;
/// Bytes of the largest string: more than a message may have.
const LARGEST_STRING: u64 = 256 * 1024 * 1024;
/// Elements of the longest list.
const LONGEST_LIST: usize = 65_536;
/// The answer to XREAD has four levels.
const DEEPEST: usize = 8;

/// Appends a command.
pub(crate) fn write_command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one reply.
///
/// # Errors
/// When the connection fails or ends, or the bytes are no reply.
pub(crate) fn read_reply(reader: &mut dyn BufRead) -> io::Result<Reply> {
    read_at_depth(reader, 0)
}

fn read_at_depth(reader: &mut dyn BufRead, depth: usize) -> io::Result<Reply> {
    let line = read_line(reader)?;
    let mut characters = line.chars();
    let kind = characters.next().ok_or_else(invalid)?;
    let rest = characters.as_str();
    Ok(match kind {
        '+' => Reply::Status(rest.to_owned()),
        '-' => Reply::Error(rest.to_owned()),
        ':' => Reply::Number(rest.parse().map_err(|_| invalid())?),
        '$' | '*' if rest == "-1" => Reply::Nil,
        '$' => {
            let length = rest.parse().map_err(|_| invalid())?;
            Reply::Bytes(read_string(reader, length)?)
        }
        '*' => {
            let length: usize = rest.parse().map_err(|_| invalid())?;
            if depth >= DEEPEST || length > LONGEST_LIST {
                return Err(invalid());
            }
            let replies = (0..length).map(|_| read_at_depth(reader, depth + 1));
            Reply::List(replies.collect::<io::Result<_>>()?)
        }
        _ => return Err(invalid()),
    })
}

/// A line without its end.
fn read_line(reader: &mut dyn BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(invalid)?;
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn read_string(reader: &mut dyn BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > LARGEST_STRING {
        return Err(invalid());
    }
    // Grows as the bytes arrive, whatever length was announced.
    let mut bytes = Vec::new();
    reader.take(length + 2).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match bytes.ends_with(b"\r\n") {
        true => bytes.truncate(bytes.len() - 2),
        false => return Err(invalid()),
    }
    Ok(bytes)
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the answer is not in the Redis protocol",
    )
}

impl Reply {
    /// The elements of a list; nothing for nil.
    pub(crate) fn into_list(self) -> Option<Vec<Reply>> {
        match self {
            Self::List(replies) => Some(replies),
            Self::Nil => Some(Vec::new()),
            _ => None,
        }
    }

    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn into_text(self) -> Option<String> {
        String::from_utf8(self.into_bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        read_reply(&mut bytes)
    }

    #[test]
    fn replies_are_read() {
        for (bytes, reply) in [
            (&b"+OK\r\n"[..], Reply::Status("OK".to_owned())),
            (b"-ERR a b\r\n", Reply::Error("ERR a b".to_owned())),
            (b":-7\r\n", Reply::Number(-7)),
            (b"$-1\r\n", Reply::Nil),
            (b"*-1\r\n", Reply::Nil),
            (b"$0\r\n\r\n", Reply::Bytes(Vec::new())),
            (
                b"$4\r\n\r\n\xff\0\r\n",
                Reply::Bytes(b"\r\n\xff\0".to_vec()),
            ),
            (
                b"*2\r\n*0\r\n:1\r\n",
                Reply::List(vec![Reply::List(Vec::new()), Reply::Number(1)]),
            ),
        ] {
            assert_eq!(read(bytes).unwrap(), reply, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_reply_or_too_large_is_refused() {
        let deep = b"*1\r\n".repeat(DEEPEST + 2);
        let long = vec![b'+'; LONGEST_LINE as usize + 1];
        for (bytes, kind) in [
            (&b""[..], io::ErrorKind::UnexpectedEof),
            (b"$4\r\nab", io::ErrorKind::UnexpectedEof),
            (b"*1\r\n", io::ErrorKind::UnexpectedEof),
            (b"+OK", io::ErrorKind::InvalidData),
            (b"\r\n", io::ErrorKind::InvalidData),
            (b"HTTP/1.1 400 Bad Request\r\n", io::ErrorKind::InvalidData),
            (b":x\r\n", io::ErrorKind::InvalidData),
            (b"$-2\r\n", io::ErrorKind::InvalidData),
            (b"$1\r\nabc", io::ErrorKind::InvalidData),
            (b"$99999999999\r\n", io::ErrorKind::InvalidData),
            (b"*99999999\r\n", io::ErrorKind::InvalidData),
            (&deep, io::ErrorKind::InvalidData),
            (&long, io::ErrorKind::InvalidData),
        ] {
            assert_eq!(read(bytes).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }

    #[test]
    fn a_command_is_a_list_of_strings() {
        let mut bytes = Vec::new();
        write_command(&mut bytes, &[b"SET", b"a\r\n", b""]);
        assert_eq!(bytes, b"*3\r\n$3\r\nSET\r\n$3\r\na\r\n\r\n$0\r\n\r\n");
        let strings = [&b"SET"[..], b"a\r\n", b""].map(|it| Reply::Bytes(it.to_vec()));
        assert_eq!(read(&bytes).unwrap(), Reply::List(strings.to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, kind in "[+:$*-]") {
            let _ = read(&bytes);
            let _ = read(&[kind.as_bytes(), &bytes].concat());
        }
    }
}
