//! A certificate chain with its private key, checked to belong together.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, SignatureAlgorithm};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::distinguished_name;
use crate::error::CertificateError;
use crate::names::{self, normalize_name};
use crate::pem::{self, Unreadable};
use crate::private_key::read_key;

/// The kind of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA or Ed25519: cheaper to sign with, so it comes first where a client can verify both.
    EllipticCurve,
    /// RSA.
    Rsa,
}

impl KeyKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EllipticCurve => "ECDSA",
            Self::Rsa => "RSA",
        }
    }
}

/// A chain and its decrypted key in DER, as they are passed to workers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CertificateSource {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key_form: KeyForm,
    pub(crate) key: Vec<u8>,
}

/// How a private key is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyForm {
    Pkcs8,
    Pkcs1,
    Sec1,
}

impl CertificateSource {
    fn key(&self) -> PrivateKeyDer<'static> {
        let key = self.key.clone();
        match self.key_form {
            KeyForm::Pkcs8 => PrivatePkcs8KeyDer::from(key).into(),
            KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(key).into(),
            KeyForm::Sec1 => PrivateSec1KeyDer::from(key).into(),
        }
    }
}

/// Without the key.
impl fmt::Debug for CertificateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateSource")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// A certificate chain with its private key.
#[derive(Debug, Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    source: CertificateSource,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    subject: String,
    issuer: String,
    serial: String,
    key_kind: KeyKind,
    is_self_signed: bool,
}

