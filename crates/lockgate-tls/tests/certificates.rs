//! Certificate files and key files as tools write them, and as operators confuse them. The samples were made with the
//! openssl command; `leaf.crt` is issued by `sub.crt`, and that by `ca.crt`.

#![allow(clippy::unwrap_used)]

use lockgate_tls::{Certificate, CertificateError, ClientAuthorities, KeyKind, self_signed};

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("samples/", $name)).as_slice()
    };
}

const EC: &[u8] = sample!("ec.crt");
const EC_KEY: &[u8] = sample!("ec-sec1.pem");

#[track_caller]
fn error(chain: &[u8], key: &[u8], passphrase: Option<&str>) -> CertificateError {
    Certificate::from_pem(chain, key, passphrase.map(str::as_bytes)).unwrap_err()
}

#[test]
fn every_form_of_a_key_is_read() {
    for key in [
        EC_KEY,
        sample!("ec-pkcs8.pem"),
        sample!("ec-aes256-sha256.pem"),
        sample!("ec-aes128-sha1.pem"),
        sample!("ec-aes192-sha512.pem"),
    ] {
        let certificate = Certificate::from_pem(EC, key, Some(b"secret")).unwrap();
        assert_eq!(certificate.key_kind(), KeyKind::EllipticCurve);
        let again = Certificate::from_source(certificate.source().clone()).unwrap();
        assert_eq!(again.fingerprint(), certificate.fingerprint());
    }
    let rsa = Certificate::from_pem(sample!("rsa.crt"), sample!("rsa-pkcs1.pem"), None).unwrap();
    assert_eq!(rsa.key_kind(), KeyKind::Rsa);
    let ed25519 =
        Certificate::from_pem(sample!("ed25519.crt"), sample!("ed25519.pem"), None).unwrap();
    assert_eq!(ed25519.key_kind(), KeyKind::EllipticCurve);
}

#[test]
fn chain_and_key_may_be_in_one_file_with_anything_around_them() {
    let both = [b"\xef\xbb\xbfcomment\r\n", EC_KEY, b"\nsubject=x\n\n", EC].concat();
    Certificate::from_pem(&both, &both, None).unwrap();
    let windows = String::from_utf8(EC.to_vec())
        .unwrap()
        .replace('\n', "\r\n");
    Certificate::from_pem(windows.as_bytes(), EC_KEY, None).unwrap();
}

#[test]
fn a_certificate_says_what_it_is() {
    let certificate = Certificate::from_pem(EC, EC_KEY, None).unwrap();
    let names = ["shop.example", "*.shop.example", "127.0.0.1", "2001:db8::1"];
    assert_eq!(certificate.names(), names);
    assert_eq!(certificate.subject(), "CN=shop.example,O=Café\\, Inc.,C=DE");
    assert_eq!(certificate.issuer(), certificate.subject());
    assert!(certificate.is_self_signed());
    for (name, covered) in [
        ("SHOP.example.", true),
        ("www.shop.example", true),
        ("a.b.shop.example", false),
        ("[2001:DB8::1]", true),
        ("127.0.0.2", false),
        ("example", false),
        ("", false),
    ] {
        assert_eq!(certificate.covers(name), covered, "{name}");
    }
    let rsa = Certificate::from_pem(sample!("rsa.crt"), sample!("rsa-pkcs1.pem"), None).unwrap();
    assert_eq!(rsa.names(), ["legacy.example"], "the common name");
}

