//! What the supervisor passes to all workers: certificates with their keys, ticket keys, and challenge certificates.

use crate::certificate::{CertificateSource, KeyForm};
use crate::ticket_keys::TicketKeys;

/// A certificate that answers the challenge tls-alpn-01 for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The name that is being proved, as the authority asks for it.
    pub name: String,
    /// The certificate with the extension acmeIdentifier.
    pub certificate: CertificateSource,
}

/// Everything that changes while a server runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Material {
    /// The first is the default.
    pub certificates: Vec<CertificateSource>,
    /// Where each of them comes from, such as a file, for operators.
    pub origins: Vec<String>,
    /// Keys of session tickets.
    pub ticket_keys: TicketKeys,
    /// Challenges that are open.
    pub challenges: Vec<Challenge>,
}

impl Material {
    /// The format of [`crate::Board`]: numbers and lengths as 32 bits, then bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, &self.ticket_keys.to_bytes());
        put_count(&mut bytes, self.certificates.len());
        for certificate in &self.certificates {
            put_certificate(&mut bytes, certificate);
        }
        put_count(&mut bytes, self.origins.len());
        for origin in &self.origins {
            put(&mut bytes, origin.as_bytes());
        }
        put_count(&mut bytes, self.challenges.len());
        for challenge in &self.challenges {
            put(&mut bytes, challenge.name.as_bytes());
            put_certificate(&mut bytes, &challenge.certificate);
        }
        bytes
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut material = Self {
            ticket_keys: TicketKeys::from_bytes(take(bytes)?)?,
            ..Self::default()
        };
        for _ in 0..take_count(bytes)? {
            material.certificates.push(take_certificate(bytes)?);
        }
        for _ in 0..take_count(bytes)? {
            let origin = String::from_utf8(take(bytes)?.to_vec()).ok()?;
            material.origins.push(origin);
        }
        for _ in 0..take_count(bytes)? {
            material.challenges.push(Challenge {
                name: String::from_utf8(take(bytes)?.to_vec()).ok()?,
                certificate: take_certificate(bytes)?,
            });
        }
        bytes.is_empty().then_some(material)
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    // Counts and lengths are those of files in memory; one of 4 GiB does not fit on any board.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    put_count(bytes, part.len());
    bytes.extend_from_slice(part);
}

fn put_certificate(bytes: &mut Vec<u8>, certificate: &CertificateSource) {
    bytes.push(match certificate.key_form {
        KeyForm::Pkcs8 => 0,
        KeyForm::Pkcs1 => 1,
        KeyForm::Sec1 => 2,
    });
    put(bytes, &certificate.key);
    put_count(bytes, certificate.chain.len());
    for part in &certificate.chain {
        put(bytes, part);
    }
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_count(bytes)?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn take_certificate(bytes: &mut &[u8]) -> Option<CertificateSource> {
    let (form, rest) = bytes.split_first()?;
    let key_form = match form {
        0 => KeyForm::Pkcs8,
        1 => KeyForm::Pkcs1,
        2 => KeyForm::Sec1,
        _ => return None,
    };
    *bytes = rest;
    let key = take(bytes)?.to_vec();
    let mut chain = Vec::new();
    for _ in 0..take_count(bytes)? {
        chain.push(take(bytes)?.to_vec());
    }
    Some(CertificateSource {
        chain,
        key_form,
        key,
    })
}
