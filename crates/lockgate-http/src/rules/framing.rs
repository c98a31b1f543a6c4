//! Message framing (RFC 9112 §6): how a request's body is delimited, decided from its fields.
//!
//! Invariant: a message has exactly one framing; two fields that announce one are an error.

use crate::error::Refusal;
use crate::limits::Limits;
use crate::request::{Framing, Version};
use crate::rules::grammar::{is_token, parse_decimal, trim_whitespace};

/// Content-Length and Transfer-Encoding, as far as they have been read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FramingFields {
    length: Option<u64>,
    is_chunked: bool,
}

impl FramingFields {
    /// Takes the value of a Content-Length line, without surrounding white space.
    pub(crate) fn add_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::RepeatedContentLength);
        }
        if self.is_chunked {
            return Err(Refusal::BothLengthAndChunked);
        }
        match parse_decimal(value) {
            Ok(Some(length)) => self.length = Some(length),
            Ok(None) => return Err(Refusal::ContentLengthOverflow),
            Err(_) => return Err(Refusal::InvalidContentLength),
        }
        Ok(())
    }

    /// Takes the value of a Transfer-Encoding line, without surrounding white space.
    pub(crate) fn add_transfer_encoding(
        &mut self,
        value: &[u8],
        version: Version,
    ) -> Result<(), Refusal> {
        if self.is_chunked {
            return Err(Refusal::RepeatedTransferEncoding);
        }
        if version == Version::Http10 {
            return Err(Refusal::TransferEncodingInHttp10);
        }
        if self.length.is_some() {
            return Err(Refusal::BothLengthAndChunked);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(coding_fault(value));
        }
        self.is_chunked = true;
        Ok(())
    }

    /// The framing of the message, once all fields have been read.
    pub(crate) fn decide(&self, limits: &Limits) -> Result<Framing, Refusal> {
        match (self.is_chunked, self.length) {
            (true, _) => Ok(Framing::Chunked),
            (false, None) => Ok(Framing::None),
            (false, Some(length)) if limits.is_body_too_long(length) => {
                Err(Refusal::BodyTooLarge { limit: limits.body })
            }
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

/// Why a list of codings is not exactly `chunked`.
#[cold]
fn coding_fault(value: &[u8]) -> Refusal {
    let codings = || value.split(|&byte| byte == b',').map(trim_whitespace);
    let is = |coding: &[u8], name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    if !codings().all(is_token) {
        return Refusal::InvalidTransferEncoding;
    }
    let count = codings().count();
    let is_misplaced = codings().enumerate().any(|(index, coding)| {
        is(coding, "identity") || (is(coding, "chunked") && index + 1 < count)
    });
    if is_misplaced {
        return Refusal::MisplacedTransferCoding;
    }
    Refusal::UnknownTransferCoding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_once_and_alone_is_supported() {
        for value in ["chunked", "CHUNKED", "Chunked"] {
            let mut framing = FramingFields::default();
            assert_eq!(
                framing.add_transfer_encoding(value.as_bytes(), Version::Http11),
                Ok(())
            );
            assert_eq!(framing.decide(&Limits::default()), Ok(Framing::Chunked));
        }
        let bad: [(&[u8], Refusal); 17] = [
            (b"xchunked", Refusal::UnknownTransferCoding),
            (b"gzip", Refusal::UnknownTransferCoding),
            (b"gzip, chunked", Refusal::UnknownTransferCoding),
            (b"chunked, identity", Refusal::MisplacedTransferCoding),
            (b"identity", Refusal::MisplacedTransferCoding),
            (b"identity, chunked", Refusal::MisplacedTransferCoding),
            (b"chunked, chunked", Refusal::MisplacedTransferCoding),
            (b"chunked, gzip", Refusal::MisplacedTransferCoding),
            (b"", Refusal::InvalidTransferEncoding),
            (b",chunked", Refusal::InvalidTransferEncoding),
            (b"chunked,", Refusal::InvalidTransferEncoding),
            (b"\x0bchunked", Refusal::InvalidTransferEncoding),
            (b"chunked;q=1", Refusal::InvalidTransferEncoding),
            (b"\"chunked\"", Refusal::InvalidTransferEncoding),
            (b"\xa0chunked", Refusal::InvalidTransferEncoding),
            (b"chunked\x85", Refusal::InvalidTransferEncoding),
            (b"chunked chunked", Refusal::InvalidTransferEncoding),
        ];
        for (value, refusal) in bad {
            let answer = FramingFields::default().add_transfer_encoding(value, Version::Http11);
            assert_eq!(answer, Err(refusal), "{value:?}");
        }
    }

    #[test]
    fn two_fields_that_announce_a_framing_are_an_error() {
        let (length, chunked) = (&b"3"[..], &b"chunked"[..]);
        let mut framing = FramingFields::default();
        framing.add_content_length(length).unwrap();
        let answer = framing.add_transfer_encoding(chunked, Version::Http11);
        assert_eq!(answer, Err(Refusal::BothLengthAndChunked));
        assert_eq!(
            framing.add_content_length(length),
            Err(Refusal::RepeatedContentLength)
        );

        let mut framing = FramingFields::default();
        framing
            .add_transfer_encoding(chunked, Version::Http11)
            .unwrap();
        assert_eq!(
            framing.add_content_length(length),
            Err(Refusal::BothLengthAndChunked)
        );
        let answer = framing.add_transfer_encoding(chunked, Version::Http11);
        assert_eq!(answer, Err(Refusal::RepeatedTransferEncoding));

        let answer = FramingFields::default().add_transfer_encoding(chunked, Version::Http10);
        assert_eq!(answer, Err(Refusal::TransferEncodingInHttp10));
    }

    #[test]
    fn a_length_over_the_limit_is_refused() {
        let limits = Limits {
            body: 10,
            ..Limits::default()
        };
        let unlimited = Limits {
            body: 0,
            ..Limits::default()
        };
        let decide = |raw: &[u8], limits: &Limits| {
            let mut framing = FramingFields::default();
            framing.add_content_length(raw)?;
            framing.decide(limits)
        };
        let too_large = Refusal::BodyTooLarge { limit: 10 };
        assert_eq!(decide(b"10", &limits), Ok(Framing::Length(10)));
        assert_eq!(decide(b"11", &limits), Err(too_large));
        assert_eq!(
            decide(b"18446744073709551615", &unlimited),
            Ok(Framing::Length(u64::MAX))
        );
        let overflow = decide(b"18446744073709551616", &unlimited);
        assert_eq!(overflow, Err(Refusal::ContentLengthOverflow));
        for raw in ["", "\x0b3", "+3", "-3", "3,3", "3 3", "3\t3"] {
            let answer = decide(raw.as_bytes(), &limits);
            assert_eq!(answer, Err(Refusal::InvalidContentLength), "{raw:?}");
        }
    }
}
