//! Private keys in PEM files: PKCS#8, encrypted PKCS#8, PKCS#1 (RSA) and SEC1 (EC).

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::encrypted_key;
use crate::error::CertificateError;
use crate::pem::{self, Unreadable};

/// The first private key of a file.
pub(crate) fn read_key(
    file: &[u8],
    passphrase: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    // The headers of this form are not base64, so the blocks are not readable.
    if memory_contains(file, b"Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateError::TraditionalEncryption);
    }
    let blocks = pem::blocks(file).map_err(|unreadable| match unreadable {
        Unreadable::Binary => CertificateError::BinaryKey,
        Unreadable::Block(number) => CertificateError::BrokenKeyBlock(number),
    })?;
    let found = pem::labels(&blocks);
    for block in blocks {
        return Ok(match block.label.as_str() {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(block.contents).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(block.contents).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(block.contents).into(),
            "ENCRYPTED PRIVATE KEY" => {
                let passphrase = passphrase.ok_or(CertificateError::PassphraseMissing)?;
                let key = encrypted_key::decrypt(&block.contents, passphrase)?;
                PrivatePkcs8KeyDer::from(key).into()
            }
            "DSA PRIVATE KEY" => {
                return Err(CertificateError::UnusableKey("it is a DSA key".to_owned()));
            }
            "OPENSSH PRIVATE KEY" => {
                return Err(CertificateError::UnusableKey(
                    "it is a key for SSH".to_owned(),
                ));
            }
            _ => continue,
        });
    }
    Err(CertificateError::NoKey { found })
}

fn memory_contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
