//! The configuration of TLS: where certificates and keys are, which clients and versions are accepted, and what changes
//! for responses.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// Certificates, and what TLS connections and their responses are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The file of the default certificate and its chain; `None`: the first of `certificates` is the default.
    pub certfile: Option<PathBuf>,
    /// The file of its key; `None`: the key is in `certfile`.
    pub keyfile: Option<PathBuf>,
    /// Further certificates.
    pub certificates: Vec<CertificateFiles>,
    /// The file with the password of encrypted keys that have no file of their own.
    pub keyfile_password_file: Option<PathBuf>,
    /// The file of the authorities that issue the certificates of clients.
    pub ca_certs: Option<PathBuf>,
    /// Whether clients need a certificate.
    pub client_certificates: ClientCertificates,
    /// The part of a client's certificate that becomes `REMOTE_USER`; `None`: no part.
    pub client_certificate_user: Option<ClientCertificateUser>,
    /// Whether the application gets `HTTPS` and `SSL_*`; `None`: if clients are asked for a certificate.
    pub ssl_variables: Option<bool>,
    /// An OpenSSL cipher string; `None`: the cipher suites that the TLS library recommends.
    pub ciphers: Option<String>,
    /// The oldest version of TLS that is accepted.
    pub min_version: TlsVersion,
    /// Longest time from the start of a TLS connection to the end of its handshake.
    pub handshake_timeout: Duration,
    /// Whether requests without TLS are redirected.
    pub https_redirect: HttpsRedirect,
    /// Value of the `Strict-Transport-Security` response header; `None`: the header is not sent.
    pub hsts: Option<String>,
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and its chain.
    pub certfile: PathBuf,
    /// Its key; `None`: it is in `certfile`.
    pub keyfile: Option<PathBuf>,
    /// The password of the key, if it is encrypted.
    pub keyfile_password_file: Option<PathBuf>,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// They are asked for one, and may have none; a wrong one is refused.
    Optional,
    /// Without one the handshake fails.
    Required,
}

/// Whether requests without TLS are redirected to https.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpsRedirect {
    /// Those that arrive over TCP, if `domain` is set and there is a listener with TLS.
    Auto,
    /// All, to the port of the listener with TLS.
    On,
    /// All, to this port.
    Port(NonZeroU16),
    /// None.
    Off,
}

/// The part of a client's certificate that becomes `REMOTE_USER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateUser {
    /// The common name of the subject.
    CommonName,
    /// The first email address among the alternative names.
    Email,
    /// The distinguished name of the subject (RFC 2253).
    DistinguishedName,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certfile: None,
            keyfile: None,
            certificates: Vec::new(),
            keyfile_password_file: None,
            ca_certs: None,
            client_certificates: ClientCertificates::None,
            client_certificate_user: None,
            ssl_variables: None,
            ciphers: None,
            min_version: TlsVersion::Tls12,
            handshake_timeout: Duration::from_secs(10),
            https_redirect: HttpsRedirect::Auto,
            hsts: None,
        }
    }
}

impl TlsConfig {
    /// The files of every certificate, the default one first, each with the password file that applies to it.
    pub fn certificate_files(&self) -> impl Iterator<Item = CertificateFiles> {
        let default = self.certfile.clone().map(|certfile| CertificateFiles {
            certfile,
            keyfile: self.keyfile.clone(),
            keyfile_password_file: None,
        });
        default
            .into_iter()
            .chain(self.certificates.iter().cloned())
            .map(|mut files| {
                if files.keyfile_password_file.is_none() {
                    files
                        .keyfile_password_file
                        .clone_from(&self.keyfile_password_file);
                }
                files
            })
    }

    /// Whether the application gets `HTTPS` and `SSL_*`.
    pub fn has_ssl_variables(&self) -> bool {
        self.ssl_variables
            .unwrap_or(self.client_certificates != ClientCertificates::None)
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let alone = [
            &mut self.certfile,
            &mut self.keyfile,
            &mut self.keyfile_password_file,
            &mut self.ca_certs,
        ];
        let further = self.certificates.iter_mut().flat_map(|files| {
            [
                Some(&mut files.certfile),
                files.keyfile.as_mut(),
                files.keyfile_password_file.as_mut(),
            ]
        });
        alone
            .into_iter()
            .map(Option::as_mut)
            .chain(further)
            .flatten()
    }
}

impl ClientCertificates {
    /// Every choice, in the order of Python's `ssl.CERT_*`.
    pub const ALL: [Self; 3] = [Self::None, Self::Optional, Self::Required];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl ClientCertificateUser {
    /// Every choice, in the order of the reference.
    pub const ALL: [Self; 3] = [Self::CommonName, Self::Email, Self::DistinguishedName];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommonName => "cn",
            Self::Email => "email",
            Self::DistinguishedName => "dn",
        }
    }
}

impl TlsVersion {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// Its name, as the setting takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
