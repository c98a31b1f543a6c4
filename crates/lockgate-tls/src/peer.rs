//! The certificate of a client, under the names of mod_ssl.

use std::borrow::Cow;
use std::collections::HashMap;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::certificate::{parse, serial_of};
use crate::distinguished_name::{attributes, to_string};
use crate::info::Variable;
use crate::pem;

/// A verified certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    subject: String,
    common_name: Option<String>,
    variables: Vec<Variable>,
}

impl PeerCertificate {
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (leaf, issuers) = chain.split_first()?;
        let certificate = parse(leaf, 1).ok()?;
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        let mut variables = vec![
            variable(
                "SSL_CLIENT_M_VERSION",
                (certificate.version().0 + 1).to_string(),
            ),
            variable("SSL_CLIENT_M_SERIAL", serial_of(&certificate)),
            variable("SSL_CLIENT_S_DN", to_string(subject)),
            variable("SSL_CLIENT_I_DN", to_string(issuer)),
            variable(
                "SSL_CLIENT_V_START",
                date(certificate.validity().not_before.timestamp()),
            ),
            variable(
                "SSL_CLIENT_V_END",
                date(certificate.validity().not_after.timestamp()),
            ),
            variable("SSL_CLIENT_A_KEY", key_algorithm(&certificate)),
            variable("SSL_CLIENT_A_SIG", signature_algorithm(&certificate)),
        ];
        add_name(&mut variables, "SSL_CLIENT_S_DN", subject);
        add_name(&mut variables, "SSL_CLIENT_I_DN", issuer);
        add_alternative_names(&mut variables, &certificate);
        variables.push(variable(
            "SSL_CLIENT_CERT",
            pem::encode("CERTIFICATE", leaf),
        ));
        for (index, issuer) in issuers.iter().enumerate() {
            let name = format!("SSL_CLIENT_CERT_CHAIN_{index}");
            variables.push((Cow::Owned(name), pem::encode("CERTIFICATE", issuer)));
        }
        let common_name = attributes(subject)
            .into_iter()
            .find_map(|(name, value)| (name == "CN").then_some(value));
        Some(Self {
            subject: to_string(subject),
            common_name,
            variables,
        })
    }

    /// The distinguished name of the subject (RFC 2253).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The first common name of the subject.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The organizational units of the subject, the usual place of groups.
    pub fn organizational_units(&self) -> impl Iterator<Item = &str> {
        const FIRST: &str = "SSL_CLIENT_S_DN_OU";
        self.variables.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(FIRST)?;
            (rest.is_empty() || rest.starts_with('_')).then_some(value.as_str())
        })
    }

    /// The value of one variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    /// All `SSL_CLIENT_…` variables but SSL_CLIENT_VERIFY.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }
}

fn variable(name: &'static str, value: String) -> Variable {
    (Cow::Borrowed(name), value)
}

/// The attributes of a name that mod_ssl knows, with a number from the second of a kind on.
fn add_name(variables: &mut Vec<Variable>, prefix: &str, name: &X509Name<'_>) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (kind, value) in attributes(name) {
        let suffix = match kind {
            "C" | "ST" | "L" | "O" | "OU" | "CN" | "UID" | "DC" => kind,
            "title" => "T",
            "initials" => "I",
            "GN" => "G",
            "SN" => "S",
            "description" => "D",
            "emailAddress" => "Email",
            _ => continue,
        };
        let count = counts.entry(suffix).or_default();
        let name = match *count {
            0 => format!("{prefix}_{suffix}"),
            count => format!("{prefix}_{suffix}_{count}"),
        };
        *count += 1;
        variables.push((Cow::Owned(name), value));
    }
}

