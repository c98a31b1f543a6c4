//! The reasons to refuse a request or a response, each with its status.
//!
//! Invariant: a [`Refusal`] is final. Each leaves the framing in doubt, so the caller sends the status and closes
//! (RFC 9112 §9.6).

mod bad_response;

use std::error::Error;
use std::fmt;

pub use bad_response::{BadResponse, ShortBody};

use crate::status::reason_phrase;
use crate::uwsgi::{PacketFault, modifier_name};

/// What the peer did wrong, or which feature the server does not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A TLS record on a port for plain HTTP (RFC 8446 §5.1: content type 22).
    TlsOnPlainPort,
    /// A packet of the uwsgi protocol on a port for HTTP: no method begins with NUL.
    UwsgiPacket,
    /// A packet of the uwsgi protocol that is not valid.
    Packet(PacketFault),
    /// The HTTP/2 connection preface (RFC 9113 §3.4).
    Http2Preface,
    /// More than two empty lines before the request line (RFC 9112 §2.2 asks for "at least one").
    LeadingBlankLines,
    /// LF without CR. RFC 9112 §2.2 allows it as a line end; a proxy in front may read it differently.
    BareLineFeed,
    /// CR that is not followed by LF (RFC 9112 §2.2).
    BareCarriageReturn,
    /// A method with a byte that is not allowed in a token (RFC 9110 §9.1, §5.6.2).
    InvalidMethod,
    /// White space other than the two single spaces of the request line (RFC 9112 §3).
    MisplacedWhitespace,
    /// A request line that ends after the method or the target: the style of HTTP/0.9 (RFC 9112 §3).
    MissingVersion,
    /// Anything other than `HTTP/` DIGIT `.` DIGIT in place of the version (RFC 9112 §2.3).
    InvalidVersion,
    /// A major version other than 1 (RFC 9110 §15.6.6).
    UnsupportedVersion,
    /// The method is longer than `limit` bytes: longer than any existing method (RFC 9112 §3).
    MethodTooLong {
        /// [`Limits::METHOD`](crate::Limits::METHOD)
        limit: usize,
    },
    /// The request line is longer than `limit` bytes (RFC 9112 §3, RFC 9110 §15.5.15).
    RequestLineTooLong {
        /// [`Limits::request_line`](crate::Limits::request_line)
        limit: usize,
    },
    /// CONNECT or TRACE: tunnels and echoes are not supported (RFC 9110 §9.3.6, §9.3.8).
    MethodNotImplemented,
    /// A control byte in the target (RFC 9112 §3.2).
    ForbiddenByteInTarget,
    /// A raw byte outside ASCII in the target; it must be percent-encoded (RFC 3986 §2.1).
    NonAsciiInTarget,
    /// `#` in the target: fragments are never sent (RFC 9110 §7.1).
    FragmentInTarget,
    /// A target that is neither a path, nor `*`, nor an absolute http or https URI (RFC 9112 §3.2).
    RelativeTarget,
    /// `*` with a method other than OPTIONS (RFC 9112 §3.2.4).
    AsteriskWithoutOptions,
    /// An absolute target whose authority is empty or malformed, or has user information
    /// (RFC 9112 §3.2.2, RFC 9110 §4.2.4).
    InvalidAuthority,
    /// An `https` target on a connection without TLS whose peer is not a trusted proxy (RFC 9110 §7.4).
    HttpsTargetOverPlainHttp,
    /// White space between the request line and the first field line (RFC 9112 §2.2).
    WhitespaceBeforeFirstField,
    /// A field line that continues on the next line (RFC 9112 §5.2).
    ObsoleteLineFolding,
    /// A field line that starts with its colon (RFC 9112 §5.1).
    EmptyFieldName,
    /// White space inside a field name or before its colon (RFC 9112 §5.1).
    WhitespaceInFieldName,
    /// A field name with a byte that is not allowed in a token (RFC 9110 §5.1), or an upper-case letter in HTTP/2 (RFC
    /// 9113 §8.2.1).
    InvalidFieldName,
    /// A line without a colon between the request line and the empty line (RFC 9112 §5).
    FieldWithoutColon,
    /// NUL or another control byte in a field value (RFC 9110 §5.5).
    ForbiddenByteInFieldValue,
    /// A field line is longer than `limit` bytes (RFC 6585 §5).
    FieldTooLarge {
        /// [`Limits::field_size`](crate::Limits::field_size)
        limit: usize,
    },
    /// There are more than `limit` field lines (RFC 6585 §5).
    TooManyFields {
        /// [`Limits::fields`](crate::Limits::fields)
        limit: usize,
    },
    /// The head is longer than `limit` bytes (RFC 6585 §5).
    HeadTooLarge {
        /// [`Limits::head`](crate::Limits::head)
        limit: usize,
    },
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    MissingHost,
    /// More than one Host line (RFC 9112 §3.2).
    RepeatedHost,
    /// A Host that is empty or not one `uri-host [ ":" port ]` (RFC 9110 §7.2).
    InvalidHost,
    /// HTTP/2: a Host that differs from `:authority` (RFC 9113 §8.3.1).
    ContradictoryHost,
    /// HTTP/2: a `:scheme` other than http and https (RFC 9113 §8.3.1).
    UnknownScheme,
    /// HTTP/2: a field about the connection, such as Connection or Transfer-Encoding (RFC 9113 §8.2.2).
    ConnectionSpecificField,
    /// HTTP/2: a field value that begins or ends with white space (RFC 9113 §8.2.1).
    WhitespaceAroundFieldValue,
    /// HTTP/2: no `:method`, `:scheme` or `:path`, an empty `:scheme`, or one of those that CONNECT may not have
    /// (RFC 9113 §8.3.1, §8.5).
    MissingPseudoHeader,
    /// HTTP/2: a name with a colon that is not one of a request's (RFC 9113 §8.3).
    UnknownPseudoHeader,
    /// HTTP/2: a pseudo-header field twice (RFC 9113 §8.3).
    RepeatedPseudoHeader,
    /// HTTP/2: a pseudo-header field after other fields, or as a trailer (RFC 9113 §8.3).
    MisplacedPseudoHeader,
    /// HTTP/2: a second header block that does not end the request (RFC 9113 §8.1).
    TrailersWithoutEnd,
    /// HTTP/2: more DATA than Content-Length announces (RFC 9113 §8.1.1).
    BodyBeyondLength,
    /// More than one Content-Type line: applications may use different ones (RFC 9110 §8.3, §5.3).
    RepeatedContentType,
    /// A Content-Length with anything but digits (RFC 9110 §8.6).
    InvalidContentLength,
    /// More than one Content-Length line, also with equal values. RFC 9112 §6.3 allows equal ones; a proxy in front may
    /// use a different one.
    RepeatedContentLength,
    /// A Content-Length that exceeds 64 bits (RFC 9110 §8.6).
    ContentLengthOverflow,
    /// More than one Transfer-Encoding line (RFC 9112 §6.1).
    RepeatedTransferEncoding,
    /// A Transfer-Encoding that is not a list of plain tokens (RFC 9112 §6.1, §7).
    InvalidTransferEncoding,
    /// `chunked` twice or not last, or `identity`, which no longer exists (RFC 9112 §6.1, §7).
    MisplacedTransferCoding,
    /// An unsupported transfer coding (RFC 9112 §6.1).
    UnknownTransferCoding,
    /// Transfer-Encoding in HTTP/1.0, which does not have it (RFC 9112 §6.1).
    TransferEncodingInHttp10,
    /// Content-Length and Transfer-Encoding together: request smuggling (RFC 9112 §6.3).
    BothLengthAndChunked,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    UnknownExpectation,
    /// The body, or its announced length, exceeds `limit` bytes (RFC 9110 §15.5.14).
    BodyTooLarge {
        /// [`Limits::body`](crate::Limits::body)
        limit: u64,
    },
    /// A chunk size with anything but hexadecimal digits (RFC 9112 §7.1).
    InvalidChunkSize,
    /// A chunk size, or a body, that exceeds 64 bits (RFC 9112 §7.1).
    ChunkSizeOverflow,
    /// A chunk extension that is not `;name`, `;name=token` or `;name="string"` (RFC 9112 §7.1.1).
    InvalidChunkExtension,
    /// A chunk-size line is longer than `limit` bytes (RFC 9112 §7.1.1 asks for such a limit).
    ChunkLineTooLong {
        /// [`Limits::chunk_line`](crate::Limits::chunk_line)
        limit: usize,
    },
    /// Far more chunk extensions than data (RFC 9112 §7.1.1 asks for such a limit).
    TooMuchChunkOverhead,
    /// Chunk data without CRLF after it (RFC 9112 §7.1).
    ChunkWithoutEnd,
    /// The trailer section is longer than `limit` bytes (RFC 6585 §5).
    TrailersTooLarge {
        /// [`Limits::trailers`](crate::Limits::trailers)
        limit: usize,
    },
    /// A trailer field that affects framing, routing or authentication (RFC 9110 §6.5.1).
    ForbiddenTrailer,
    /// The peer closed inside a head (RFC 9112 §8).
    TruncatedHead,
    /// The peer closed inside a body (RFC 9112 §8).
    TruncatedBody,
    /// Headers of a trusted proxy that disagree on whether the client's scheme is https.
    ContradictorySchemes,
    /// A host forwarded by a trusted proxy that is not one `uri-host [ ":" port ]` (RFC 9110 §7.2).
    InvalidForwardedHost,
    /// A prefix forwarded by a trusted proxy that is not a path such as `/shop`.
    InvalidForwardedPrefix,
    /// A field name with an underscore, where the configuration refuses them.
    UnderscoreInFieldName,
    /// Two fields with the same environ key, one of them with an allowed underscore.
    AmbiguousFieldName,
    /// A trusted proxy's `SCRIPT_NAME` is not the start of the path (RFC 3875 §4.1.13).
    PathOutsideScriptName,
    /// The connection does not begin with the required PROXY header.
    ProxyHeaderMissing,
    /// The connection begins with a malformed PROXY header.
    ProxyHeaderMalformed,
    /// The peer is not among those that may connect where PROXY headers are required.
    ProxyHeaderForbidden,
    /// The head did not arrive in time; reported by the caller, which has the clock (RFC 9110 §15.5.9).
    HeadTooSlow,
    /// The body did not arrive in time; reported by the caller, which has the clock (RFC 9110 §15.5.9).
    BodyTooSlow,
}

