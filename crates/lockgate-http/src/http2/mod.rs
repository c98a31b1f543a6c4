//! HTTP/2 (RFC 9113), the side of the server, sans I/O.

pub mod hpack;
