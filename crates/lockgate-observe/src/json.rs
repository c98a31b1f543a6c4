//! Access lines as JSON objects with typed values; every key is always present, unless a setting has to ask for it.
//!
//! Invariant: what is unknown is `null`, numbers are bare, and every text is ASCII.

use crate::access::{AccessRecord, decimal_seconds};
use crate::escape::Escape;
use crate::percent::PercentDecoded;

/// Appends the object, without a line end.
pub(crate) fn write_object(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&record.started.rfc3339());
    out.extend_from_slice(b"\",\"client\":");
    text(out, record.known_client().map(str::as_bytes));
    out.extend_from_slice(b",\"user\":");
    optional(out, record.user_name());
    out.extend_from_slice(b",\"method\":");
    text(out, present(record.method));
    out.extend_from_slice(b",\"target\":");
    text(out, present(record.target));
    out.extend_from_slice(b",\"path\":");
    optional(out, present(record.path).map(PercentDecoded::new));
    out.extend_from_slice(b",\"query\":");
    text(out, present(record.query));
    out.extend_from_slice(b",\"protocol\":");
    text(out, present(record.protocol.as_bytes()));
    out.extend_from_slice(b",\"status\":");
    number(out, record.status);
    out.extend_from_slice(b",\"body_bytes\":");
    number(out, record.body_bytes);
    out.extend_from_slice(b",\"duration\":");
    record.write_decimal_seconds(out);
    out.extend_from_slice(b",\"referer\":");
    text(out, (record.request_header)("referer"));
    out.extend_from_slice(b",\"user_agent\":");
    text(out, (record.request_header)("user-agent"));
    out.extend_from_slice(b",\"outcome\":\"");
    out.extend_from_slice(record.outcome.name().as_bytes());
    out.extend_from_slice(b"\",\"reason\":");
    text(out, record.reason.map(str::as_bytes));
    let ids: [(&[u8], _); 3] = [
        (b",\"request_id\":", record.request_id),
        (b",\"trace_id\":", record.trace_id),
        (b",\"span_id\":", record.span_id),
    ];
    for (key, id) in ids {
        if let Some(id) = id {
            out.extend_from_slice(key);
            text(out, present(id));
        }
    }
    if let Some(waited) = record.waited_before {
        out.extend_from_slice(b",\"queued_before\":");
        decimal_seconds(out, waited);
    }
    out.extend_from_slice(b",\"pid\":");
    number(out, record.pid);
    out.push(b'}');
}

fn present(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

fn text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    Escape::Json.slice(out, value);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, value: Option<impl Iterator<Item = u8> + Clone>) {
    let Some(value) = value else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    Escape::Json.bytes(out, value);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
