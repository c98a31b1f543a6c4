//! Certificates and their keys: what is sent to a CA, the check of what it returns, and the certificates of tls-alpn-01.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use lockgate_tls::Certificate;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use crate::protocol::failure::Failure;

/// The validity of a certificate, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
}

/// A new key with the request for its certificate.
pub(crate) struct NewKey {
    key: KeyPair,
    /// The certificate signing request (DER).
    pub(crate) request: Vec<u8>,
}

impl NewKey {
    /// A key (ECDSA P-256) for a certificate of `name`.
    pub(crate) fn generate(name: &str) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(unusable)?;
        let request = params(name)
            .and_then(|params| params.serialize_request(&key))
            .map_err(unusable)?;
        let request = request.der().to_vec();
        Ok(Self { key, request })
    }

    /// The file to store: the key and the chain that the CA has returned for it, if they belong together.
    pub(crate) fn file_with(&self, chain: &[u8], name: &str, now: u64) -> Result<String, Failure> {
        let wrong = |what: String| Failure::WrongCertificate { what };
        let key = self.key.serialize_pem();
        let certificate = Certificate::from_pem(chain, key.as_bytes(), None);
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        if !certificate.covers(name) {
            return Err(wrong("it is for another name".to_owned()));
        }
        // One that is not valid yet will be: clocks differ.
        if unix(certificate.not_after()) <= now {
            let what = "it has expired, or the clock of this host is wrong";
            return Err(wrong(what.to_owned()));
        }
        let chain = String::from_utf8_lossy(chain);
        Ok(format!("{key}{chain}"))
    }
}

/// The certificate of tls-alpn-01 with its key, in one PEM (RFC 8737 §3).
pub(crate) fn challenge_file(name: &str, key_authorization: &str) -> Result<String, Failure> {
    let key = KeyPair::generate().map_err(unusable)?;
    let mut params = params(name).map_err(unusable)?;
    let digest = digest(&SHA256, key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let certificate = params.self_signed(&key).map_err(unusable)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

/// The name that a client of tls-alpn-01 sends in the TLS handshake: for an address its reverse name (RFC 8738 §6).
pub(crate) fn server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev();
            let labels: String = nibbles
                .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4))
                .collect();
            format!("{labels}ip6.arpa")
        }
        Err(_) => name.to_owned(),
    }
}

/// The validity of a stored certificate; `None` when there is none that can be used for the name.
pub(crate) fn stored_validity(file: &[u8], name: &str) -> Option<Validity> {
    let certificate = Certificate::from_pem(file, file, None).ok()?;
    certificate.covers(name).then(|| Validity {
        not_before: unix(certificate.not_before()),
        not_after: unix(certificate.not_after()),
    })
}

fn unix(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0)
}

fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

fn unusable(_: rcgen::Error) -> Failure {
    Failure::Key {
        what: "cannot make a key and a certificate signing request",
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    /// A certificate that the key signs for itself.
    fn chain(key: &KeyPair, names: &[&str], (from, until): (i64, i64)) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let time = |seconds| x509_parser::time::ASN1Time::from_timestamp(seconds).unwrap();
        params.not_before = time(from).to_datetime();
        params.not_after = time(until).to_datetime();
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn the_answer_of_a_ca_is_for_the_key_and_the_name_and_the_present() {
        for name in ["shop.example", "192.0.2.1", "2001:db8::1"] {
            let new = NewKey::generate(name).unwrap();
            let other = KeyPair::generate().unwrap();
            let valid = (1000, 2000);
            for (chain, expected) in [
                (chain(&new.key, &[name, "b.example"], valid), Ok(())),
                (chain(&other, &[name], valid), Err("key")),
                (
                    chain(&new.key, &["x.example"], valid),
                    Err("it is for another name"),
                ),
                (chain(&new.key, &[name], (1, 1500)), Err("it has expired")),
                (String::new(), Err("certificate")),
                ("<html>".to_owned(), Err("certificate")),
                (
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
                    Err("certificate"),
                ),
            ] {
                let file = new.file_with(chain.as_bytes(), name, 1500);
                match (&file, expected) {
                    (Ok(_), Ok(())) => {}
                    (Err(Failure::WrongCertificate { what }), Err(part)) => {
                        assert!(what.contains(part), "{what}");
                    }
                    other => panic!("{other:?}"),
                }
                if let Ok(file) = file {
                    let expected = Validity {
                        not_before: 1000,
                        not_after: 2000,
                    };
                    assert_eq!(stored_validity(file.as_bytes(), name), Some(expected));
                    assert_eq!(stored_validity(file.as_bytes(), "other.example"), None);
                }
            }
        }
        assert_eq!(stored_validity(b"", "a"), None);
    }

    #[test]
    fn a_certificate_of_tls_alpn_01_has_the_digest_in_a_critical_extension() {
        let file = challenge_file("shop.example", "token.thumbprint").unwrap();
        let read = Certificate::from_pem(file.as_bytes(), file.as_bytes(), None).unwrap();
        assert!(read.covers("shop.example"));
        let der = CertificateDer::from_pem_slice(file.as_bytes()).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let found = leaf
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(found.critical);
        let digest = digest(&SHA256, b"token.thumbprint");
        assert_eq!(found.value[..2], [4, 32]);
        assert_eq!(&found.value[2..], digest.as_ref());
    }

    #[test]
    fn the_server_name_of_an_address_is_its_reverse_name() {
        for (name, expected) in [
            ("shop.example", "shop.example"),
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ] {
            assert_eq!(server_name(name), expected);
        }
    }
}
