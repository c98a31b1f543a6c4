//! The acceptor: the configuration of rustls for new connections, made again when the supervisor has published new
//! material. Connections keep the configuration that they began with.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::ACME_TLS_ALPN;
use crate::board::Board;
use crate::certificate::{Certificate, CertificateSource};
use crate::material::Material;
use crate::names;
use crate::settings::{ClientAuth, MinVersion, ServerSettings, SettingsError};
use crate::store::CertificateStore;
use crate::ticketer::Ticketer;

/// See the module documentation.
pub struct Acceptor {
    builder: Builder,
    board: Board,
    current: Mutex<Current>,
}

/// What is the same for all configurations.
struct Builder {
    settings: ServerSettings,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    demanded: [u8; 32],
}

struct Current {
    version: u64,
    config: Arc<ServerConfig>,
    challenge_config: Option<Arc<ServerConfig>>,
    /// Unchanged certificates are not parsed again.
    certificates: HashMap<CertificateSource, Arc<Certificate>>,
}

impl Acceptor {
    /// An acceptor for the material on a board. Without any, handshakes fail until there is some.
    ///
    /// # Errors
    /// The settings cannot be used together.
    pub fn new(settings: ServerSettings, board: Board) -> Result<Self, SettingsError> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.clone_from(&settings.cipher_suites);
        let provider = Arc::new(provider);
        let builder = Builder {
            verifier: verifier(&settings.client_auth, &provider)?,
            demanded: settings.client_auth.digest(),
            provider,
            settings,
        };
        let (version, material) = board.read_with_version().unwrap_or_default();
        let current = builder.build(version, &material, &HashMap::new())?;
        Ok(Self {
            builder,
            board,
            current: Mutex::new(current),
        })
    }

    /// The configuration for a new connection.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.with_current(|current| Arc::clone(&current.config))
    }

    /// The configuration for a new connection, from the first bytes of its client. `None`: more of them are needed.
    ///
    /// Only where clients present certificates does it depend on them: an authority that validates a name by
    /// tls-alpn-01 presents none.
    pub fn config_for(&self, first: &[u8]) -> Option<Arc<ServerConfig>> {
        let challenge = self.builder.settings.client_auth.is_on();
        let challenge =
            challenge.then(|| self.with_current(|current| current.challenge_config.clone()));
        let Some(challenge) = challenge.flatten() else {
            return Some(self.server_config());
        };
        let mut acceptor = rustls::server::Acceptor::default();
        let mut rest = first;
        while !rest.is_empty() {
            if acceptor.read_tls(&mut rest).is_err() {
                return Some(self.server_config());
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) if offers_challenge_alone(&accepted.client_hello()) => {
                    return Some(challenge);
                }
                // A ClientHello that is wrong is refused by the connection.
                Ok(Some(_)) | Err(_) => return Some(self.server_config()),
            }
        }
        None
    }

    /// Whether one of the certificates is valid for a host name or an IP address.
    pub fn covers(&self, host: &str) -> bool {
        self.with_current(|current| {
            let mut certificates = current.certificates.values();
            certificates.any(|certificate| certificate.covers(host))
        })
    }

    fn with_current<T>(&self, take: impl FnOnce(&Current) -> T) -> T {
        // Held for nanoseconds, or while new material is taken over, which the other threads need as well.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if self.board.version() != current.version
            && let Some((version, material)) = self.board.read_with_version()
            && let Ok(next) = self
                .builder
                .build(version, &material, &current.certificates)
        {
            *current = next;
        }
        take(&current)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("settings", &self.builder.settings)
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn build(
        &self,
        version: u64,
        material: &Material,
        known: &HashMap<CertificateSource, Arc<Certificate>>,
    ) -> Result<Current, SettingsError> {
        // The supervisor has checked each of them before it published them.
        let load = |source: &CertificateSource| match known.get(source) {
            Some(certificate) => Some(Arc::clone(certificate)),
            None => Certificate::from_source(source.clone()).ok().map(Arc::new),
        };
        let certificates: Vec<Arc<Certificate>> =
            material.certificates.iter().filter_map(load).collect();
        let challenges = material.challenges.iter().filter_map(|challenge| {
            let certificate = load(&challenge.certificate)?;
            let name = challenge.name.to_ascii_lowercase();
            Some((name, Arc::clone(certificate.certified())))
        });
        let resolver = Arc::new(Resolver {
            store: CertificateStore::new(certificates.clone()),
            challenges: challenges.collect(),
        });
        let mut config = self.config(Arc::clone(&self.verifier), &resolver)?;
        config.alpn_protocols.clone_from(&self.settings.alpn);
        config.ticketer = Arc::new(Ticketer::new(&material.ticket_keys, self.demanded));
        let mut challenge_config = None;
        if !resolver.challenges.is_empty() {
            config.alpn_protocols.push(ACME_TLS_ALPN.to_vec());
            let mut other = self.config(WebPkiClientVerifier::no_client_auth(), &resolver)?;
            other.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
            other.send_tls13_tickets = 0;
            challenge_config = Some(Arc::new(other));
        }
        Ok(Current {
            version,
            config: Arc::new(config),
            challenge_config,
            certificates: certificates
                .into_iter()
                .map(|certificate| (certificate.source().clone(), certificate))
                .collect(),
        })
    }

    fn config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        resolver: &Arc<Resolver>,
    ) -> Result<ServerConfig, SettingsError> {
        let versions: &[&'static SupportedProtocolVersion] = match self.settings.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Resolver>::clone(resolver);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(|_| SettingsError::NoCipherSuite)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        // Sessions live in tickets only: a cache of one process is of no use to the others.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // OpenSSL's clients put AES-256 first, and with it SHA-384, whose key schedule in software was 20 % of the
        // processor time of a handshake. All suites are secure; AES-128 is the first choice of browsers.
        config.ignore_client_order = true;
        Ok(config)
    }
}

fn verifier(
    client_auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, SettingsError> {
    let (authorities, is_required) = match client_auth {
        ClientAuth::Off => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional(authorities) => (authorities, false),
        ClientAuth::Required(authorities) => (authorities, true),
    };
    let builder = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&authorities.roots),
        Arc::clone(provider),
    );
    let builder = if is_required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| SettingsError::NoAuthority(error.to_string()))
}

/// Chooses the certificate for a ClientHello.
#[derive(Debug)]
struct Resolver {
    store: CertificateStore,
    challenges: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        SERVER_NAME.replace(hello.server_name().map(str::to_owned));
        if !self.challenges.is_empty() && offers_challenge_alone(&hello) {
            let name = names::in_lower_case(hello.server_name()?);
            return self.challenges.get(&*name).cloned();
        }
        self.store
            .choose(hello.server_name(), hello.signature_schemes())
            .map(|certificate| Arc::clone(certificate.certified()))
    }
}

/// RFC 8737 §3: the authority offers this protocol alone, and gets the certificate of the challenge or nothing.
fn offers_challenge_alone(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| {
        offered.next() == Some(ACME_TLS_ALPN) && offered.next().is_none()
    })
}

thread_local! {
    /// See [`take_server_name`].
    static SERVER_NAME: Cell<Option<String>> = const { Cell::new(None) };
}

/// The name that the client asks for whose ClientHello was processed last on this thread. The unbuffered connections of
/// rustls do not return it.
pub fn take_server_name() -> Option<String> {
    SERVER_NAME.take()
}
