//! Error codes (RFC 9113 §7).

use std::fmt;

/// Why a stream or a connection ends. Codes without a name are valid, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// No error: the orderly end.
    pub const NO_ERROR: Self = Self(0);
    /// The peer has broken the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// A fault of the sender's own.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// The peer has sent more than its windows allow, or a window exceeds 2^31-1.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// The peer has not acknowledged SETTINGS in time.
    pub const SETTINGS_TIMEOUT: Self = Self(4);
    /// A frame on a stream that has ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame whose length is not valid.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The stream was refused before any processing: the request can be sent again.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is no longer needed.
    pub const CANCEL: Self = Self(8);
    /// A header block that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The connection of a CONNECT request has failed.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer causes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    /// The properties of TLS are not sufficient.
    pub const INADEQUATE_SECURITY: Self = Self(12);
    /// The request needs HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    /// Its name in the RFC; `UNKNOWN` if it has none.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "UNKNOWN" => write!(out, "error code {}", self.0),
            name => out.write_str(name),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
