//! Parser of request heads: one pass, resumable at any byte.
//!
//! Invariant: syntax faults are reported at the byte, faults of meaning at the end of their line, faults of the whole
//! head (a missing Host, a body over its limit) at its end. So the result depends on the bytes alone and not on how
//! they were cut.

use crate::error::Refusal;
use crate::http1::field::{FieldReader, NextLine};
use crate::limits::Limits;
use crate::request::{RequestHead, Summary, Version};
use crate::rules::fields::FieldRules;
use crate::rules::grammar::{TARGET, TCHAR};
use crate::rules::method::check_method;
use crate::rules::target::{forbidden_byte, split_target};
use crate::span::{Field, Span};

/// A position in a head.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    stage: Stage,
    /// The first byte of the request line that was not examined.
    at: usize,
    lines: FieldReader,
    rules: FieldRules,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    #[default]
    Method,
    Target {
        start: usize,
    },
    Version {
        start: usize,
    },
    Fields,
}

const VERSION_LENGTH: usize = b"HTTP/1.1\r\n".len();

impl HeadReader {
    /// Continues in `bytes`, which start with the same bytes as before, and records the result in `head`.
    /// Returns the length of the head when it is complete.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        head: &mut RequestHead,
        limits: &Limits,
    ) -> Result<Option<usize>, Refusal> {
        if !matches!(self.stage, Stage::Fields)
            && !self.advance_line(bytes, &mut head.summary, limits)?
        {
            return Ok(None);
        }
        loop {
            let line_end = self.lines.line().saturating_add(limits.field_size);
            match self
                .lines
                .next(bytes, line_end.min(limits.head), limits.fields)?
            {
                NextLine::Field {
                    has_underscore: true,
                    ..
                } => {
                    head.summary.dropped += 1;
                    head.summary.may_have_forwarding_headers = true;
                }
                NextLine::Field { field, .. } => {
                    head.fields.push(field);
                    if let Err(refusal) = self.rules.apply(field, bytes, &mut head.summary) {
                        head.summary.faulty = Some(field);
                        return Err(refusal);
                    }
                }
                NextLine::End(length) => {
                    self.rules.finish(&mut head.summary, limits)?;
                    return Ok(Some(length));
                }
                NextLine::NeedMore => return Ok(None),
                NextLine::TooLarge if line_end < limits.head => {
                    return Err(Refusal::FieldTooLarge {
                        limit: limits.field_size,
                    });
                }
                NextLine::TooLarge => return Err(head_too_large(limits)),
            }
        }
    }

    /// After a refusal: how many bytes at the start of the head were read as complete parts, which can be logged. Of a
    /// field with a faulty value that is its name, which is recorded.
    #[cold]
    pub(crate) fn loggable_length(&self, summary: &mut Summary) -> usize {
        match self.stage {
            Stage::Method => 0,
            Stage::Target { start } | Stage::Version { start } => start,
            Stage::Fields => match self.lines.name_in_progress() {
                Some(name) => {
                    let value = Span::default();
                    summary.faulty = Some(Field { name, value });
                    name.end as usize
                }
                None => self.lines.line(),
            },
        }
    }

    /// Continues in the request line; true when it is complete.
    fn advance_line(
        &mut self,
        bytes: &[u8],
        summary: &mut Summary,
        limits: &Limits,
    ) -> Result<bool, Refusal> {
        let line_end = limits.request_line.saturating_add(2);
        let end = line_end.min(limits.head);
        let window = &bytes[..bytes.len().min(end)];
        let pause = || match window.len() {
            length if length < end => Ok(false),
            _ if line_end < limits.head => Err(Refusal::RequestLineTooLong {
                limit: limits.request_line,
            }),
            _ => Err(head_too_large(limits)),
        };
        if let Stage::Method = self.stage {
            let rest = &window[self.at..window.len().min(Limits::METHOD + 1)];
            let Some(length) = rest.iter().position(|&byte| !TCHAR[usize::from(byte)]) else {
                self.at += rest.len();
                if self.at > Limits::METHOD {
                    return Err(Refusal::MethodTooLong {
                        limit: Limits::METHOD,
                    });
                }
                return pause();
            };
            self.at += length;
            if window[self.at] != b' ' || self.at == 0 {
                return Err(method_fault(window, self.at));
            }
            summary.method = Span::new(0, self.at);
            self.at += 1;
            self.stage = Stage::Target { start: self.at };
        }
        if let Stage::Target { start } = self.stage {
            let rest = &window[self.at..];
            let Some(length) = rest.iter().position(|&byte| !TARGET[usize::from(byte)]) else {
                self.at = window.len();
                let is_whole = pause();
                if is_whole.is_err() {
                    // As much of it as fits, so that the log shows which request was refused.
                    self.end_target(start, summary);
                }
                return is_whole;
            };
            self.at += length;
            if window[self.at] != b' ' || self.at == start {
                // Up to the fault, so that the log shows which request was refused.
                self.end_target(start, summary);
                return Err(target_fault(window[self.at]));
            }
            summary.target = Span::new(start, self.at);
            self.at += 1;
            self.stage = Stage::Version { start: self.at };
        }
        if let Stage::Version { start } = self.stage {
            let rest = &window[start..];
            match rest.first_chunk::<VERSION_LENGTH>() {
                Some(b"HTTP/1.1\r\n") => {}
                _ => match version_line(rest)? {
                    Some(version) => self.check_version(version, window, summary)?,
                    None => return pause(),
                },
            }
            let at = start + VERSION_LENGTH;
            self.stage = Stage::Fields;
            self.lines = FieldReader::starting_at(at);
            let method = summary.method.of(bytes);
            check_method(method)?;
            let target = summary.target.of(bytes);
            summary.parts = split_target(target, summary.target.start as usize, method)?;
            summary.may_have_forwarding_headers = summary.parts.is_https;
        }
        Ok(true)
    }

    /// The line ends with its target, or was cut there, or a byte of it is at fault: records the part of the target
    /// before that.
    #[cold]
    fn end_target(&mut self, start: usize, summary: &mut Summary) {
        summary.target = Span::new(start, self.at);
        self.stage = Stage::Version { start: self.at };
    }

    #[cold]
    fn check_version(
        &mut self,
        version: (u8, u8),
        bytes: &[u8],
        summary: &mut Summary,
    ) -> Result<(), Refusal> {
        if let Stage::Version { start } = self.stage {
            // The line is complete and can be logged, whatever its version.
            self.stage = Stage::Fields;
            self.lines = FieldReader::starting_at(start + VERSION_LENGTH);
        }
        let method = summary.method.of(bytes);
        let target = summary.target.of(bytes);
        match version {
            (1, 0) => {
                summary.version = Version::Http10;
                Ok(())
            }
            // RFC 9110 §2.5: a higher minor version is read as the highest supported one.
            (1, _) => Ok(()),
            (2, 0) if method == b"PRI" && target == b"*" => Err(Refusal::Http2Preface),
            _ => Err(Refusal::UnsupportedVersion),
        }
    }
}

