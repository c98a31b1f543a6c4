//! Encoder of the header blocks of responses.

use crate::error::BadResponse;
use crate::http1::encode::ResponseContext;
use crate::http1::response_body::ResponseBody;
use crate::http2::hpack::{encode_field, encode_status};
use crate::response::{KnownField, ResponseHead, check_header, known_field};
use crate::rules::content::{BodyLength, Content, content_of, may_not_have_length};

/// Appends the block of a final head, by the rules of HTTP/1 about Date, Server and Content-Length.
pub(crate) fn encode_response(
    head: &ResponseHead,
    length: BodyLength,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> ResponseBody {
    let (content, generated_length) = content_of(head, length, context.is_head);
    let drops_length = content == Content::None && may_not_have_length(head.status());
    encode_status(head.status_to_send(), out);
    for (name, value) in head.headers() {
        // A 426 keeps its Upgrade in HTTP/1, where it names what the client may upgrade to.
        let is_left_out = (drops_length && name.eq_ignore_ascii_case(b"content-length"))
            || (head.has_upgrade() && name.eq_ignore_ascii_case(b"upgrade"));
        if !is_left_out {
            encode_field(name, value, out);
        }
    }
    if !head.has_date() {
        encode_field(b"date", context.date, out);
    }
    if let Some(server) = context.server
        && !head.has_server()
    {
        encode_field(b"server", server, out);
    }
    if let Some(id) = context.request_id {
        encode_field(b"x-request-id", id, out);
    }
    if let Some(hsts) = context.missing_hsts(head) {
        encode_field(b"strict-transport-security", hsts, out);
    }
    if let Some(length) = generated_length {
        let mut digits = itoa::Buffer::new();
        encode_field(b"content-length", digits.format(length).as_bytes(), out);
    }
    ResponseBody::on_stream(content)
}

/// Appends the header block of a response to `block`, for [`Connection::send_head_block`]. It depends on no connection,
/// so that a thread may make it without one.
///
/// [`Connection::send_head_block`]: crate::http2::Connection::send_head_block
pub fn encode_response_head(
    block: &mut Vec<u8>,
    head: &ResponseHead,
    length: BodyLength,
    context: &ResponseContext<'_>,
) -> ResponseBody {
    encode_response(head, length, context, block)
}

/// Appends the block of an interim head. `out` may have a part of it after an error.
pub(crate) fn encode_interim<'h>(
    status: u16,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), BadResponse> {
    // RFC 9113 §8.6: there is no 101.
    if status == 101 || !(100..=199).contains(&status) {
        return Err(BadResponse::InvalidInterimStatus(status));
    }
    encode_status(status, out);
    for (name, value) in headers {
        check_header(name, value)?;
        if let KnownField::Other | KnownField::Date | KnownField::Server = known_field(name) {
            encode_field(name, value, out);
        }
    }
    Ok(())
}

/// Appends the block of trailers; those that are not valid or about the connection are left out.
pub(crate) fn encode_trailers<'h>(
    fields: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    out: &mut Vec<u8>,
) {
    for (name, value) in fields {
        if check_header(name, value).is_ok() && known_field(name) == KnownField::Other {
            encode_field(name, value, out);
        }
    }
}
