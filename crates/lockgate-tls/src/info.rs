//! What a handshake has agreed on, under the names of mod_ssl (SSL_PROTOCOL, SSL_CLIENT_S_DN …).

use std::borrow::Cow;
use std::sync::OnceLock;

use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;

use crate::certificate::parse;
use crate::cipher_string::openssl_name;
use crate::peer::PeerCertificate;

/// A variable: its name and its value.
pub type Variable = (Cow<'static, str>, String);

/// Whether the certificate of the client, with which the session began, has expired at `now` (Unix seconds).
///
/// Resumption verifies no certificate, and a session that is resumed gets new tickets, which would continue it for ever
/// (RFC 8446 §4.6.1).
pub fn has_expired_peer(state: &CommonState, now: i64) -> bool {
    state
        .peer_certificates()
        .is_some_and(|chain| has_expired(chain, now))
}

fn has_expired(chain: &[CertificateDer<'_>], now: i64) -> bool {
    let leaf = chain.first().map(|leaf| parse(leaf, 1));
    leaf.is_some_and(|leaf| leaf.map_or(true, |leaf| leaf.validity().not_after.timestamp() < now))
}

/// The session of a connection. What costs time is computed when it is asked for, once.
#[derive(Debug)]
pub struct TlsInfo {
    protocol: &'static str,
    cipher: &'static str,
    key_bits: u16,
    is_resumed: bool,
    server_name: Option<String>,
    /// The certificates of the client, verified; its own first.
    chain: Vec<CertificateDer<'static>>,
    peer: OnceLock<Option<PeerCertificate>>,
}

impl TlsInfo {
    /// What is known when the handshake is done.
    pub fn new(state: &CommonState, server_name: Option<&str>) -> Self {
        let cipher = state.negotiated_cipher_suite().map_or("", openssl_name);
        Self {
            protocol: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "",
            },
            cipher,
            key_bits: if cipher.contains("128") { 128 } else { 256 },
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: server_name.map(str::to_owned),
            chain: state
                .peer_certificates()
                .map(<[_]>::to_vec)
                .unwrap_or_default(),
            peer: OnceLock::new(),
        }
    }

    /// `TLSv1.2` or `TLSv1.3`.
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// The cipher suite under its name in OpenSSL.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// Whether an earlier session continues.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// The name that the client has asked for (SNI).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The certificate of the client, which has been verified.
    pub fn peer(&self) -> Option<&PeerCertificate> {
        self.peer
            .get_or_init(|| PeerCertificate::new(&self.chain))
            .as_ref()
    }

    /// All variables, as mod_ssl sets them with `SSLOptions +StdEnvVars +ExportCertData`.
    pub fn variables(&self) -> Vec<Variable> {
        let mut variables = self.session_variables();
        if let Some(peer) = self.peer() {
            variables.extend_from_slice(peer.variables());
        }
        variables
    }

    /// Only the variables about the session, not about the certificate of the client.
    pub fn session_variables(&self) -> Vec<Variable> {
        let name = |name: &'static str, value: &str| (Cow::Borrowed(name), value.to_owned());
        let bits = self.key_bits.to_string();
        let mut variables = vec![
            name("SSL_PROTOCOL", self.protocol),
            name("SSL_CIPHER", self.cipher),
            name("SSL_CIPHER_USEKEYSIZE", &bits),
            name("SSL_CIPHER_ALGKEYSIZE", &bits),
            name("SSL_CIPHER_EXPORT", "false"),
            name(
                "SSL_SESSION_RESUMED",
                if self.is_resumed {
                    "Resumed"
                } else {
                    "Initial"
                },
            ),
            name("SSL_COMPRESS_METHOD", "NULL"),
            name("SSL_SECURE_RENEG", "true"),
            name(
                "SSL_CLIENT_VERIFY",
                if self.chain.is_empty() {
                    "NONE"
                } else {
                    "SUCCESS"
                },
            ),
        ];
        if let Some(server_name) = &self.server_name {
            variables.push(name("SSL_TLS_SNI", server_name));
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::pem::PemObject;

    #[test]
    fn a_client_has_expired_when_its_own_certificate_has() {
        let pem = |until| {
            crate::self_signed(&["a.example".to_owned()], 0, until)
                .unwrap()
                .0
        };
        let der = |until| CertificateDer::from_pem_slice(pem(until).as_bytes()).unwrap();
        let nonsense = CertificateDer::from(vec![1, 2, 3]);
        for (chain, now, expected) in [
            (vec![], 0, false),
            (vec![der(1000), der(500)], 1000, false),
            (vec![der(1000), der(5000)], 1001, true),
            (vec![nonsense], 0, true),
        ] {
            assert_eq!(has_expired(&chain, now), expected, "{now}");
        }
    }
}
