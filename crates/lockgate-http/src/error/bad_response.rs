//! The faults of an application in a response.

use std::error::Error;
use std::fmt;

/// What the application did wrong in its response head. It is reported before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadResponse {
    /// A status outside 200..=999 (RFC 9110 §15).
    InvalidStatus(u16),
    /// An interim status (1xx) as the final status (RFC 9110 §15.2).
    InterimStatus(u16),
    /// A status outside 100..=199 as an interim status (RFC 9110 §15.2).
    InvalidInterimStatus(u16),
    /// A 101 that does not name the protocol to switch to (RFC 9110 §15.2.2).
    MissingUpgrade,
    /// A control byte in the reason phrase: response splitting (RFC 9112 §4).
    ForbiddenByteInReason,
    /// A header name that is empty or not a token (RFC 9110 §5.1).
    InvalidHeaderName,
    /// CR, LF, NUL or another control byte in a header value: response splitting (RFC 9110 §5.5).
    ForbiddenByteInHeaderValue,
    /// A Content-Length that is not digits only, or is beyond 64 bits (RFC 9110 §8.6).
    InvalidContentLength,
    /// Two Content-Length headers that differ (RFC 9112 §6.3).
    ConflictingContentLength,
    /// Headers of more than 4 GiB, which no client reads.
    HeadTooLarge,
}

impl fmt::Display for BadResponse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidStatus(status) => write!(out, "status {status} is not in 200..=999"),
            Self::InterimStatus(status) => {
                write!(out, "status {status} is interim and cannot end a request")
            }
            Self::InvalidInterimStatus(status) => {
                write!(out, "interim status {status} is not in 100..=199")
            }
            Self::MissingUpgrade => out.write_str("101 without Upgrade"),
            Self::ForbiddenByteInReason => out.write_str("control byte in the reason phrase"),
            Self::InvalidHeaderName => out.write_str("a header name is not a token"),
            Self::ForbiddenByteInHeaderValue => out.write_str("control byte in a header value"),
            Self::InvalidContentLength => out.write_str("Content-Length is not a plain number"),
            Self::ConflictingContentLength => {
                out.write_str("two Content-Length headers that differ")
            }
            Self::HeadTooLarge => out.write_str("the headers are larger than 4 GiB"),
        }
    }
}

impl Error for BadResponse {}

/// The response body ended before its Content-Length: the connection must close, so that the client sees a truncated
/// response instead of a complete one (RFC 9112 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortBody {
    /// Bytes that were announced but not sent.
    pub missing: u64,
}

impl fmt::Display for ShortBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing;
        write!(
            out,
            "the response body is {missing} bytes shorter than its Content-Length"
        )
    }
}

impl Error for ShortBody {}
