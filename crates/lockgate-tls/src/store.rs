//! The certificates of a server, and which of them a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;

use crate::certificate::Certificate;
use crate::names;

/// Certificates by name. The first is the default.
#[derive(Debug, Default)]
pub struct CertificateStore {
    certificates: Vec<Arc<Certificate>>,
    exact: HashMap<String, Vec<usize>>,
    /// By the name without its first label.
    wildcards: HashMap<String, Vec<usize>>,
    /// All, those with the names of the first before the others.
    defaults: Vec<usize>,
}

impl CertificateStore {
    /// A store of these certificates.
    pub fn new(certificates: Vec<Arc<Certificate>>) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut wildcards: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in certificate.names() {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcards.entry(parent.to_owned()).or_default().push(index),
                    None => exact.entry(name.clone()).or_default().push(index),
                }
            }
        }
        // Where a client can verify both, the cheaper key signs. The sort is stable: of the same kind the first wins.
        for indices in exact.values_mut().chain(wildcards.values_mut()) {
            indices.sort_by_key(|&index| certificates[index].key_kind());
        }
        let mut defaults: Vec<usize> = (0..certificates.len()).collect();
        if let Some(first) = certificates.first() {
            defaults.sort_by_key(|&index| match &certificates[index] {
                twin if twin.names() == first.names() => (0, Some(twin.key_kind())),
                _ => (1, None),
            });
        }
        Self {
            certificates,
            exact,
            wildcards,
            defaults,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The certificate for a client that asks for `server_name` and can verify these signatures: one for exactly this
    /// name, one with a wildcard, or the default. A name without a certificate gets the default, and so does a client
    /// that verifies no key of the certificates for its name: it sees a wrong name rather than an aborted handshake. A
    /// client that verifies no key at all gets the first candidate, so that the protocol refuses it with the alert
    /// handshake_failure. `None`: there is no certificate.
    pub fn choose(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<Certificate>> {
        let name = server_name.map(names::in_lower_case);
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        let wildcard = name
            .as_deref()
            .and_then(names::parent)
            .and_then(|parent| self.wildcards.get(parent));
        let candidates = [exact, wildcard, Some(&self.defaults)];
        let mut candidates = candidates
            .into_iter()
            .flatten()
            .flatten()
            .map(|&index| &self.certificates[index]);
        let first = candidates.clone().next();
        candidates
            .find(|certificate| certificate.certified().key.choose_scheme(schemes).is_some())
            .or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::KeyKind;

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
    const BOTH: &[SignatureScheme] = &[
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];

    fn certificate(names: &[&str], kind: KeyKind) -> Arc<Certificate> {
        let algorithm = match kind {
            KeyKind::EllipticCurve => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::Rsa => &rcgen::PKCS_RSA_SHA256,
        };
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(names).unwrap();
        let chain = parameters.self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap())
    }

    #[test]
    fn a_client_gets_the_certificate_for_its_name_and_its_signatures() {
        use KeyKind::{EllipticCurve, Rsa};
        let certificates = vec![
            certificate(&["shop.example", "www.shop.example"], Rsa),
            certificate(&["shop.example", "www.shop.example"], EllipticCurve),
            certificate(&["*.shop.example"], EllipticCurve),
            certificate(&["other.example"], EllipticCurve),
        ];
        let store = CertificateStore::new(certificates.clone());
        for (name, schemes, wanted) in [
            (Some("shop.example"), BOTH, Some(1)),
            (Some("SHOP.example."), ECDSA, Some(1)),
            (Some("shop.example"), RSA, Some(0)),
            (Some("www.shop.example"), BOTH, Some(1)),
            (Some("img.shop.example"), BOTH, Some(2)),
            // No certificate for the name has a key that the client can verify.
            (Some("img.shop.example"), RSA, Some(0)),
            (Some("a.img.shop.example"), BOTH, Some(1)),
            (Some("other.example"), ECDSA, Some(3)),
            (Some("unknown.example"), BOTH, Some(1)),
            (None, BOTH, Some(1)),
            (None, RSA, Some(0)),
            // The protocol refuses it.
            (Some("other.example"), &[], Some(3)),
            (None, &[], Some(1)),
        ] {
            let chosen = store.choose(name, schemes);
            let index = chosen.and_then(|chosen| {
                certificates
                    .iter()
                    .position(|certificate| Arc::ptr_eq(certificate, chosen))
            });
            assert_eq!(index, wanted, "{name:?} {schemes:?}");
        }
        assert!(CertificateStore::default().choose(None, BOTH).is_none());
        assert!(CertificateStore::default().is_empty() && !store.is_empty());
    }
}
