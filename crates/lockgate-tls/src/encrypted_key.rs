//! Encrypted private keys: PKCS#8 with PBES2 (RFC 8018): PBKDF2 and AES in CBC mode, as `openssl pkcs8 -topk8` writes
//! them.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Sequence, Tag, oid};

use crate::error::CertificateError;

/// More iterations than any tool writes; `openssl` writes 2,048, password managers up to some millions.
const MOST_ITERATIONS: u32 = 10_000_000;

/// The key (PKCS#8 in DER) inside an EncryptedPrivateKeyInfo.
pub(crate) fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, CertificateError> {
    let envelope = parse(der).ok_or(CertificateError::BrokenKeyBlock(1))?;
    let scheme = envelope.scheme()?;
    let mut key = vec![0; scheme.cipher_key_length];
    pbkdf2::derive(
        scheme.hash,
        scheme.iterations,
        scheme.salt,
        passphrase,
        &mut key,
    );
    let wrong = |_| CertificateError::PassphraseWrong;
    let key = UnboundCipherKey::new(scheme.cipher, &key).map_err(wrong)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(wrong)?;
    let mut text = envelope.ciphertext.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(scheme.iv));
    let plain = key.decrypt(&mut text, context).map_err(wrong)?;
    // One in 256 wrong keys leaves valid padding; what it leaves is not a SEQUENCE over all bytes.
    match <Sequence<'_> as FromDer<'_>>::from_der(plain) {
        Ok(([], _)) => Ok(plain.to_vec()),
        _ => Err(CertificateError::PassphraseWrong),
    }
}

/// EncryptedPrivateKeyInfo (RFC 5958 §3).
struct Envelope<'a> {
    algorithm: Oid<'a>,
    parameters: &'a [u8],
    ciphertext: &'a [u8],
}

struct Scheme<'a> {
    hash: pbkdf2::Algorithm,
    iterations: NonZeroU32,
    salt: &'a [u8],
    cipher: &'static Algorithm,
    cipher_key_length: usize,
    iv: [u8; 16],
}

fn parse(der: &[u8]) -> Option<Envelope<'_>> {
    let (body, _) = contents(der)?;
    let (algorithm, rest) = contents(body)?;
    let (algorithm, parameters) = identifier(algorithm)?;
    let (ciphertext, _) = octets(rest)?;
    Some(Envelope {
        algorithm,
        parameters,
        ciphertext,
    })
}

impl<'a> Envelope<'a> {
    fn scheme(&self) -> Result<Scheme<'a>, CertificateError> {
        let unsupported = |what: &Oid<'_>| CertificateError::UnsupportedEncryption(name_of(what));
        if self.algorithm != oid!(1.2.840.113549.1.5.13) {
            return Err(unsupported(&self.algorithm));
        }
        let broken = || CertificateError::BrokenKeyBlock(1);
        let (parts, _) = contents(self.parameters).ok_or_else(broken)?;
        let (derivation, rest) = contents(parts).ok_or_else(broken)?;
        let (encryption, _) = contents(rest).ok_or_else(broken)?;
        let (derivation, derivation_parameters) = identifier(derivation).ok_or_else(broken)?;
        if derivation != oid!(1.2.840.113549.1.5.12) {
            return Err(unsupported(&derivation));
        }
        let (encryption, encryption_parameters) = identifier(encryption).ok_or_else(broken)?;
        let (cipher, cipher_key_length) =
            cipher(&encryption).ok_or_else(|| unsupported(&encryption))?;
        let (iv, _) = octets(encryption_parameters).ok_or_else(broken)?;
        let (parameters, _) = contents(derivation_parameters).ok_or_else(broken)?;
        let (salt, rest) = octets(parameters).ok_or_else(broken)?;
        let (rest, iterations) = integer(rest).ok_or_else(broken)?;
        // The length of the key is optional here, and follows from the cipher.
        let rest = integer(rest).map_or(rest, |(after, _)| after);
        let hash = match contents(rest) {
            Some((hash, _)) => {
                let (hash, _) = identifier(hash).ok_or_else(broken)?;
                pseudo_random_function(&hash).ok_or_else(|| unsupported(&hash))?
            }
            None => pbkdf2::PBKDF2_HMAC_SHA1,
        };
        Ok(Scheme {
            hash,
            iterations: NonZeroU32::new(iterations)
                .filter(|count| count.get() <= MOST_ITERATIONS)
                .ok_or_else(broken)?,
            salt,
            cipher,
            cipher_key_length,
            iv: iv.try_into().map_err(|_| broken())?,
        })
    }
}

fn cipher(encryption: &Oid<'_>) -> Option<(&'static Algorithm, usize)> {
    [
        (oid!(2.16.840.1.101.3.4.1.2), &AES_128, 16),
        (oid!(2.16.840.1.101.3.4.1.22), &AES_192, 24),
        (oid!(2.16.840.1.101.3.4.1.42), &AES_256, 32),
    ]
    .into_iter()
    .find_map(|(oid, cipher, length)| (oid == *encryption).then_some((cipher, length)))
}

fn pseudo_random_function(hash: &Oid<'_>) -> Option<pbkdf2::Algorithm> {
    [
        (oid!(1.2.840.113549.2.7), pbkdf2::PBKDF2_HMAC_SHA1),
        (oid!(1.2.840.113549.2.9), pbkdf2::PBKDF2_HMAC_SHA256),
        (oid!(1.2.840.113549.2.10), pbkdf2::PBKDF2_HMAC_SHA384),
        (oid!(1.2.840.113549.2.11), pbkdf2::PBKDF2_HMAC_SHA512),
    ]
    .into_iter()
    .find_map(|(oid, function)| (oid == *hash).then_some(function))
}

/// The names of what OpenSSL can write and this module cannot read.
fn name_of(algorithm: &Oid<'_>) -> String {
    let id = algorithm.to_id_string();
    match id.as_str() {
        "1.3.6.1.4.1.11591.4.11" => "scrypt".to_owned(),
        "1.2.840.113549.3.7" => "3DES".to_owned(),
        "1.2.840.113549.3.2" => "RC2".to_owned(),
        "1.2.840.113549.1.5.3" => "PBES1 (MD5 and DES)".to_owned(),
        "1.2.840.113549.1.5.10" => "PBES1 (SHA-1 and DES)".to_owned(),
        "1.2.840.113549.1.12.1.3" => "PKCS#12 (SHA-1 and 3DES)".to_owned(),
        _ => format!("algorithm {id}"),
    }
}

/// The contents of the SEQUENCE at the start, and what follows it.
fn contents(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, any) = <Any<'_> as FromDer<'_>>::from_der(der).ok()?;
    (any.tag() == Tag::Sequence).then_some((any.data, rest))
}

/// The OCTET STRING at the start, and what follows it.
fn octets(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, any) = <Any<'_> as FromDer<'_>>::from_der(der).ok()?;
    (any.tag() == Tag::OctetString).then_some((any.data, rest))
}

/// The small INTEGER at the start, after what follows it.
fn integer(der: &[u8]) -> Option<(&[u8], u32)> {
    <u32 as FromDer<'_>>::from_der(der).ok()
}

/// An AlgorithmIdentifier's contents: its object identifier, and its parameters.
fn identifier(der: &[u8]) -> Option<(Oid<'_>, &[u8])> {
    let (rest, oid) = <Oid<'_> as FromDer<'_>>::from_der(der).ok()?;
    Some((oid, rest))
}
