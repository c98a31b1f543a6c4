//! Decoder of the chunked coding (RFC 9112 §7.1), byte by byte; trailers are checked and dropped.
//!
//! Stricter than the RFC where readers have differed: a trailer may not affect framing, routing or authentication.
//! White space is allowed only where the grammar has it: around the delimiters of an extension.

use crate::error::Refusal;
use crate::http1::field::{FieldReader, NextLine};
use crate::limits::{Limits, is_body_too_long};
use crate::rules::fields::is_forbidden_trailer;
use crate::rules::grammar::{TCHAR, hexadecimal_digit};

/// A position in a chunked body. Small; uses heap memory only inside a trailer section.
#[derive(Debug, Default)]
pub(crate) struct ChunkedDecoder {
    stage: Stage,
    /// The size of the current chunk while its line is read, then the data bytes left in it.
    size: u64,
    /// Data bytes of all chunks, including the current one.
    total: u64,
    /// Bytes of the current chunk-size line.
    line: usize,
    has_digits: bool,
    /// Bytes of chunk-size lines beyond the allowance for the data.
    overhead: u64,
    /// In place of [`Limits::body`].
    body_limit: Option<u64>,
    trailers: Option<Box<Trailers>>,
}

#[derive(Debug, Default)]
struct Trailers {
    bytes: Vec<u8>,
    fields: FieldReader,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Size,
    /// White space after the size: an extension must follow.
    SizeGap,
    ExtensionName {
        is_empty: bool,
    },
    /// White space after the name: a value or the next extension must follow.
    NameGap,
    ExtensionValue {
        is_empty: bool,
    },
    Quoted,
    QuotedPair,
    QuotedEnd,
    /// White space after the value: the next extension must follow.
    ValueGap,
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    Trailers,
    LastLineFeed,
}

/// The result of a step of [`ChunkedDecoder`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'i> {
    /// All input was used.
    NeedMore,
    /// Data, never empty.
    Data(&'i [u8]),
    /// The body and its trailers are complete.
    End,
}

/// The bytes of extensions allowed per body beyond 16 per chunk and twice its data: the limit that net/http adopted
/// against CVE-2023-39326.
const OVERHEAD_LIMIT: u64 = 16 * 1024;

