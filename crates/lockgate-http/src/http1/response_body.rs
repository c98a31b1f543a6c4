//! Framing of response bodies: by length, in chunks, or by the end of the connection or the stream.
//!
//! Invariant: an announced length is never exceeded.

use crate::error::ShortBody;
use crate::rules::content::Content;

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How the body of a response is delimited, and how much of it has been framed.
#[derive(Debug, Clone, Copy)]
pub struct ResponseBody {
    delimiter: Delimiter,
    sent: u64,
    keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// HEAD, 204, 205, 304: pieces are dropped.
    NoBody,
    /// Bytes still to come.
    Length(u64),
    Chunked,
    /// The last chunk was returned.
    ChunkedEnd,
    /// HTTP/1.0: delimited by the end of the connection.
    Close,
    /// HTTP/2: delimited by the end of the stream.
    EndOfStream,
}

/// The framing of one piece of the body.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Sent before the piece: a chunk-size line, or nothing.
    pub prefix: FramePrefix,
    /// How many bytes of the piece to send.
    pub take: usize,
    /// Sent after the piece.
    pub suffix: &'static [u8],
    /// The piece exceeds the announced length; the excess must not be sent.
    pub is_cut: bool,
}

/// A chunk-size line on the stack.
#[derive(Debug, Clone, Copy)]
pub struct FramePrefix {
    bytes: [u8; 18],
    start: u8,
}

impl AsRef<[u8]> for FramePrefix {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

impl FramePrefix {
    const EMPTY: Self = Self {
        bytes: [0; 18],
        start: 18,
    };

    fn chunk_size(size: usize) -> Self {
        let mut bytes = [b'\n'; 18];
        let mut rest = size;
        let mut start = 16;
        bytes[16] = b'\r';
        loop {
            start -= 1;
            bytes[start] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        Self {
            bytes,
            start: start as u8,
        }
    }
}

impl ResponseBody {
    pub(super) fn new(delimiter: Delimiter, keep_alive: bool) -> Self {
        Self {
            delimiter,
            sent: 0,
            keep_alive,
        }
    }

    /// The body of a response on a stream of its own, which needs no framing besides its length.
    pub(crate) fn on_stream(content: Content) -> Self {
        let delimiter = match content {
            Content::None => Delimiter::NoBody,
            Content::Length(length) => Delimiter::Length(length),
            Content::Unknown => Delimiter::EndOfStream,
        };
        Self::new(delimiter, true)
    }

    /// The framing of a piece of `piece` bytes. An empty piece sends nothing: an empty chunk would end the body.
    pub fn frame(&mut self, piece: usize) -> Frame {
        let mut frame = Frame {
            prefix: FramePrefix::EMPTY,
            take: piece,
            suffix: b"",
            is_cut: false,
        };
        match &mut self.delimiter {
            Delimiter::NoBody | Delimiter::ChunkedEnd => frame.take = 0,
            Delimiter::Length(left) => {
                frame.take = usize::try_from(*left).map_or(piece, |left| piece.min(left));
                frame.is_cut = frame.take < piece;
                *left -= frame.take as u64;
            }
            Delimiter::Chunked if piece > 0 => {
                frame.prefix = FramePrefix::chunk_size(piece);
                frame.suffix = b"\r\n";
            }
            Delimiter::Chunked | Delimiter::Close | Delimiter::EndOfStream => {}
        }
        self.sent += frame.take as u64;
        frame
    }

    /// What to send after the last piece: the last chunk, or nothing.
    ///
    /// # Errors
    ///
    /// The body is shorter than announced: the connection must close.
    pub fn finish(&mut self) -> Result<&'static [u8], ShortBody> {
        match self.delimiter {
            Delimiter::Chunked => {
                self.delimiter = Delimiter::ChunkedEnd;
                Ok(LAST_CHUNK)
            }
            Delimiter::Length(missing @ 1..) => {
                self.keep_alive = false;
                Err(ShortBody { missing })
            }
            _ => Ok(b""),
        }
    }

    /// Whether the connection stays open after this response, as its head announced.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether no further byte may follow: the announced length is reached, no body is allowed, or the last chunk was
    /// returned.
    pub fn is_complete(&self) -> bool {
        matches!(
            self.delimiter,
            Delimiter::NoBody | Delimiter::Length(0) | Delimiter::ChunkedEnd
        )
    }

    /// Whether only the end of the connection ends the body (HTTP/1.0 without a length): a client takes any orderly
    /// close as the end of the response.
    pub fn ends_with_connection(&self) -> bool {
        self.delimiter == Delimiter::Close
    }

    /// Whether the body is sent in chunks.
    pub fn is_chunked(&self) -> bool {
        matches!(self.delimiter, Delimiter::Chunked | Delimiter::ChunkedEnd)
    }

    /// Body bytes framed so far, without chunk framing.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether this response has a body; otherwise pieces are dropped.
    pub fn allows_body(&self) -> bool {
        self.delimiter != Delimiter::NoBody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_begins_with_its_size() {
        let mut body = ResponseBody::new(Delimiter::Chunked, true);
        for (piece, prefix) in [
            (1, "1\r\n"),
            (26, "1a\r\n"),
            (usize::MAX, "ffffffffffffffff\r\n"),
        ] {
            body.sent = 0;
            let frame = body.frame(piece);
            assert_eq!(frame.prefix.as_ref(), prefix.as_bytes());
            assert_eq!(
                (frame.take, frame.suffix, frame.is_cut),
                (piece, &b"\r\n"[..], false)
            );
        }
        let empty = body.frame(0);
        assert_eq!(
            (empty.prefix.as_ref(), empty.take, empty.suffix),
            (&b""[..], 0, &b""[..])
        );
        assert!(!body.is_complete() && body.is_chunked());
        assert_eq!(body.finish(), Ok(LAST_CHUNK));
        assert!(body.is_complete());
        assert_eq!(body.finish(), Ok(&b""[..]));
        assert_eq!(body.frame(5).take, 0);
    }

    #[test]
    fn a_body_has_exactly_its_announced_length() {
        let mut body = ResponseBody::new(Delimiter::Length(5), true);
        let frame = body.frame(3);
        assert_eq!(
            (frame.take, frame.is_cut, frame.prefix.as_ref()),
            (3, false, &b""[..])
        );
        let mut short = body;
        assert_eq!(short.finish(), Err(ShortBody { missing: 2 }));
        assert!(!short.keep_alive());
        let frame = body.frame(3);
        assert_eq!((frame.take, frame.is_cut), (2, true));
        assert!(body.is_complete() && body.finish() == Ok(b""));
        assert_eq!(body.sent(), 5);
    }
}
