//! The acceptor of a worker's TLS connections, made from the settings.

use std::fs;
use std::path::Path;

use lockgate_config::{ClientCertificates, Config, TlsVersion};
use lockgate_tls::{
    Acceptor, Board, ClientAuth, ClientAuthorities, MinVersion, ServerSettings,
    default_cipher_suites, parse_cipher_string,
};

/// An acceptor for the certificates on the board.
///
/// # Errors
/// For the operator. The supervisor has checked the same settings, but as another user, and files may change.
pub(crate) fn acceptor(config: &Config, board: Board) -> Result<Acceptor, String> {
    let settings = server_settings(config)?;
    Acceptor::new(settings, board).map_err(|error| error.to_string())
}

fn server_settings(config: &Config) -> Result<ServerSettings, String> {
    let tls = &config.tls;
    let authorities = || match &tls.ca_certs {
        Some(path) => authorities(path),
        None => Err("cert_reqs needs ca_certs".to_owned()),
    };
    Ok(ServerSettings {
        min_version: match tls.min_version {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        },
        cipher_suites: match &tls.ciphers {
            Some(ciphers) => parse_cipher_string(ciphers)
                .map_err(|error| format!("ciphers = {ciphers:?}: {error}"))?,
            None => default_cipher_suites(),
        },
        alpn: protocols(config).map(<[u8]>::to_vec).collect(),
        client_auth: match tls.client_certificates {
            ClientCertificates::None => ClientAuth::Off,
            ClientCertificates::Optional => ClientAuth::Optional(authorities()?),
            ClientCertificates::Required => ClientAuth::Required(authorities()?),
        },
    })
}

/// The protocols to agree on, the preferred one first. A client that offers none of them gets no connection
/// (RFC 7301 §3.2), so HTTP/1.0, which curl offers, is one of them.
fn protocols(config: &Config) -> impl Iterator<Item = &'static [u8]> {
    let http2 = config.http2.is_enabled.then_some(&b"h2"[..]);
    let others: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];
    http2.into_iter().chain(others)
}

fn authorities(path: &Path) -> Result<ClientAuthorities, String> {
    let shown = path.display();
    let file = fs::read(path).map_err(|error| {
        format!("ca_certs = {shown}: {error}; the user of the workers must be able to read it")
    })?;
    ClientAuthorities::from_pem(&file).map_err(|error| format!("ca_certs = {shown}: {error}"))
}