impl ChunkedDecoder {
    /// Decodes more of `input`; returns how much of it was used.
    pub(crate) fn decode<'i>(
        &mut self,
        input: &'i [u8],
        limits: &Limits,
    ) -> Result<(usize, Decoded<'i>), Refusal> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.stage {
                Stage::Data => {
                    let left = input.len() - at;
                    let take = usize::try_from(self.size).map_or(left, |size| size.min(left));
                    self.size -= take as u64;
                    if self.size == 0 {
                        self.stage = Stage::DataCarriageReturn;
                    }
                    return Ok((at + take, Decoded::Data(&input[at..at + take])));
                }
                Stage::DataCarriageReturn => {
                    self.stage = match byte {
                        b'\r' => Stage::DataLineFeed,
                        b'\n' => return Err(Refusal::BareLineFeed),
                        _ => return Err(Refusal::ChunkWithoutEnd),
                    };
                }
                Stage::DataLineFeed => {
                    self.stage = match byte {
                        b'\n' => Stage::Size,
                        _ => return Err(Refusal::ChunkWithoutEnd),
                    };
                }
                Stage::TrailerStart if byte == b'\r' => self.stage = Stage::LastLineFeed,
                Stage::LastLineFeed => {
                    return match byte {
                        b'\n' => Ok((at + 1, Decoded::End)),
                        _ => Err(Refusal::BareCarriageReturn),
                    };
                }
                Stage::TrailerStart | Stage::Trailers => {
                    self.stage = Stage::Trailers;
                    return self
                        .read_trailers(&input[at..], limits)
                        .map(|used| match used {
                            Some(used) => (at + used, Decoded::End),
                            None => (input.len(), Decoded::NeedMore),
                        });
                }
                _ => self.read_size_line(byte, limits)?,
            }
            at += 1;
        }
        Ok((input.len(), Decoded::NeedMore))
    }

    /// Replaces [`Limits::body`] for this body.
    pub(crate) fn limit_body(&mut self, limit: u64) {
        self.body_limit = Some(limit);
    }

    /// Bytes of trailers that are buffered.
    pub(crate) fn buffered(&self) -> usize {
        self.trailers
            .as_ref()
            .map_or(0, |trailers| trailers.bytes.len())
    }

    /// One byte of `chunk-size [ chunk-ext ] CRLF`.
    fn read_size_line(&mut self, byte: u8, limits: &Limits) -> Result<(), Refusal> {
        if self.stage == Stage::SizeLineFeed {
            if byte != b'\n' {
                return Err(Refusal::BareCarriageReturn);
            }
            return self.end_size_line();
        }
        if byte == b'\n' {
            return Err(Refusal::BareLineFeed);
        }
        let ends_line = byte == b'\r';
        if !ends_line {
            self.line += 1;
            if self.line > limits.chunk_line {
                return Err(Refusal::ChunkLineTooLong {
                    limit: limits.chunk_line,
                });
            }
        }
        let is_token_byte = TCHAR[usize::from(byte)];
        // RFC 9112 §7.1.1 has "bad" white space around `;` and `=`, which must be parsed (RFC 9110 §5.6.3).
        let is_space = matches!(byte, b' ' | b'\t');
        self.stage = match (self.stage, byte) {
            (Stage::Size, b'\r' | b';' | b' ' | b'\t') if self.has_digits => {
                self.check_size(limits)?;
                match byte {
                    b'\r' => Stage::SizeLineFeed,
                    b';' => Stage::ExtensionName { is_empty: true },
                    _ => Stage::SizeGap,
                }
            }
            (Stage::SizeGap, b';') => Stage::ExtensionName { is_empty: true },
            (Stage::SizeGap, _) if is_space => Stage::SizeGap,
            (Stage::SizeGap, _) => return Err(Refusal::InvalidChunkSize),
            (Stage::Size, _) => {
                self.add_digit(byte)?;
                Stage::Size
            }
            (
                Stage::ExtensionName { is_empty: false }
                | Stage::ExtensionValue { is_empty: false }
                | Stage::QuotedEnd,
                b'\r',
            ) => Stage::SizeLineFeed,
            (
                Stage::ExtensionName { is_empty: false }
                | Stage::NameGap
                | Stage::ExtensionValue { is_empty: false }
                | Stage::QuotedEnd
                | Stage::ValueGap,
                b';',
            ) => Stage::ExtensionName { is_empty: true },
            (Stage::ExtensionName { is_empty: false } | Stage::NameGap, b'=') => {
                Stage::ExtensionValue { is_empty: true }
            }
            (
                stage @ (Stage::ExtensionName { is_empty: true }
                | Stage::ExtensionValue { is_empty: true }
                | Stage::NameGap
                | Stage::ValueGap),
                _,
            ) if is_space => stage,
            (Stage::ExtensionName { .. }, _) if is_space => Stage::NameGap,
            (Stage::ExtensionValue { .. } | Stage::QuotedEnd, _) if is_space => Stage::ValueGap,
            (Stage::ExtensionName { .. }, _) if is_token_byte => {
                Stage::ExtensionName { is_empty: false }
            }
            (Stage::ExtensionValue { is_empty: true }, b'"') => Stage::Quoted,
            (Stage::ExtensionValue { .. }, _) if is_token_byte => {
                Stage::ExtensionValue { is_empty: false }
            }
            (Stage::Quoted, b'"') => Stage::QuotedEnd,
            (Stage::Quoted, b'\\') => Stage::QuotedPair,
            (Stage::Quoted | Stage::QuotedPair, b'\t' | 0x20..=0x7e | 0x80..) => Stage::Quoted,
            _ => return Err(Refusal::InvalidChunkExtension),
        };
        Ok(())
    }

    /// Leading zeros count as digits (RFC 9112 §7.1); the limit of the line bounds them.
    fn add_digit(&mut self, byte: u8) -> Result<(), Refusal> {
        let Some(digit) = hexadecimal_digit(byte) else {
            return Err(Refusal::InvalidChunkSize);
        };
        if self.size >> 60 != 0 {
            return Err(Refusal::ChunkSizeOverflow);
        }
        self.has_digits = true;
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }

    /// Called after the last digit: a size beyond 64 bits is an invalid number, not a body that is too large.
    fn check_size(&self, limits: &Limits) -> Result<(), Refusal> {
        let limit = self.body_limit.unwrap_or(limits.body);
        if is_body_too_long(self.total.saturating_add(self.size), limit) {
            return Err(Refusal::BodyTooLarge { limit });
        }
        match self.total.checked_add(self.size) {
            Some(_) => Ok(()),
            None => Err(Refusal::ChunkSizeOverflow),
        }
    }

    fn end_size_line(&mut self) -> Result<(), Refusal> {
        let allowance = self.size.saturating_mul(2).saturating_add(16);
        self.overhead = (self.overhead + self.line as u64 + 2).saturating_sub(allowance);
        if self.overhead > OVERHEAD_LIMIT {
            return Err(Refusal::TooMuchChunkOverhead);
        }
        self.stage = match self.size {
            0 => Stage::TrailerStart,
            _ => Stage::Data,
        };
        self.total += self.size;
        self.line = 0;
        self.has_digits = false;
        Ok(())
    }

    /// Returns how much of `input` belongs to the trailers, if their end is in it.
    fn read_trailers(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let trailers = self.trailers.get_or_insert_default();
        let before = trailers.bytes.len();
        let room = limits.trailers.saturating_sub(before);
        trailers
            .bytes
            .extend_from_slice(&input[..input.len().min(room)]);
        loop {
            let bytes = &trailers.bytes;
            let line_end = trailers.fields.line().saturating_add(limits.field_size);
            let end = line_end.min(limits.trailers);
            match trailers.fields.next(bytes, end, limits.fields)? {
                NextLine::Field { field, .. } if is_forbidden_trailer(field.name.of(bytes)) => {
                    return Err(Refusal::ForbiddenTrailer);
                }
                NextLine::Field { .. } => {}
                NextLine::End(length) => {
                    self.trailers = None;
                    return Ok(Some(length - before));
                }
                NextLine::NeedMore => return Ok(None),
                NextLine::TooLarge if line_end < limits.trailers => {
                    return Err(Refusal::FieldTooLarge {
                        limit: limits.field_size,
                    });
                }
                NextLine::TooLarge => {
                    return Err(Refusal::TrailersTooLarge {
                        limit: limits.trailers,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the number of bytes left after the body, and how it ended; fed in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> (Vec<u8>, usize, Result<bool, Refusal>) {
        let limits = Limits {
            body: 20,
            chunk_line: 8,
            trailers: 20,
            ..Limits::default()
        };
        let mut decoder = ChunkedDecoder::default();
        let mut data = Vec::new();
        let mut at = 0;
        for end in (0..input.len())
            .step_by(step)
            .map(|start| (start + step).min(input.len()))
        {
            loop {
                match decoder.decode(&input[at..end], &limits) {
                    Ok((used, decoded)) => {
                        at += used;
                        match decoded {
                            Decoded::NeedMore => break,
                            Decoded::Data(bytes) => data.extend_from_slice(bytes),
                            Decoded::End => return (data, input.len() - at, Ok(true)),
                        }
                    }
                    Err(refusal) => return (data, 0, Err(refusal)),
                }
            }
        }
        (data, input.len() - at, Ok(false))
    }

    #[test]
    fn a_body_decodes_the_same_in_pieces_of_any_size() {
        let cases: [(&str, &str, usize, Result<bool, Refusal>); 14] = [
            ("0\r\n\r\nGET", "", 3, Ok(true)),
            ("3\r\nabc\r\n0\r\n\r\nGET", "abc", 3, Ok(true)),
            ("3\r\nabc\r\n0\r\nA: b\r\n\r\nGET", "abc", 3, Ok(true)),
            ("00000003\r\nabc\r\n", "abc", 0, Ok(false)),
            (
                "14\r\n01234567890123456789\r\n0\r\n\r\n",
                "01234567890123456789",
                0,
                Ok(true),
            ),
            ("15\r", "", 0, Err(Refusal::BodyTooLarge { limit: 20 })),
            (
                "f\r\n012345678901234\r\n6\r",
                "012345678901234",
                0,
                Err(Refusal::BodyTooLarge { limit: 20 }),
            ),
            (
                "000000003",
                "",
                0,
                Err(Refusal::ChunkLineTooLong { limit: 8 }),
            ),
            ("1;a=\"b\"\r\nx\r\n", "x", 0, Ok(false)),
            ("1;a=\"\\\"\"\r\nx\r\n", "x", 0, Ok(false)),
            ("1;a=\"\\\r", "", 0, Err(Refusal::InvalidChunkExtension)),
            ("1;a=\"\u{b}", "", 0, Err(Refusal::InvalidChunkExtension)),
            (
                "0\r\nA: 4567890\r\nB: 4567890\r\n\r\n",
                "",
                0,
                Err(Refusal::TrailersTooLarge { limit: 20 }),
            ),
            ("0\r\nhost: h\r\n", "", 0, Err(Refusal::ForbiddenTrailer)),
        ];
        for (input, data, left, end) in cases {
            for step in 1..=input.len() {
                let (got_data, got_left, got_end) = decode(input.as_bytes(), step);
                assert_eq!(got_end, end, "{input:?} by {step}");
                assert_eq!(got_data, data.as_bytes(), "{input:?} by {step}");
                // Bytes after the body in a later piece were not offered yet.
                let is_whole = step == input.len();
                assert!(!is_whole || got_left == left, "{input:?}: {got_left} left");
            }
        }
    }

    #[test]
    fn nothing_is_buffered_without_trailers() {
        let limits = Limits::default();
        let mut decoder = ChunkedDecoder::default();
        let body = b"3\r\nabc\r\n0\r\n\r";
        assert_eq!(
            decoder.decode(body, &limits),
            Ok((6, Decoded::Data(b"abc")))
        );
        assert_eq!(
            decoder.decode(&body[6..], &limits),
            Ok((6, Decoded::NeedMore))
        );
        assert_eq!((decoder.buffered(), decoder.trailers.is_none()), (0, true));
        assert_eq!(decoder.decode(b"\n", &limits), Ok((1, Decoded::End)));
    }
}
