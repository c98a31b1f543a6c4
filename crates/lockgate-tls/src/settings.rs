//! Settings of TLS that stay the same for a generation of workers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{RootCertStore, SupportedCipherSuite};
use rustls_pki_types::CertificateDer;

use crate::certificate::read_chain;
use crate::cipher_string::default_cipher_suites;
use crate::error::CertificateError;

/// The oldest version of the protocol that is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The authorities that issue the certificates of clients.
#[derive(Debug, Clone)]
pub struct ClientAuthorities {
    pub(crate) roots: Arc<RootCertStore>,
    digest: [u8; 32],
}

impl ClientAuthorities {
    /// Reads all certificates of a file.
    ///
    /// # Errors
    /// The file has no certificate, or one that cannot be used.
    pub fn from_pem(file: &[u8]) -> Result<Self, CertificateError> {
        let mut roots = RootCertStore::empty();
        let mut context = digest::Context::new(&digest::SHA256);
        for (index, der) in read_chain(file)?.into_iter().enumerate() {
            context.update(&der);
            let added = roots.add(CertificateDer::from(der));
            added.map_err(|error| CertificateError::BadCertificate {
                number: index + 1,
                reason: error.to_string(),
            })?;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Ok(Self {
            roots: Arc::new(roots),
            digest,
        })
    }
}

/// Whether clients present certificates.
#[derive(Debug, Clone, Default)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    Off,
    /// They may present one, which must then be valid.
    Optional(ClientAuthorities),
    /// They must present a valid one.
    Required(ClientAuthorities),
}

impl ClientAuth {
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// Sessions are resumed only where the same is demanded of clients.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let (mode, digest) = match self {
            Self::Off => (0, [0; 32]),
            Self::Optional(authorities) => (1, authorities.digest),
            Self::Required(authorities) => (2, authorities.digest),
        };
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[mode]);
        context.update(&digest);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

/// See the module documentation. The default is Mozilla's configuration "intermediate".
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The oldest version of the protocol.
    pub min_version: MinVersion,
    /// See [`crate::parse_cipher_string`].
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// The protocols to agree on (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// Client certificates.
    pub client_auth: ClientAuth,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            min_version: MinVersion::default(),
            cipher_suites: default_cipher_suites(),
            alpn: vec![b"http/1.1".to_vec()],
            client_auth: ClientAuth::default(),
        }
    }
}

/// Settings that cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsError {
    /// No cipher suite is left for any allowed version of TLS.
    NoCipherSuite,
    /// The file of authorities has no usable certificate.
    NoAuthority(String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCipherSuite => {
                f.write_str("ciphers and tls_min_version leave no cipher suite: change one of them")
            }
            Self::NoAuthority(reason) => {
                write!(
                    f,
                    "client certificates cannot be verified: {reason}; see ca_certs"
                )
            }
        }
    }
}

impl Error for SettingsError {}
