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
    /// that verifies no key of the certificates for its name: it sees a wrong name rather than an aborted handshake.
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
        candidates
            .into_iter()
            .flatten()
            .flatten()
            .map(|&index| &self.certificates[index])
            .find(|certificate| certificate.certified().key.choose_scheme(schemes).is_some())
    }
}