/// The digits of `HTTP/d.d` CRLF; `None` while `line` is incomplete.
#[cold]
fn version_line(line: &[u8]) -> Result<Option<(u8, u8)>, Refusal> {
    let mut digits = [0; 2];
    for (index, &byte) in line.iter().enumerate().take(VERSION_LENGTH) {
        let is_expected = match index {
            5 | 7 => {
                digits[usize::from(index == 7)] = byte.wrapping_sub(b'0');
                byte.is_ascii_digit()
            }
            _ => byte == b"HTTP/0.0\r\n"[index],
        };
        if !is_expected {
            return Err(match byte {
                b'\n' => Refusal::BareLineFeed,
                _ if index == 9 => Refusal::BareCarriageReturn,
                b'\r' if index == 0 => Refusal::MissingVersion,
                b' ' | b'\t' if index == 0 || index == 8 => Refusal::MisplacedWhitespace,
                _ => Refusal::InvalidVersion,
            });
        }
    }
    Ok((line.len() >= VERSION_LENGTH).then_some((digits[0], digits[1])))
}

#[cold]
fn method_fault(bytes: &[u8], at: usize) -> Refusal {
    match bytes[at] {
        // Content type 22, handshake: the first byte of every ClientHello.
        0x16 if at == 0 => Refusal::TlsOnPlainPort,
        b'\n' => Refusal::BareLineFeed,
        b'\r' => Refusal::MissingVersion,
        b' ' | b'\t' => Refusal::MisplacedWhitespace,
        _ => Refusal::InvalidMethod,
    }
}

