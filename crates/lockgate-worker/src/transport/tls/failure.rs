//! Why a handshake has failed, in words for the error log.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, PeerIncompatible};

/// The reason of a handshake that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client has closed its side before the handshake was done.
    Closed,
    /// The client speaks HTTP without TLS; its first bytes.
    PlainHttp(Vec<u8>),
    /// The first bytes are neither TLS nor HTTP.
    NotTls,
    /// The client sends more than any handshake needs.
    TooLong,
    /// The session is resumed, and the certificate of the client has expired since it began.
    PeerExpired,
    /// One side has refused the other.
    Refused(String),
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client closed the connection"),
            Self::PlainHttp(_) => f.write_str("the client speaks HTTP without TLS"),
            Self::NotTls => f.write_str("the client does not speak TLS"),
            Self::PeerExpired => f.write_str("the certificate of the client has expired"),
            Self::TooLong => f.write_str("the client sent too much"),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

impl Error for HandshakeFailure {}

impl From<HandshakeFailure> for io::Error {
    fn from(failure: HandshakeFailure) -> Self {
        Self::new(io::ErrorKind::InvalidData, failure)
    }
}

impl HandshakeFailure {
    /// The reason inside an error of a handshake.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<&rustls::Error> for HandshakeFailure {
    fn from(error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        let reason = match error {
            Tls::AlertReceived(alert) => return Self::Refused(meaning_of(*alert)),
            Tls::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoEcPointFormatsInCommon
                | PeerIncompatible::NamedGroupsExtensionRequired,
            ) => "no shared cipher",
            Tls::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon) => {
                "no shared signature scheme: the client cannot verify the key of the certificate"
            }
            Tls::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => "no shared version of TLS",
            Tls::NoApplicationProtocol => "no shared application protocol (ALPN)",
            Tls::NoCertificatesPresented => "the client presented no certificate, see cert_reqs",
            Tls::InvalidCertificate(reason) => {
                let reason = reason.to_string();
                // The library has no variant of its own for it.
                let reason = match reason.contains("UnsupportedCertVersion") {
                    true => "it is one of X.509 version 1; issue it with extensions, as version 3",
                    false => &reason,
                };
                return Self::Refused(format!(
                    "the certificate of the client is not accepted: {reason}"
                ));
            }
            Tls::InvalidMessage(_) => return Self::NotTls,
            Tls::General(reason) if reason.contains("no server certificate chain resolved") => {
                "there is no certificate for it"
            }
            other => return Self::Refused(other.to_string()),
        };
        Self::Refused(reason.to_owned())
    }
}

fn meaning_of(alert: AlertDescription) -> String {
    let meaning = match alert {
        AlertDescription::UnknownCA => "the client does not trust the issuer of the certificate",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "the client does not accept the certificate"
        }
        AlertDescription::CertificateExpired => "the client says that the certificate has expired",
        AlertDescription::CertificateRevoked => "the client says that the certificate is revoked",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "no shared cipher, says the client"
        }
        AlertDescription::ProtocolVersion => "no shared version of TLS, says the client",
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => {
            "the client closed the connection"
        }
        other => return format!("the client sent the alert {other:?}"),
    };
    meaning.to_owned()
}
