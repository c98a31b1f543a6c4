//! Limits on the size of a request, and on what one client may hold.

/// Limits on the size of a request, and on what one client may hold. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// The request line.
    pub request_line: usize,
    /// The number of header fields.
    pub request_fields: usize,
    /// One header field: name, value and line end.
    pub request_field_size: usize,
    /// The whole head, from the request line to the empty line.
    pub request_head: usize,
    /// The body; 0: unlimited.
    pub request_body: u64,
    /// One chunk-size line of a chunked body, without its line end.
    pub chunk_line: usize,
    /// The trailer section of a chunked body.
    pub trailers: usize,
    /// Requests per connection; 0: unlimited.
    pub requests_per_connection: u64,
    /// Connections per client address in each worker; 0: unlimited.
    pub connections_per_address: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            request_line: 8190,
            request_fields: 100,
            request_field_size: 8190,
            request_head: 64 * 1024,
            request_body: 1 << 30,
            chunk_line: 256,
            trailers: 8192,
            requests_per_connection: 0,
            connections_per_address: 0,
        }
    }
}