#[cold]
fn target_fault(byte: u8) -> Refusal {
    match byte {
        b'\n' => Refusal::BareLineFeed,
        b'\r' => Refusal::MissingVersion,
        b' ' | b'\t' => Refusal::MisplacedWhitespace,
        _ => forbidden_byte(byte),
    }
}

#[cold]
fn head_too_large(limits: &Limits) -> Refusal {
    Refusal::HeadTooLarge { limit: limits.head }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The refusal, and the method, target and number of fields read before it.
    fn refuse(text: &str) -> (Refusal, String, String, usize) {
        let mut head = RequestHead::default();
        let mut reader = HeadReader::default();
        let limits = Limits {
            request_line: 40,
            field_size: 30,
            head: 90,
            ..Limits::default()
        };
        let refusal = reader
            .advance(text.as_bytes(), &mut head, &limits)
            .unwrap_err();
        head.bytes
            .extend_from_slice(&text.as_bytes()[..reader.loggable_length(&mut head.summary)]);
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            refusal,
            text_of(head.method()),
            text_of(head.target()),
            head.headers().len(),
        )
    }

    #[test]
    fn the_parts_before_a_fault_can_be_logged() {
        let long = "x".repeat(40);
        let cut = format!("/{}", "x".repeat(42 - "GET /".len()));
        let too_large = Refusal::FieldTooLarge { limit: 30 };
        let cases = [
            (
                "G@T / HTTP/1.1\r\n".into(),
                Refusal::InvalidMethod,
                "",
                "",
                0,
            ),
            ("GET /#".into(), Refusal::FragmentInTarget, "GET", "/", 0),
            (
                "GET /caf\u{e9} HTTP/1.1\r\n".into(),
                Refusal::NonAsciiInTarget,
                "GET",
                "/caf",
                0,
            ),
            (
                "GET  / HTTP/1.1\r\n".into(),
                Refusal::MisplacedWhitespace,
                "GET",
                "",
                0,
            ),
            (
                "GET /a HTTP/3.0\r\n".into(),
                Refusal::UnsupportedVersion,
                "GET",
                "/a",
                0,
            ),
            (
                "GET a HTTP/1.1\r\n".into(),
                Refusal::RelativeTarget,
                "GET",
                "a",
                0,
            ),
            (
                "GET /a HTTP/1.1\r\nHost: h\r\nX\r\n".into(),
                Refusal::FieldWithoutColon,
                "GET",
                "/a",
                1,
            ),
            (
                "GET /a HTTP/1.1\r\nHost: /\r\n".into(),
                Refusal::InvalidHost,
                "GET",
                "/a",
                1,
            ),
            (
                "GET /a HTTP/1.1\r\nA: b\r\n\r\n".into(),
                Refusal::MissingHost,
                "GET",
                "/a",
                1,
            ),
            (
                format!("GET /{long}"),
                Refusal::RequestLineTooLong { limit: 40 },
                "GET",
                &cut,
                0,
            ),
            (
                format!("GET / HTTP/1.1\r\nA: {long}"),
                too_large,
                "GET",
                "/",
                0,
            ),
            (
                format!("GET / HTTP/1.1\r\n{}", "A: 345678901234567\r\n".repeat(5)),
                Refusal::HeadTooLarge { limit: 90 },
                "GET",
                "/",
                3,
            ),
        ];
        for (text, refusal, method, target, fields) in cases {
            let expected = (refusal, method.to_owned(), target.to_owned(), fields);
            assert_eq!(refuse(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_byte_of_a_partial_request_line_is_examined_once() {
        for text in ["GET", "GET /a", "GET /abc"] {
            let mut reader = HeadReader::default();
            let mut head = RequestHead::default();
            let answer = reader.advance(text.as_bytes(), &mut head, &Limits::default());
            assert_eq!((answer, reader.at), (Ok(None), text.len()), "{text}");
        }
    }
}