#[test]
fn a_wrong_key_file_is_explained() {
    for (key, passphrase, wanted, text) in [
        (
            sample!("ec-aes256-sha256.pem"),
            None,
            CertificateError::PassphraseMissing,
            "set keyfile_password_file",
        ),
        (
            sample!("ec-aes256-sha256.pem"),
            Some("wrong"),
            CertificateError::PassphraseWrong,
            "check keyfile_password_file",
        ),
        (
            sample!("ec-traditional.pem"),
            Some("secret"),
            CertificateError::TraditionalEncryption,
            "openssl pkcs8 -topk8",
        ),
        (
            sample!("ec-scrypt.pem"),
            Some("secret"),
            CertificateError::UnsupportedEncryption("scrypt".to_owned()),
            "openssl pkcs8 -topk8",
        ),
        (
            sample!("ec-3des.pem"),
            Some("secret"),
            CertificateError::UnsupportedEncryption("3DES".to_owned()),
            "with 3DES",
        ),
        (
            sample!("ec-pbe.pem"),
            Some("secret"),
            CertificateError::UnsupportedEncryption("PKCS#12 (SHA-1 and 3DES)".to_owned()),
            "PKCS#12",
        ),
        (
            sample!("ec-key.der"),
            None,
            CertificateError::BinaryKey,
            "openssl pkey -inform der",
        ),
        (
            EC,
            None,
            CertificateError::NoKey {
                found: vec!["CERTIFICATE".to_owned()],
            },
            "set keyfile",
        ),
        (
            b"",
            None,
            CertificateError::NoKey { found: Vec::new() },
            "no private key found",
        ),
        (
            b"-----BEGIN PRIVATE KEY-----\nMIG",
            None,
            CertificateError::BrokenKeyBlock(1),
            "PEM block 1",
        ),
        (
            sample!("ed25519.pem"),
            None,
            CertificateError::KeyMismatch,
            "does not belong",
        ),
    ] {
        let error = error(EC, key, passphrase);
        assert_eq!(error, wanted);
        assert!(error.is_about_key());
        assert!(error.to_string().contains(text), "{error}");
    }
    let weak = error(sample!("rsa-1024.crt"), sample!("rsa-1024.pem"), None);
    assert!(matches!(weak, CertificateError::UnusableKey(_)), "{weak}");
    assert!(weak.to_string().contains("RSA from 2048 bits"), "{weak}");
}

#[test]
fn a_wrong_certificate_file_is_explained() {
    for (chain, text) in [
        (EC_KEY, "swap certfile and keyfile"),
        (b"".as_slice(), "no certificate found"),
        (sample!("ec.der"), "openssl x509 -inform der"),
        (
            b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "PEM block 1",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
            "certificate 1 of the file cannot be parsed",
        ),
    ] {
        let error = error(chain, EC_KEY, None);
        assert!(!error.is_about_key());
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn the_order_of_a_chain_is_checked() {
    let [leaf, sub, ca] = [sample!("leaf.crt"), sample!("sub.crt"), sample!("ca.crt")];
    let order = |number| CertificateError::WrongOrder {
        number,
        issuer: "CN=Intermediate,O=Example".to_owned(),
    };
    for (chain, wanted) in [
        (vec![leaf], None),
        (vec![leaf, sub], None),
        (vec![leaf, sub, ca], None),
        // Not needed, and common.
        (vec![leaf, sub, EC], None),
        (vec![leaf, ca, sub], Some(order(1))),
        (vec![leaf, leaf, sub], Some(order(1))),
        (
            vec![sub, leaf],
            Some(CertificateError::LeafNotFirst { number: 2 }),
        ),
        (
            vec![ca, sub, leaf],
            Some(CertificateError::LeafNotFirst { number: 3 }),
        ),
        (vec![sub, ca], Some(CertificateError::KeyMismatch)),
    ] {
        let outcome = Certificate::from_pem(&chain.concat(), EC_KEY, None);
        assert_eq!(outcome.err(), wanted);
    }
}

#[test]
fn time_is_checked_on_request() {
    let names = ["a.example".to_owned()];
    let (chain, key) = self_signed(&names, 1_000_000, 2_000_000).unwrap();
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), None).unwrap();
    assert_eq!(
        (certificate.not_before(), certificate.not_after()),
        (1_000_000, 2_000_000)
    );
    assert_eq!(certificate.check_time(1_500_000), Ok(()));
    let late = certificate.check_time(2_000_001).unwrap_err();
    let text = "the certificate expired on 1970-01-24 03:33:20 UTC: renew it";
    assert_eq!(late.to_string(), text);
    let early = certificate.check_time(999_999).unwrap_err();
    assert!(
        early
            .to_string()
            .contains("not valid before 1970-01-12 13:46:40 UTC")
    );
    assert!(self_signed(&["bücher.example".to_owned()], 0, 1).is_err());
}

#[test]
fn authorities_are_read_from_one_file() {
    let both = [sample!("ca.crt"), sample!("sub.crt")].concat();
    assert!(ClientAuthorities::from_pem(&both).is_ok());
    assert!(ClientAuthorities::from_pem(EC_KEY).is_err());
}