impl Refusal {
    /// The status of the error response.
    pub fn status(&self) -> u16 {
        match self {
            Self::HeadTooSlow | Self::BodyTooSlow => 408,
            Self::Packet(fault) => fault.status(),
            Self::ProxyHeaderForbidden => 403,
            Self::BodyTooLarge { .. } => 413,
            Self::RequestLineTooLong { .. } => 414,
            Self::UnknownExpectation => 417,
            Self::HttpsTargetOverPlainHttp => 421,
            Self::FieldTooLarge { .. }
            | Self::TooManyFields { .. }
            | Self::HeadTooLarge { .. }
            | Self::TrailersTooLarge { .. } => 431,
            Self::MethodTooLong { .. }
            | Self::MethodNotImplemented
            | Self::UnknownTransferCoding => 501,
            Self::UnsupportedVersion | Self::Http2Preface => 505,
            _ => 400,
        }
    }

    /// The identifier of the rule in access logs and documents; it stays when a variant is renamed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::UwsgiPacket => "uwsgi_packet",
            Self::Packet(fault) => fault.name(),
            Self::Http2Preface => "http2_preface",
            Self::LeadingBlankLines => "leading_blank_lines",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::InvalidMethod => "invalid_method",
            Self::MisplacedWhitespace => "misplaced_whitespace",
            Self::MissingVersion => "missing_version",
            Self::InvalidVersion => "invalid_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::MethodTooLong { .. } => "method_too_long",
            Self::RequestLineTooLong { .. } => "request_line_too_long",
            Self::MethodNotImplemented => "method_not_implemented",
            Self::ForbiddenByteInTarget => "forbidden_byte_in_target",
            Self::NonAsciiInTarget => "non_ascii_in_target",
            Self::FragmentInTarget => "fragment_in_target",
            Self::RelativeTarget => "relative_target",
            Self::AsteriskWithoutOptions => "asterisk_without_options",
            Self::InvalidAuthority => "invalid_authority",
            Self::HttpsTargetOverPlainHttp => "https_target_over_plain_http",
            Self::WhitespaceBeforeFirstField => "whitespace_before_first_field",
            Self::ObsoleteLineFolding => "obsolete_line_folding",
            Self::EmptyFieldName => "empty_field_name",
            Self::WhitespaceInFieldName => "whitespace_in_field_name",
            Self::InvalidFieldName => "invalid_field_name",
            Self::FieldWithoutColon => "field_without_colon",
            Self::ForbiddenByteInFieldValue => "forbidden_byte_in_field_value",
            Self::FieldTooLarge { .. } => "field_too_large",
            Self::TooManyFields { .. } => "too_many_fields",
            Self::HeadTooLarge { .. } => "head_too_large",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
            Self::InvalidHost => "invalid_host",
            Self::ContradictoryHost => "contradictory_host",
            Self::UnknownScheme => "unknown_scheme",
            Self::ConnectionSpecificField => "connection_specific_field",
            Self::WhitespaceAroundFieldValue => "whitespace_around_field_value",
            Self::MissingPseudoHeader => "missing_pseudo_header",
            Self::UnknownPseudoHeader => "unknown_pseudo_header",
            Self::RepeatedPseudoHeader => "repeated_pseudo_header",
            Self::MisplacedPseudoHeader => "misplaced_pseudo_header",
            Self::TrailersWithoutEnd => "trailers_without_end",
            Self::BodyBeyondLength => "body_beyond_length",
            Self::RepeatedContentType => "repeated_content_type",
            Self::InvalidContentLength => "invalid_content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::ContentLengthOverflow => "content_length_overflow",
            Self::RepeatedTransferEncoding => "repeated_transfer_encoding",
            Self::InvalidTransferEncoding => "invalid_transfer_encoding",
            Self::MisplacedTransferCoding => "misplaced_transfer_coding",
            Self::UnknownTransferCoding => "unknown_transfer_coding",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::BothLengthAndChunked => "both_length_and_chunked",
            Self::UnknownExpectation => "unknown_expectation",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::InvalidChunkSize => "invalid_chunk_size",
            Self::ChunkSizeOverflow => "chunk_size_overflow",
            Self::InvalidChunkExtension => "invalid_chunk_extension",
            Self::ChunkLineTooLong { .. } => "chunk_line_too_long",
            Self::TooMuchChunkOverhead => "too_much_chunk_overhead",
            Self::ChunkWithoutEnd => "chunk_without_end",
            Self::TrailersTooLarge { .. } => "trailers_too_large",
            Self::ForbiddenTrailer => "forbidden_trailer",
            Self::TruncatedHead => "truncated_head",
            Self::TruncatedBody => "truncated_body",
            Self::ContradictorySchemes => "contradictory_schemes",
            Self::InvalidForwardedHost => "invalid_forwarded_host",
            Self::InvalidForwardedPrefix => "invalid_forwarded_prefix",
            Self::UnderscoreInFieldName => "underscore_in_field_name",
            Self::AmbiguousFieldName => "ambiguous_field_name",
            Self::PathOutsideScriptName => "path_outside_script_name",
            Self::ProxyHeaderMissing => "proxy_header_missing",
            Self::ProxyHeaderMalformed => "proxy_header_malformed",
            Self::ProxyHeaderForbidden => "proxy_header_forbidden",
            Self::HeadTooSlow => "head_too_slow",
            Self::BodyTooSlow => "body_too_slow",
        }
    }

    /// The reason phrase of [`Refusal::status`].
    pub fn reason(&self) -> &'static str {
        reason_phrase(self.status())
    }

    fn sentence(&self) -> &'static str {
        match self {
            Self::TlsOnPlainPort => "TLS on a plain HTTP port",
            Self::UwsgiPacket => "a uwsgi packet on an HTTP port",
            Self::Packet(fault) => fault.sentence(),
            Self::Http2Preface => "HTTP/2 preface on an HTTP/1.1 port",
            Self::LeadingBlankLines => "too many empty lines before the request line",
            Self::BareLineFeed => "LF without CR",
            Self::BareCarriageReturn => "CR without LF",
            Self::InvalidMethod => "the method is not a token",
            Self::MisplacedWhitespace => "misplaced white space in the request line",
            Self::MissingVersion => "the request line has no version",
            Self::InvalidVersion => "the version is not HTTP/digit.digit",
            Self::UnsupportedVersion => "only HTTP/1.0 and HTTP/1.1 are supported",
            Self::MethodTooLong { .. } => "the method is too long",
            Self::RequestLineTooLong { .. } => "the request line is too long",
            Self::MethodNotImplemented => "CONNECT and TRACE are not supported",
            Self::ForbiddenByteInTarget => "control byte in the request target",
            Self::NonAsciiInTarget => "unencoded byte outside ASCII in the request target",
            Self::FragmentInTarget => "fragment in the request target",
            Self::RelativeTarget => "the request target is not an absolute path or http URI",
            Self::AsteriskWithoutOptions => "the request target * is for OPTIONS only",
            Self::InvalidAuthority => "the authority of the request target is malformed",
            Self::HttpsTargetOverPlainHttp => {
                "the request target is an https URI, but the connection does not use TLS"
            }
            Self::WhitespaceBeforeFirstField => "white space before the first field",
            Self::ObsoleteLineFolding => "folded field line",
            Self::EmptyFieldName => "empty field name",
            Self::WhitespaceInFieldName => "white space in a field name",
            Self::InvalidFieldName => "a field name is not a token",
            Self::FieldWithoutColon => "field line without a colon",
            Self::ForbiddenByteInFieldValue => "control byte in a field value",
            Self::FieldTooLarge { .. } => "a field line is too long",
            Self::TooManyFields { .. } => "too many field lines",
            Self::HeadTooLarge { .. } => "the request head is too large",
            Self::MissingHost => "Host is missing",
            Self::RepeatedHost => "more than one Host",
            Self::InvalidHost => "Host is not one host with an optional port",
            Self::ContradictoryHost => "Host and :authority differ",
            Self::UnknownScheme => "the scheme is not http or https",
            Self::ConnectionSpecificField => "connection-specific field in HTTP/2",
            Self::WhitespaceAroundFieldValue => "white space around a field value",
            Self::MissingPseudoHeader => "the pseudo-header fields are not those of the method",
            Self::UnknownPseudoHeader => "unknown pseudo-header field",
            Self::RepeatedPseudoHeader => "repeated pseudo-header field",
            Self::MisplacedPseudoHeader => "a pseudo-header field after other fields",
            Self::TrailersWithoutEnd => "trailers that do not end the request",
            Self::BodyBeyondLength => "more data than Content-Length announces",
            Self::RepeatedContentType => "more than one Content-Type",
            Self::InvalidContentLength => "Content-Length is not a plain number",
            Self::RepeatedContentLength => "more than one Content-Length",
            Self::ContentLengthOverflow => "Content-Length exceeds 64 bits",
            Self::RepeatedTransferEncoding => "more than one Transfer-Encoding",
            Self::InvalidTransferEncoding => "Transfer-Encoding is malformed",
            Self::MisplacedTransferCoding => {
                "Transfer-Encoding must name chunked once, last, and never identity"
            }
            Self::UnknownTransferCoding => "only the transfer coding chunked is supported",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::BothLengthAndChunked => "both Content-Length and Transfer-Encoding",
            Self::UnknownExpectation => "only the expectation 100-continue is supported",
            Self::BodyTooLarge { .. } => "the request body is too large",
            Self::InvalidChunkSize => "a chunk size is not a plain hexadecimal number",
            Self::ChunkSizeOverflow => "a chunk size, or the body, exceeds 64 bits",
            Self::InvalidChunkExtension => "malformed chunk extension",
            Self::ChunkLineTooLong { .. } => "a chunk-size line is too long",
            Self::TooMuchChunkOverhead => "too many chunk extensions for the amount of data",
            Self::ChunkWithoutEnd => "chunk data is not followed by CRLF",
            Self::TrailersTooLarge { .. } => "the trailer section is too large",
            Self::ForbiddenTrailer => "forbidden trailer field",
            Self::TruncatedHead => "the client closed inside the request head",
            Self::TruncatedBody => "the client closed inside the request body",
            Self::ContradictorySchemes => "the scheme headers of the proxy contradict each other",
            Self::InvalidForwardedHost => {
                "the forwarded host is not one host with an optional port"
            }
            Self::InvalidForwardedPrefix => "the forwarded prefix is not a path such as /shop",
            Self::UnderscoreInFieldName => "a field name has an underscore",
            Self::AmbiguousFieldName => {
                "two field names differ only in underscore and hyphen, or one with an underscore is repeated"
            }
            Self::PathOutsideScriptName => "the path does not begin with the proxy's SCRIPT_NAME",
            Self::ProxyHeaderMissing => "the connection does not begin with a PROXY header",
            Self::ProxyHeaderMalformed => "the connection begins with a malformed PROXY header",
            Self::ProxyHeaderForbidden => "the peer is not an allowed proxy",
            Self::HeadTooSlow => "the request head did not arrive in time",
            Self::BodyTooSlow => "the request body did not arrive in time",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())?;
        match self {
            Self::MethodTooLong { limit }
            | Self::RequestLineTooLong { limit }
            | Self::FieldTooLarge { limit }
            | Self::HeadTooLarge { limit }
            | Self::ChunkLineTooLong { limit }
            | Self::TrailersTooLarge { limit } => write!(out, " (limit {limit} bytes)"),
            Self::Packet(PacketFault::TooManyVariables { limit })
            | Self::TooManyFields { limit } => write!(out, " (limit {limit})"),
            Self::BodyTooLarge { limit } => write!(out, " (limit {limit} bytes)"),
            Self::Packet(PacketFault::UnsupportedModifier { modifier }) => {
                let name = modifier_name(*modifier).unwrap_or("unknown");
                write!(out, " (modifier1 {modifier}: {name})")
            }
            Self::Packet(PacketFault::UnsupportedModifier2 { modifier }) => {
                write!(out, " and not {modifier}")
            }
            _ => Ok(()),
        }
    }
}

impl From<PacketFault> for Refusal {
    fn from(fault: PacketFault) -> Self {
        Self::Packet(fault)
    }
}

impl Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_small_and_names_its_limit() {
        assert!(size_of::<Refusal>() <= 16);
        let cases = [
            (
                Refusal::BothLengthAndChunked,
                400,
                "both Content-Length and Transfer-Encoding",
            ),
            (
                Refusal::BodyTooLarge { limit: 10 },
                413,
                "the request body is too large (limit 10 bytes)",
            ),
            (
                Refusal::TooManyFields { limit: 100 },
                431,
                "too many field lines (limit 100)",
            ),
            (
                Refusal::HeadTooSlow,
                408,
                "the request head did not arrive in time",
            ),
        ];
        for (refusal, status, text) in cases {
            assert_eq!(refusal.status(), status);
            assert_eq!(refusal.to_string(), text);
            assert_ne!(refusal.reason(), "Unknown");
        }
    }
}
