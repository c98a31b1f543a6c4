//! TLS: certificates and their keys, the choice of a certificate by name, session ticket keys, and the memory through
//! which the supervisor passes them to all workers.
//!
//! Invariant: a private key leaves this crate only inside a [`Material`] or through [`Certificate::source`].

#![forbid(unsafe_code)]

mod acceptor;
mod board;
mod certificate;
mod cipher_string;
mod distinguished_name;
mod encrypted_key;
mod error;
mod info;
mod material;
mod names;
mod peer;
mod pem;
mod private_key;
mod self_signed;
mod settings;
mod store;
mod ticket_keys;
mod ticketer;

pub use acceptor::{Acceptor, take_server_name};
pub use board::{Board, TooLarge};
pub use certificate::{Certificate, CertificateSource, KeyKind};
pub use cipher_string::{CipherStringError, default_cipher_suites, parse_cipher_string};
pub use error::CertificateError;
pub use info::{TlsInfo, Variable, has_expired_peer};
pub use material::{Challenge, Material};
pub use names::normalize_name;
pub use peer::PeerCertificate;
pub use self_signed::{SelfSignedError, self_signed};
pub use settings::{ClientAuth, ClientAuthorities, MinVersion, ServerSettings, SettingsError};
pub use store::CertificateStore;
pub use ticket_keys::TicketKeys;

/// The protocol of the challenge tls-alpn-01 (RFC 8737 §6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";
