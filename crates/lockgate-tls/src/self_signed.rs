//! Self-signed certificates: for localhost, and until the first certificate of a domain has been issued.

use std::error::Error;
use std::fmt;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;

/// A certificate cannot be made for these names or times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSignedError(String);

impl fmt::Display for SelfSignedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make a self-signed certificate: {}", self.0)
    }
}

impl Error for SelfSignedError {}

/// A new key (ECDSA, P-256) and a certificate for these names, valid from and until these Unix seconds. Returns chain
/// and key in PEM.
///
/// # Errors
/// A name is not a host name or address, or there is no such time.
pub fn self_signed(
    names: &[String],
    not_before: i64,
    not_after: i64,
) -> Result<(String, String), SelfSignedError> {
    let failed = |error: &dyn fmt::Display| SelfSignedError(error.to_string());
    let time =
        |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| failed(&error));
    let mut parameters = CertificateParams::new(names).map_err(|error| failed(&error))?;
    parameters.not_before = time(not_before)?;
    parameters.not_after = time(not_after)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    // RFC 5280 limits common names to 64 characters; the names that count are in the extension.
    let common_name = names.iter().find(|name| name.len() <= 64);
    let common_name = common_name.map_or("self-signed", String::as_str);
    parameters
        .distinguished_name
        .push(DnType::CommonName, common_name);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = parameters
        .self_signed(&key)
        .map_err(|error| failed(&error))?;
    Ok((certificate.pem(), key.serialize_pem()))
}
