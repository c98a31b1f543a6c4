//! TLS: certificates and their keys, the choice of a certificate by name, session ticket keys.

#![forbid(unsafe_code)]
