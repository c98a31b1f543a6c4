//! The ACME client (RFC 8555): obtains and renews certificates.

#![forbid(unsafe_code)]
