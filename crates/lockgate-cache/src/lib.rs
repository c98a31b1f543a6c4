//! The rules of a shared cache (RFC 9111): what is stored, under which key, and when it may be used.
#![forbid(unsafe_code)]
