//! The content of a response: whether there is any, and which length is announced (RFC 9110 §6.4, §8.6).

use crate::response::ResponseHead;

/// What is known of the body's length when the head is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// Exactly this many bytes.
    Known(u64),
    /// Not known before the application has finished.
    Unknown,
}

/// What follows the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing: HEAD, 204, 205, 304.
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Bytes whose number is not known.
    Unknown,
}

/// The content of a response, and the Content-Length that the server adds to the head.
///
/// The application's Content-Length takes precedence over `length`. Without one, a known length is announced. 204 and
/// 304 have no content and no generated length; 205 has none and announces 0 (RFC 9110 §15.3.6). HEAD has no content
/// and announces the length of GET if it is known; a length of 0 is not announced there, since applications leave out
/// the body themselves (RFC 9110 §8.6, §9.3.2).
#[inline(always)]
pub(crate) fn content_of(
    head: &ResponseHead,
    length: BodyLength,
    is_head: bool,
) -> (Content, Option<u64>) {
    if is_head || matches!(head.status(), 204 | 205 | 304) {
        return (Content::None, length_without_content(head, length));
    }
    match (head.content_length(), length) {
        (Some(explicit), _) => (Content::Length(explicit), None),
        (None, BodyLength::Known(length)) => (Content::Length(length), Some(length)),
        (None, BodyLength::Unknown) => (Content::Unknown, None),
    }
}

/// The Content-Length that the server adds to a response to HEAD, or to one whose status has no content.
fn length_without_content(head: &ResponseHead, length: BodyLength) -> Option<u64> {
    match (head.status(), head.content_length(), length) {
        (204 | 304, ..) => None,
        (205, ..) => Some(0),
        (_, None, BodyLength::Known(length @ 1..)) => Some(length),
        _ => None,
    }
}

/// Whether the application's own Content-Length is left out.
#[inline]
pub(crate) fn may_not_have_length(status: u16) -> bool {
    matches!(status, 204 | 205)
}
