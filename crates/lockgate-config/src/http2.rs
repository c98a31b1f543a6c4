//! The configuration of HTTP/2.

/// HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Config {
    /// Whether it is spoken.
    pub is_enabled: bool,
    /// Maximum number of streams of one connection that are open at the same time.
    pub max_concurrent_streams: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            is_enabled: true,
            max_concurrent_streams: 128,
        }
    }
}
