//! Certificates and their renewal as metrics and as a part of the status: for operators, and for alerts before a
//! certificate expires.

use crate::metrics::{Families, Kind, Value};
use crate::object::Json;

/// What operators see of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificatesView {
    /// The certificates that the server presents, the default one first.
    pub certificates: Vec<CertificateView>,
    /// Those that ACME obtains.
    pub renewals: Vec<RenewalView>,
}

/// A certificate that ACME obtains and renews. Times are in seconds since 1970; 0 means never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalView {
    /// The name of the certificate.
    pub name: String,
    /// The URL of the authority that was asked last.
    pub directory: String,
    /// When the last certificate was issued.
    pub last_success: u64,
    /// When the last attempt began.
    pub last_attempt: u64,
    /// When the next attempt is due.
    pub next_attempt: u64,
    /// Failures since the last success.
    pub failures: u64,
    /// Why the last attempt has failed; empty after a success.
    pub last_error: String,
}

/// A certificate that the server presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateView {
    /// The names that it is valid for.
    pub names: Vec<String>,
    /// The name of the authority that has signed it.
    pub issuer: String,
    /// In hexadecimal digits.
    pub serial: String,
    /// The kind of its key, such as `ECDSA P-256`.
    pub key: String,
    /// The file that it was read from.
    pub source: String,
    /// When it becomes valid and when it expires, in seconds since 1970.
    pub not_before: i64,
    /// See above.
    pub not_after: i64,
    /// Whole days until it expires; negative afterwards.
    pub days_left: i64,
}

impl CertificateView {
    /// The days from `now` until `not_after`, both in seconds since 1970.
    pub fn days_between(now: i64, not_after: i64) -> i64 {
        not_after.saturating_sub(now).div_euclid(86_400)
    }
}

/// Adds the metrics of the certificates; nothing where there are none.
pub fn certificate_metrics(families: &mut Families, view: &CertificatesView) {
    if !view.certificates.is_empty() {
        expiries(families, &view.certificates);
    }
    if !view.renewals.is_empty() {
        renewals(families, &view.renewals);
    }
}

fn expiries(families: &mut Families, certificates: &[CertificateView]) {
    families.add(
        "lockgate_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When a certificate expires, in seconds since 1970.",
    );
    for certificate in certificates {
        let first = certificate.names.first().map_or("", String::as_str);
        let labels = [("name", first), ("source", &certificate.source)];
        families.sample(&labels, Value::Signed(certificate.not_after));
    }
}

fn renewals(families: &mut Families, renewals: &[RenewalView]) {
    for gauge in &RENEWAL_GAUGES {
        families.add(gauge.name, Kind::Gauge, gauge.help);
        for renewal in renewals {
            let value = Value::Whole((gauge.read)(renewal));
            families.sample(&[("name", &renewal.name)], value);
        }
    }
}

struct RenewalGauge {
    name: &'static str,
    help: &'static str,
    read: fn(&RenewalView) -> u64,
}

const RENEWAL_GAUGES: [RenewalGauge; 3] = [
    RenewalGauge {
        name: "lockgate_acme_failures",
        help: "Attempts to obtain a certificate that have failed since the last success.",
        read: |renewal| renewal.failures,
    },
    RenewalGauge {
        name: "lockgate_acme_last_success_timestamp_seconds",
        help: "When the last certificate was issued, in seconds since 1970; 0 when none was.",
        read: |renewal| renewal.last_success,
    },
    RenewalGauge {
        name: "lockgate_acme_next_attempt_timestamp_seconds",
        help: "When the next attempt to obtain a certificate is due, in seconds since 1970.",
        read: |renewal| renewal.next_attempt,
    },
];

impl Json {
    /// The arrays of certificates and renewals.
    pub fn certificates(&mut self, view: &CertificatesView) {
        self.key("certificates");
        self.open('[');
        for certificate in &view.certificates {
            self.certificate(certificate);
        }
        self.close(']');
        self.key("renewals");
        self.open('[');
        for renewal in &view.renewals {
            self.renewal(renewal);
        }
        self.close(']');
    }

