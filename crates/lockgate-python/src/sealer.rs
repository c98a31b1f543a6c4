//! Authenticated encryption for the cookies of `lockgate.sessions`: AES-256-GCM with a key for each message.
//!
//! A sealed message is `salt (12) · nonce (12) · ciphertext · tag (16)`. HKDF-SHA256 derives the key of the message from
//! the secret and the salt. Salt and nonce are random, 24 bytes together: with 12 bytes and one key for all messages,
//! 2³² messages would be the limit of NIST SP 800-38D, which a busy site reaches in weeks.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::rand;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

const SALT_LEN: usize = 12;
const HEAD_LEN: usize = SALT_LEN + NONCE_LEN;

/// Seals and opens messages with keys that are derived from one secret for one purpose.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub struct Sealer {
    key: Prk,
    purpose: Vec<u8>,
}

#[pymethods]
impl Sealer {
    #[new]
    fn new(secret: &[u8], purpose: &[u8]) -> Self {
        Self {
            key: Salt::new(HKDF_SHA256, b"lockgate").extract(secret),
            purpose: purpose.to_vec(),
        }
    }

    /// The sealed form of a message, which opens only with the same associated data.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        message: &[u8],
        associated: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = (self.sealed(message, associated))
            .map_err(|Unspecified| PyRuntimeError::new_err("the message cannot be encrypted"))?;
        Ok(PyBytes::new(py, &sealed))
    }

    /// The message, or `None` if it was sealed with another secret, purpose or associated data, or was changed.
    fn open<'py>(
        &self,
        py: Python<'py>,
        sealed: &[u8],
        associated: &[u8],
    ) -> Option<Bound<'py, PyBytes>> {
        let message = self.opened(sealed, associated).ok()?;
        Some(PyBytes::new(py, &message))
    }
}

impl Sealer {
    fn sealed(&self, message: &[u8], associated: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = vec![0; HEAD_LEN];
        rand::fill(&mut sealed)?;
        let (salt, nonce) = sealed.split_at(SALT_LEN);
        let (key, nonce) = (
            self.message_key(salt)?,
            Nonce::try_assume_unique_for_key(nonce)?,
        );
        let mut text = message.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(associated), &mut text)?;
        sealed.append(&mut text);
        Ok(sealed)
    }

    fn opened(&self, sealed: &[u8], associated: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (head, text) = sealed.split_at_checked(HEAD_LEN).ok_or(Unspecified)?;
        let (salt, nonce) = head.split_at(SALT_LEN);
        let (key, nonce) = (
            self.message_key(salt)?,
            Nonce::try_assume_unique_for_key(nonce)?,
        );
        let mut text = text.to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(associated), &mut text)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn message_key(&self, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
        let info = [self.purpose.as_slice(), salt];
        let key = self.key.expand(&info, &AES_256_GCM)?;
        Ok(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}
