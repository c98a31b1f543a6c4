//! The protocol (RFC 8555) without I/O: what is sent to a CA and what its answers mean.
//!
//! Everything that waits, sends or writes is a method of [`Host`], so a scripted CA and a clock that the test moves can
//! take its place. Invariant: an attempt ends. The number of requests, the time and each answer are bounded, whatever a
//! CA sends.

pub(crate) mod account_key;
pub(crate) mod answer;
pub(crate) mod failure;
pub(crate) mod order;
pub(crate) mod retry_after;
pub(crate) mod session;

use std::time::Duration;

use crate::protocol::failure::Failure;

/// What an attempt needs of the process in which it runs.
pub(crate) trait Host {
    /// Sends one request and reads the whole answer, both within bounds.
    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer>;

    /// The time, in seconds since 1970.
    fn now(&self) -> u64;

    /// Waits. An error ends the attempt.
    fn wait(&mut self, duration: Duration) -> Result<(), Failure>;

    /// Publishes the proof for a challenge, so that the CA finds it, until [`Host::withdraw`].
    fn publish(&mut self, proof: &Proof) -> Result<(), Failure>;

    /// Removes a proof.
    fn withdraw(&mut self, proof: &Proof);
}

/// A request to a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    /// A JWS; empty unless the method is POST.
    pub(crate) body: String,
}

/// The methods of ACME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
}

/// Why there is no answer; the text follows the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It may come if the request is repeated.
    Unreachable(String),
    /// There is one that cannot be used: too long, or not HTTP.
    Unusable(String),
}

/// The answer of a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) location: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// How a server proves that it controls a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChallengeKind {
    /// A file under `/.well-known/acme-challenge/`, over HTTP on port 80 (RFC 8555 §8.3).
    Http01,
    /// A certificate for the protocol `acme-tls/1`, on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// The proof for one challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) kind: ChallengeKind,
    /// The name that is proved.
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) key_authorization: String,
}