    fn renewal(&mut self, renewal: &RenewalView) {
        self.separate();
        self.open('{');
        self.text("name", renewal.name.as_bytes());
        self.text("directory", renewal.directory.as_bytes());
        for (name, time) in [
            ("last_success", renewal.last_success),
            ("last_attempt", renewal.last_attempt),
            ("next_attempt", renewal.next_attempt),
        ] {
            match time {
                0 => self.null(name),
                time => self.number(name, time),
            }
        }
        self.number("failures", renewal.failures);
        self.text("last_error", renewal.last_error.as_bytes());
        self.close('}');
    }

    fn certificate(&mut self, certificate: &CertificateView) {
        self.separate();
        self.open('{');
        self.texts("names", &certificate.names);
        self.text("issuer", certificate.issuer.as_bytes());
        self.text("serial", certificate.serial.as_bytes());
        self.text("key", certificate.key.as_bytes());
        self.text("source", certificate.source.as_bytes());
        self.signed("not_before", certificate.not_before);
        self.signed("not_after", certificate.not_after);
        self.signed("expires_in_days", certificate.days_left);
        self.close('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    fn certificate(names: &[&str], source: &str) -> CertificateView {
        CertificateView {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            issuer: "Example \"CA\"".to_owned(),
            serial: "0a1b".to_owned(),
            key: "ECDSA P-256".to_owned(),
            source: source.to_owned(),
            not_before: -5,
            not_after: 1_800_000_000,
            days_left: -1,
        }
    }

    fn renewal() -> RenewalView {
        RenewalView {
            name: "shop.example".to_owned(),
            directory: "https://ca.example/".to_owned(),
            last_success: 0,
            last_attempt: 10,
            next_attempt: 20,
            failures: 3,
            last_error: "no \"answer\"".to_owned(),
        }
    }

    #[test]
    fn a_certificate_is_one_sample_whatever_its_names_and_its_file_contain() {
        let mut families = Families::default();
        certificate_metrics(&mut families, &CertificatesView::default());
        assert!(families.iter().next().is_none());
        let certificates = vec![
            certificate(
                &["shop.example", "www.shop.example"],
                "/etc/a \"b\"\\\n.pem",
            ),
            certificate(&[], "self-signed"),
        ];
        let view = CertificatesView {
            certificates,
            renewals: vec![renewal()],
        };
        certificate_metrics(&mut families, &view);
        let mut out = Vec::new();
        families.write_text(&mut out);
        let text = String::from_utf8(out).unwrap();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "lockgate_certificate_expiry_timestamp_seconds{name=\"shop.example\",source=\"/etc/a \\\"b\\\"\\\\\\n.pem\"} 1800000000",
                "lockgate_certificate_expiry_timestamp_seconds{name=\"\",source=\"self-signed\"} 1800000000",
                "lockgate_acme_failures{name=\"shop.example\"} 3",
                "lockgate_acme_last_success_timestamp_seconds{name=\"shop.example\"} 0",
                "lockgate_acme_next_attempt_timestamp_seconds{name=\"shop.example\"} 20",
            ]
        );
    }

    #[test]
    fn the_status_has_all_fields_of_a_certificate() {
        let mut json = Json::default();
        json.open('{');
        json.certificates(&CertificatesView {
            certificates: vec![certificate(&["a.example", "b"], "x"), certificate(&[], "y")],
            renewals: vec![renewal()],
        });
        json.close('}');
        let mut out = Vec::new();
        json.finish(&mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value["certificates"][0],
            json!({"names": ["a.example", "b"], "issuer": "Example \"CA\"", "serial": "0a1b", "key": "ECDSA P-256",
                   "source": "x", "not_before": -5, "not_after": 1_800_000_000, "expires_in_days": -1})
        );
        assert_eq!(value["certificates"][1]["names"], json!([]));
        assert_eq!(
            value["renewals"],
            json!([{"name": "shop.example", "directory": "https://ca.example/", "last_success": null,
                    "last_attempt": 10, "next_attempt": 20, "failures": 3, "last_error": "no \"answer\""}])
        );
    }

    #[test]
    fn days_are_whole_and_negative_after_the_expiry() {
        for (left, days) in [(86_400, 1), (86_399, 0), (0, 0), (-1, -1), (-86_401, -2)] {
            assert_eq!(
                CertificateView::days_between(1000, 1000 + left),
                days,
                "{left}"
            );
        }
    }
}
