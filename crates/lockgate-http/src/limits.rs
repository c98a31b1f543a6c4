//! Limits on the size of a request. Deadlines belong to the caller.

/// The sizes beyond which a request is refused.
///
/// Every limit is checked as soon as the bytes allow: a request line over its limit is refused before its end arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line in bytes, without its CRLF.
    pub request_line: usize,
    /// Most field lines in a head, and in a trailer section.
    pub fields: usize,
    /// Longest field line in bytes: name, colon, white space, value and CRLF.
    pub field_size: usize,
    /// Longest head in bytes, from the request line to the empty line. Capped at 4 GiB.
    pub head: usize,
    /// Longest body in bytes, without chunk framing; 0: unlimited.
    pub body: u64,
    /// Longest chunk-size line in bytes (size and extensions), without its CRLF.
    pub chunk_line: usize,
    /// Longest trailer section in bytes, with the empty line that ends it.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8190,
            fields: 100,
            field_size: 8190,
            head: 65_536,
            body: 1 << 30,
            chunk_line: 256,
            trailers: 8192,
        }
    }
}

impl Limits {
    /// Longest method in bytes; a longer one gets 501 (RFC 9112 §3). The longest registered method, UPDATEREDIRECTREF
    /// (RFC 4437), has 17.
    pub const METHOD: usize = 32;

    /// Whether a body of `length` bytes is longer than [`Limits::body`] allows.
    pub(crate) fn is_body_too_long(&self, length: u64) -> bool {
        is_body_too_long(length, self.body)
    }
}

/// Whether a body of `length` bytes is longer than a limit allows; 0: unlimited.
pub(crate) fn is_body_too_long(length: u64, limit: u64) -> bool {
    limit != 0 && length > limit
}