fn add_alternative_names(variables: &mut Vec<Variable>, certificate: &X509Certificate<'_>) {
    let Some(extension) = certificate.subject_alternative_name().ok().flatten() else {
        return;
    };
    let names = &extension.value.general_names;
    for (kind, text) in [
        ("Email", as_email as fn(&GeneralName<'_>) -> Option<String>),
        ("DNS", as_host_name),
    ] {
        for (index, text) in names.iter().filter_map(text).enumerate() {
            let name = format!("SSL_CLIENT_SAN_{kind}_{index}");
            variables.push((Cow::Owned(name), text));
        }
    }
}

fn as_email(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::RFC822Name(text) => Some((*text).to_owned()),
        _ => None,
    }
}

fn as_host_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) => Some((*text).to_owned()),
        _ => None,
    }
}

/// As OpenSSL prints times (ASN1_TIME_print).
fn date(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return String::new();
    };
    format!(
        "{} {:>2} {:02}:{:02}:{:02} {} GMT",
        MONTHS[usize::from(u8::from(at.month()) - 1)],
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.year()
    )
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    let id = certificate.public_key().algorithm.algorithm.to_id_string();
    algorithm_name(id)
}

fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    algorithm_name(certificate.signature_algorithm.algorithm.to_id_string())
}

/// The long names of OpenSSL, or the object identifier.
fn algorithm_name(id: String) -> String {
    let name = match id.as_str() {
        "1.2.840.113549.1.1.1" => "rsaEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.2.1" => "id-ecPublicKey",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ED25519",
        "1.3.101.113" => "ED448",
        _ => return id,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_the_variables_of_mod_ssl() {
        let blocks = pem::blocks(include_bytes!("../tests/samples/client.crt")).unwrap();
        let issuer = pem::blocks(include_bytes!("../tests/samples/sub.crt")).unwrap();
        let chain = [&blocks[0], &issuer[0]].map(|block| CertificateDer::from(&block.contents[..]));
        let peer = PeerCertificate::new(&chain).unwrap();
        let dn = "emailAddress=alice@example.com,CN=Alice\\, the \\\"first\\\",OU=Two,OU=One,O=Example,C=DE";
        for (name, wanted) in [
            ("SSL_CLIENT_M_VERSION", Some("3")),
            ("SSL_CLIENT_M_SERIAL", Some("AB12")),
            ("SSL_CLIENT_S_DN", Some(dn)),
            ("SSL_CLIENT_I_DN", Some("CN=Intermediate,O=Example")),
            ("SSL_CLIENT_S_DN_CN", Some("Alice, the \"first\"")),
            ("SSL_CLIENT_S_DN_OU", Some("One")),
            ("SSL_CLIENT_S_DN_OU_1", Some("Two")),
            ("SSL_CLIENT_S_DN_Email", Some("alice@example.com")),
            ("SSL_CLIENT_I_DN_O", Some("Example")),
            ("SSL_CLIENT_SAN_DNS_0", Some("alice.example")),
            ("SSL_CLIENT_SAN_Email_0", Some("alice@example.com")),
            ("SSL_CLIENT_A_KEY", Some("id-ecPublicKey")),
            ("SSL_CLIENT_A_SIG", Some("ecdsa-with-SHA256")),
            ("SSL_CLIENT_S_DN_ST", None),
        ] {
            assert_eq!(peer.variable(name), wanted, "{name}");
        }
        let whole = String::from_utf8_lossy(include_bytes!("../tests/samples/client.crt"));
        assert_eq!(peer.variable("SSL_CLIENT_CERT"), Some(&*whole));
        assert!(peer.variable("SSL_CLIENT_CERT_CHAIN_0").is_some());
        assert_eq!(peer.common_name(), Some("Alice, the \"first\""));
        assert_eq!(peer.subject(), dn);
        assert!(peer.organizational_units().eq(["One", "Two"]));
        assert!(PeerCertificate::new(&[]).is_none());
    }

    #[test]
    fn times_are_printed_as_by_openssl() {
        assert_eq!(date(0), "Jan  1 00:00:00 1970 GMT");
        assert_eq!(date(1_795_902_396), "Nov 28 21:46:36 2026 GMT");
    }
}