impl Certificate {
    /// Reads a chain, the certificate of the server first, and its key. Both may be in one file. Validity in time is
    /// checked by [`Certificate::check_time`].
    ///
    /// # Errors
    /// One of the files cannot be used, or they do not belong together.
    pub fn from_pem(
        chain: &[u8],
        key: &[u8],
        passphrase: Option<&[u8]>,
    ) -> Result<Self, CertificateError> {
        let chain = read_chain(chain)?;
        let (key_form, key) = match read_key(key, passphrase)? {
            PrivateKeyDer::Pkcs1(key) => (KeyForm::Pkcs1, key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Sec1(key) => (KeyForm::Sec1, key.secret_sec1_der().to_vec()),
            key => (KeyForm::Pkcs8, key.secret_der().to_vec()),
        };
        Self::from_source(CertificateSource {
            chain,
            key_form,
            key,
        })
    }

    /// Makes a certificate from what [`Certificate::source`] has returned.
    ///
    /// # Errors
    /// As for [`Certificate::from_pem`].
    pub fn from_source(source: CertificateSource) -> Result<Self, CertificateError> {
        let parsed = source
            .chain
            .iter()
            .enumerate()
            .map(|(index, der)| parse(der, index + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(leaf) = parsed.first() else {
            return Err(CertificateError::NoCertificate { found: Vec::new() });
        };
        let key = any_supported_type(&source.key())
            .map_err(|error| CertificateError::UnusableKey(reason(&error)))?;
        let key_kind = match key.algorithm() {
            SignatureAlgorithm::RSA => KeyKind::Rsa,
            _ => KeyKind::EllipticCurve,
        };
        let chain = source.chain.iter().cloned().map(CertificateDer::from);
        check_key(key.as_ref(), &parsed)?;
        let certified = CertifiedKey::new(chain.collect(), key);
        check_order(&parsed)?;
        Ok(Self {
            names: names_of(leaf),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            subject: distinguished_name::to_string(leaf.subject()),
            issuer: distinguished_name::to_string(leaf.issuer()),
            serial: serial_of(leaf),
            is_self_signed: leaf.subject().as_raw() == leaf.issuer().as_raw(),
            certified: Arc::new(certified),
            key_kind,
            source,
        })
    }

    /// Whether the certificate is valid at `now` (Unix seconds).
    ///
    /// # Errors
    /// It has expired, or is not valid yet.
    pub fn check_time(&self, now: i64) -> Result<(), CertificateError> {
        let (not_before, not_after) = (self.not_before, self.not_after);
        if now > not_after {
            return Err(CertificateError::Expired { not_after });
        }
        if now < not_before {
            return Err(CertificateError::NotYetValid { not_before });
        }
        Ok(())
    }

    /// Whether it is valid for a host name or an IP address.
    pub fn covers(&self, name: &str) -> bool {
        normalize_name(name)
            .is_some_and(|name| self.names.iter().any(|own| names::matches(own, &name)))
    }

    /// The names that it is valid for, normalized: host names, wildcards and IP addresses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Unix seconds.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The distinguished name of its subject (RFC 2253).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The distinguished name of its issuer (RFC 2253).
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its serial number in hexadecimal digits.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The kind of its key.
    pub fn key_kind(&self) -> KeyKind {
        self.key_kind
    }

    /// Whether it has been issued by itself.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    /// The SHA-256 digest of the certificate in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let der = self.source.chain.first().map_or(&[][..], Vec::as_slice);
        let digest = digest::digest(&digest::SHA256, der);
        data_encoding::HEXUPPER.encode(digest.as_ref())
    }

    /// Chain and decrypted key, for [`crate::Material`].
    pub fn source(&self) -> &CertificateSource {
        &self.source
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

/// All certificates of a file, in DER.
pub(crate) fn read_chain(file: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let blocks = pem::blocks(file).map_err(|unreadable| match unreadable {
        Unreadable::Binary => CertificateError::BinaryCertificate,
        Unreadable::Block(number) => CertificateError::BrokenCertificateBlock(number),
    })?;
    let found = pem::labels(&blocks);
    let chain: Vec<Vec<u8>> = blocks
        .into_iter()
        .filter(|block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|block| block.contents)
        .collect();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate { found });
    }
    Ok(chain)
}

pub(crate) fn parse(der: &[u8], number: usize) -> Result<X509Certificate<'_>, CertificateError> {
    let bad = |reason: String| CertificateError::BadCertificate { number, reason };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(bad("bytes follow the certificate".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}

fn check_key(key: &dyn SigningKey, chain: &[X509Certificate<'_>]) -> Result<(), CertificateError> {
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    // As rustls's `keys_match`, which does not accept the critical extension of tls-alpn-01.
    let owner = (chain.iter()).position(|certificate| certificate.public_key().raw == &*public);
    match owner {
        Some(0) => Ok(()),
        Some(index) => Err(CertificateError::LeafNotFirst { number: index + 1 }),
        None => Err(CertificateError::KeyMismatch),
    }
}

/// A certificate whose issuer is somewhere in the file is followed by it. A certificate that none has issued, such as
/// one of another chain to the same root, may be at the end.
fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), CertificateError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        let issuer = certificate.issuer().as_raw();
        let is_root = certificate.subject().as_raw() == issuer;
        let is_in_file = chain.iter().any(|other| other.subject().as_raw() == issuer);
        if !is_root && is_in_file && next.subject().as_raw() != issuer {
            return Err(CertificateError::WrongOrder {
                number: index + 1,
                issuer: distinguished_name::to_string(certificate.issuer()),
            });
        }
    }
    Ok(())
}

/// The names of the extension subjectAltName; only without it, the last common name (RFC 9525 has given up on it, but
/// private authorities still issue such certificates).
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = Vec::new();
    match extension {
        Some(extension) => {
            for name in &extension.value.general_names {
                let name = match name {
                    GeneralName::DNSName(name) => normalize_name(name),
                    GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
                    _ => None,
                };
                names.extend(name);
            }
        }
        None => names.extend(
            certificate
                .subject()
                .iter_common_name()
                .last()
                .and_then(|name| name.as_str().ok())
                .and_then(normalize_name),
        ),
    }
    names.dedup();
    names
}

pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// As OpenSSL prints it: upper case, an even number of digits, no zero byte for the sign.
pub(crate) fn serial_of(certificate: &X509Certificate<'_>) -> String {
    let bytes = certificate.raw_serial();
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    data_encoding::HEXUPPER.encode(bytes)
}

fn reason(error: &Error) -> String {
    match error {
        Error::General(text) => text.clone(),
        error => error.to_string(),
    }
}
