//! Why a certificate or its key cannot be used. Each text says what is wrong and what to do; the caller names the file.

use std::error::Error;
use std::fmt;

use time::OffsetDateTime;

/// What is wrong with a certificate file, a key file or a file of authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateError {
    /// No certificate in the file; the labels of the PEM blocks that are there.
    NoCertificate {
        /// Labels such as `PRIVATE KEY`.
        found: Vec<String>,
    },
    /// No private key in the file; the labels of the PEM blocks that are there.
    NoKey {
        /// Labels such as `CERTIFICATE`.
        found: Vec<String>,
    },
    /// The file with a certificate is binary.
    BinaryCertificate,
    /// The file with a key is binary.
    BinaryKey,
    /// A PEM block of the certificate file cannot be decoded, counted from 1.
    BrokenCertificateBlock(usize),
    /// A PEM block of the key file cannot be decoded, counted from 1.
    BrokenKeyBlock(usize),
    /// A certificate cannot be parsed, counted from 1.
    BadCertificate {
        /// Which one.
        number: usize,
        /// What the parser says.
        reason: String,
    },
    /// The key is of a kind that TLS here cannot use.
    UnusableKey(String),
    /// The key is encrypted, and there is no passphrase.
    PassphraseMissing,
    /// The passphrase does not decrypt the key.
    PassphraseWrong,
    /// The key is encrypted in OpenSSL's traditional form (`Proc-Type: 4,ENCRYPTED`).
    TraditionalEncryption,
    /// The key is encrypted with an algorithm that is not supported.
    UnsupportedEncryption(String),
    /// The key belongs to no certificate of the file.
    KeyMismatch,
    /// The key belongs to another certificate of the file than the first.
    LeafNotFirst {
        /// Which one, counted from 1.
        number: usize,
    },
    /// The issuer of a certificate is in the file, but does not follow it.
    WrongOrder {
        /// The certificate whose issuer should follow, counted from 1.
        number: usize,
        /// Its issuer.
        issuer: String,
    },
    /// The certificate has expired.
    Expired {
        /// When, in Unix seconds.
        not_after: i64,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// From when on, in Unix seconds.
        not_before: i64,
    },
}

impl CertificateError {
    /// Whether the fault is in the key file and not in the certificate file.
    pub fn is_about_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey { .. }
                | Self::BinaryKey
                | Self::BrokenKeyBlock(_)
                | Self::UnusableKey(_)
                | Self::PassphraseMissing
                | Self::PassphraseWrong
                | Self::TraditionalEncryption
                | Self::UnsupportedEncryption(_)
                | Self::KeyMismatch
        )
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate { found } if found.iter().any(|label| label.contains("KEY")) => {
                f.write_str(
                    "the file has a private key where a certificate is expected: swap certfile and keyfile, \
                     or add the certificate chain to the file",
                )
            }
            Self::NoCertificate { found } => {
                write!(f, "no certificate found{}", list(found))?;
                f.write_str(": the file must have PEM blocks `-----BEGIN CERTIFICATE-----`")
            }
            Self::NoKey { found } if found.iter().any(|label| label == "CERTIFICATE") => {
                f.write_str(
                    "the file has a certificate where a private key is expected, and no key: set keyfile",
                )
            }
            Self::NoKey { found } => {
                write!(f, "no private key found{}", list(found))?;
                f.write_str(": the file must have a PEM block `-----BEGIN PRIVATE KEY-----`")
            }
            Self::BinaryCertificate => f.write_str(
                "the file is not PEM: convert it with `openssl x509 -inform der -in FILE -out FILE.pem`",
            ),
            Self::BinaryKey => f.write_str(
                "the file is not PEM: convert it with `openssl pkey -inform der -in FILE -out FILE.pem`",
            ),
            Self::BrokenCertificateBlock(number) | Self::BrokenKeyBlock(number) => {
                write!(f, "PEM block {number} cannot be decoded: it is cut off or not base64")
            }
            Self::BadCertificate { number, reason } => {
                write!(f, "certificate {number} of the file cannot be parsed: {reason}")
            }
            Self::UnusableKey(reason) => write!(
                f,
                "the private key cannot be used: {reason}; RSA from 2048 bits, ECDSA (P-256, P-384, P-521) and Ed25519 are supported"
            ),
            Self::PassphraseMissing => {
                f.write_str("the private key is encrypted: set keyfile_password_file")
            }
            Self::PassphraseWrong => f.write_str(
                "the passphrase does not decrypt the private key: check keyfile_password_file",
            ),
            Self::TraditionalEncryption => f.write_str(
                "the private key is encrypted in OpenSSL's traditional form (Proc-Type: 4,ENCRYPTED), which is weak: \
                 convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out FILE.new`",
            ),
            Self::UnsupportedEncryption(algorithm) => write!(
                f,
                "the private key is encrypted with {algorithm}, which is not supported: \
                 convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out FILE.new`"
            ),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::LeafNotFirst { number } => write!(
                f,
                "the chain is in the wrong order: the private key belongs to certificate {number} of the file, which must be the first"
            ),
            Self::WrongOrder { number, issuer } => write!(
                f,
                "the chain is in the wrong order: certificate {number} must be followed by its issuer, {issuer}"
            ),
            Self::Expired { not_after } => {
                write!(f, "the certificate expired on {}: renew it", Utc(*not_after))
            }
            Self::NotYetValid { not_before } => write!(
                f,
                "the certificate is not valid before {}: check the clock of this host",
                Utc(*not_before)
            ),
        }
    }
}

impl Error for CertificateError {}

fn list(found: &[String]) -> String {
    match found {
        [] => String::new(),
        labels => format!(" (found: {})", labels.join(", ")),
    }
}

/// Unix seconds as a date that people read.
struct Utc(i64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp(self.0) {
            Ok(at) => write!(
                f,
                "{}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            ),
            Err(_) => write!(f, "second {} of the Unix epoch", self.0),
        }
    }
}
