//! Rules for the fields of a request that the server interprets: Host, Connection, Expect, Content-Type and those that
//! frame the body.

use crate::error::Refusal;
use crate::limits::Limits;
use crate::request::{Summary, Version};
use crate::rules::framing::FramingFields;
use crate::rules::grammar::{FIELD_NAME, is_field_value, is_whitespace, trim_whitespace};
use crate::rules::host::is_host;
use crate::span::Field;

/// The fields of one head that have been checked so far.
#[derive(Debug, Default)]
pub(crate) struct FieldRules {
    framing: FramingFields,
    has_host: bool,
    has_content_type: bool,
    has_unknown_expectation: bool,
}

impl FieldRules {
    /// Checks and records the fields that the server interprets. Their names differ in length, so one comparison
    /// decides.
    #[inline]
    pub(crate) fn apply(
        &mut self,
        field: Field,
        bytes: &[u8],
        summary: &mut Summary,
    ) -> Result<(), Refusal> {
        let name = field.name.of(bytes);
        summary.may_have_forwarding_headers |= matches!(name, [b'x' | b'X' | b'f' | b'F', ..]);
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.has_host {
                    return Err(Refusal::RepeatedHost);
                }
                self.has_host = true;
                summary.host = Some(field.value);
                let host = field.value.of(bytes);
                let may_be_empty = summary.version == Version::Http10;
                let is_valid = is_host(host) || (host.is_empty() && may_be_empty);
                if !is_valid {
                    return Err(Refusal::InvalidHost);
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                // A list, whose empty elements do not count (RFC 9110 §10.1.1, §5.6.1.2).
                for expectation in field.value.of(bytes).split(|&byte| byte == b',') {
                    let expectation = trim_whitespace(expectation);
                    if expectation.eq_ignore_ascii_case(b"100-continue") {
                        summary.expects_continue = true;
                    } else if !expectation.is_empty() {
                        self.has_unknown_expectation = true;
                    }
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in field.value.of(bytes).split(|&byte| byte == b',') {
                    let option = trim_whitespace(option);
                    summary.asks_close |= option.eq_ignore_ascii_case(b"close");
                    summary.asks_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                if self.has_content_type {
                    return Err(Refusal::RepeatedContentType);
                }
                self.has_content_type = true;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.framing.add_content_length(field.value.of(bytes))?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.framing
                    .add_transfer_encoding(field.value.of(bytes), summary.version)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The request needs no Host.
    pub(crate) fn waive_host(&mut self) {
        self.has_host = true;
    }

    /// Checks the rules about the whole head, and decides the framing.
    pub(crate) fn finish(&self, summary: &mut Summary, limits: &Limits) -> Result<(), Refusal> {
        if !self.has_host && summary.version != Version::Http10 {
            return Err(Refusal::MissingHost);
        }
        if self.has_unknown_expectation {
            return Err(Refusal::UnknownExpectation);
        }
        summary.framing = self.framing.decide(limits)?;
        Ok(())
    }
}

/// Whether `name` is a field name; returns whether it has an underscore.
pub(crate) fn check_name(name: &[u8]) -> Result<bool, Refusal> {
    if name.is_empty() {
        return Err(Refusal::EmptyFieldName);
    }
    let mut classes = 0;
    for &byte in name {
        match FIELD_NAME[usize::from(byte)] {
            0 if is_whitespace(byte) => return Err(Refusal::WhitespaceInFieldName),
            0 => return Err(Refusal::InvalidFieldName),
            class => classes |= class,
        }
    }
    Ok(classes > 1)
}

/// Whether `value` is a field value.
pub(crate) fn check_value(value: &[u8]) -> Result<(), Refusal> {
    if is_field_value(value) {
        Ok(())
    } else {
        Err(Refusal::ForbiddenByteInFieldValue)
    }
}

/// Whether a field is about the connection, which HTTP/2 manages itself (RFC 9113 §8.2.2).
pub(crate) fn is_connection_specific(name: &[u8], value: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    ];
    if !matches!(name.len(), 2 | 7 | 10 | 16 | 17) {
        return false;
    }
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    NAMES.into_iter().any(is) || (is(b"te") && !value.eq_ignore_ascii_case(b"trailers"))
}

/// What HTTP/2 forbids in addition (RFC 9113 §8.2).
pub(crate) fn check_http2_field(name: &[u8], value: &[u8]) -> Result<(), Refusal> {
    // No early exit: nearly all are in lower case.
    let has_upper_case = |upper, byte: &u8| upper | byte.is_ascii_uppercase();
    if name.iter().fold(false, has_upper_case) {
        return Err(Refusal::InvalidFieldName);
    }
    if is_connection_specific(name, value) {
        return Err(Refusal::ConnectionSpecificField);
    }
    if let ([first, ..], [.., last]) = (value, value)
        && (is_whitespace(*first) || is_whitespace(*last))
    {
        return Err(Refusal::WhitespaceAroundFieldValue);
    }
    Ok(())
}

/// Framing, routing, authentication, request modifiers and content processing (RFC 9110 §6.5.1). Content-Type is only
/// dropped, as all trailers are: it cannot make a recipient read another message.
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 20] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    FORBIDDEN
        .iter()
        .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}
