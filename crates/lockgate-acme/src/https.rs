//! Requests over HTTPS. Everything that a CA could make long or large is bounded here.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::protocol::failure::Failure;
use crate::protocol::{Method, NoAnswer, Request, Response};

/// From the resolution of the name to the last byte of the answer.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// Name, connection and TLS handshake.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
/// A chain of certificates has some kilobytes.
const LARGEST_ANSWER: u64 = 256 * 1024;
const LARGEST_HEAD: usize = 16 * 1024;

/// A client of one CA. Connections are kept for the attempt.
pub(crate) struct Https {
    agent: ureq::Agent,
}

impl Https {
    /// A client that trusts the CA certificates of the system and those in the file `extra`.
    pub(crate) fn new(extra: Option<&Path>) -> Result<Self, Failure> {
        let roots = trust_anchors(extra)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            // A redirect would repeat no POST anyway; the answer names its target.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(LONGEST_REQUEST))
            .timeout_connect(Some(LONGEST_CONNECT))
            .max_response_header_size(LARGEST_HEAD)
            .max_idle_age(LONGEST_CONNECT)
            .user_agent(concat!("lockgate/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.new_agent(),
        })
    }

    /// Sends one request and reads its answer.
    pub(crate) fn send(&self, request: &Request) -> Result<Response, NoAnswer> {
        let url = request.url.as_str();
        let sent = match request.method {
            Method::Get => self.agent.get(url).call(),
            Method::Head => self.agent.head(url).call(),
            Method::Post => (self.agent.post(url))
                .header("content-type", "application/jose+json")
                .send(request.body.as_str()),
        };
        let mut answer = sent.map_err(no_answer)?;
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER);
        let body = body.read_to_vec().map_err(no_answer)?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Response {
            status: answer.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            location: header("location"),
            nonce: header("replay-nonce"),
            retry_after: header("retry-after"),
            body,
        })
    }
}

fn no_answer(error: ureq::Error) -> NoAnswer {
    match error {
        ureq::Error::BodyExceedsLimit(limit) => {
            NoAnswer::Unusable(format!("answers with more than {limit} bytes"))
        }
        ureq::Error::LargeResponseHeader(..) => NoAnswer::Unusable(format!(
            "answers with a head of more than {LARGEST_HEAD} bytes"
        )),
        ureq::Error::Protocol(error) => {
            NoAnswer::Unusable(format!("does not answer in HTTP: {error}"))
        }
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            NoAnswer::Unreachable(format!("no connection within {LONGEST_CONNECT:?}"))
        }
        ureq::Error::Timeout(_) => {
            NoAnswer::Unreachable(format!("no complete answer within {LONGEST_REQUEST:?}"))
        }
        ureq::Error::Io(error) => NoAnswer::Unreachable(with_sources(&error)),
        error => NoAnswer::Unreachable(error.to_string()),
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

fn trust_anchors(extra: Option<&Path>) -> Result<Vec<Certificate<'static>>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut anchors = found.certs;
    if let Some(path) = extra {
        let bad = |reason: String| Failure::Setting {
            what: format!("acme_ca_certs = {}: {reason}", path.display()),
        };
        let file = fs::read(path).map_err(|error| bad(error.to_string()))?;
        let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file).collect();
        let own = own.map_err(|error| bad(error.to_string()))?;
        if own.is_empty() {
            return Err(bad("the file has no certificate in PEM".to_owned()));
        }
        anchors.extend(own);
    }
    if anchors.is_empty() {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(Failure::NoTrustAnchors {
            reason: reason.unwrap_or_else(|| "this system has none".to_owned()),
        });
    }
    let own = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    Ok(anchors.iter().map(own).collect())
}
