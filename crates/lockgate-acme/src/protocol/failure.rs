//! Why an attempt has failed, in one line each: what, which CA, what to do.

use std::fmt;

use crate::protocol::ChallengeKind;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A file of `acme_dir` cannot be read or written.
    Storage { path: String, reason: String },
    /// A key cannot be made or used.
    Key { what: &'static str },
    /// A setting cannot be used.
    Setting { what: String },
    /// No CA certificates to trust.
    NoTrustAnchors { reason: String },
    /// There is no answer.
    Unreachable { url: String, reason: String },
    /// The answer is none that RFC 8555 allows.
    Nonsense { url: String, what: String },
    /// The CA has refused a request.
    Refused { url: String, problem: Problem },
    /// The CA has refused each nonce.
    BadNonces { url: String, count: u32 },
    /// The CA offers none of the challenges that this server can answer.
    NoChallenge { offered: String },
    /// The server can answer no challenge.
    NoListener,
    /// The CA could not verify the proof.
    Challenge {
        kind: ChallengeKind,
        problem: Problem,
    },
    /// Each way has failed.
    Several(Vec<Failure>),
    /// The CA takes too long.
    OutOfTime { url: String, doing: &'static str },
    /// Too many requests in one attempt.
    TooManyRequests { url: String },
    /// The certificate is not the one that was ordered.
    WrongCertificate { what: String },
    /// Another host has taken the lock over.
    LockLost { path: String },
}

/// A problem document (RFC 7807) as ACME has it, shortened and free of control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Without `urn:ietf:params:acme:error:`.
    pub(crate) kind: String,
    pub(crate) detail: String,
    /// When the CA may be asked again, in seconds from now.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    /// The time that the CA wants to pass before the next attempt, in seconds.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused { problem, .. } | Self::Challenge { problem, .. } => problem.retry_after,
            Self::Several(failures) => failures.iter().filter_map(Self::retry_after).max(),
            _ => None,
        }
    }

    /// Whether the next name would meet the same failure.
    pub(crate) fn is_of_the_ca(&self) -> bool {
        match self {
            Self::Storage { .. }
            | Self::Key { .. }
            | Self::Setting { .. }
            | Self::NoTrustAnchors { .. }
            | Self::Unreachable { .. }
            | Self::Nonsense { .. }
            | Self::BadNonces { .. }
            | Self::OutOfTime { .. } => true,
            Self::Several(failures) => failures.iter().all(Self::is_of_the_ca),
            Self::Refused { problem, .. } => matches!(
                problem.kind.as_str(),
                "externalAccountRequired"
                    | "invalidContact"
                    | "unsupportedContact"
                    | "userActionRequired"
                    | "serverInternal"
            ),
            _ => false,
        }
    }

    /// Whether another kind of challenge may succeed.
    pub(crate) fn is_of_the_challenge(&self) -> bool {
        matches!(self, Self::Challenge { .. } | Self::NoChallenge { .. })
    }

    /// What an operator can do.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Storage { .. } => "make acme_dir a directory that the server may write to",
            Self::Key { .. } => {
                "remove the accounts from acme_dir: the next attempt makes new keys"
            }
            Self::Setting { .. } => "correct the setting, and reload",
            Self::NoTrustAnchors { .. } => {
                "install the package ca-certificates, or set acme_ca_certs"
            }
            Self::Unreachable { .. } => {
                "check the network, DNS and proxy of this host, acme_directory and acme_ca_certs"
            }
            Self::Nonsense { .. } | Self::BadNonces { .. } | Self::TooManyRequests { .. } => {
                "check acme_directory; if it is right, the CA or a proxy before it is out of order"
            }
            Self::OutOfTime { .. } => "the CA is slow or out of order: see its status page",
            Self::LockLost { .. } => {
                "another host that shares acme_dir continues; check the clock and the storage of this one"
            }
            Self::WrongCertificate { .. } => "report this to the CA, or set another acme_directory",
            Self::NoListener => "bind http://[::]:80 or https://[::]:443 (setting: bind)",
            Self::NoChallenge { .. } => {
                "open port 80 or 443 of this server, or use a CA that offers http-01 or tls-alpn-01"
            }
            Self::Several(failures) => failures.first().map_or("", Self::advice),
            Self::Challenge { kind, problem } => match (problem.kind.as_str(), kind) {
                ("dns", _) => "let the A and AAAA records of the name point to this server",
                ("caa", _) => "allow this CA in the CAA records of the name",
                (_, ChallengeKind::Http01) => {
                    "let the CA reach this server on port 80 at the addresses of the name"
                }
                (_, ChallengeKind::TlsAlpn01) => {
                    "let the CA reach this server on port 443 at the addresses of the name, with no TLS proxy between"
                }
            },
            Self::Refused { problem, .. } => match problem.kind.as_str() {
                "rateLimited" => "wait: the CA limits the number of requests",
                "externalAccountRequired" => "set acme_eab_key_id and acme_eab_hmac_key_file",
                "invalidContact" | "unsupportedContact" => "correct acme_email",
                "caa" => "allow this CA in the CAA records of the name",
                "dns" => "let the A and AAAA records of the name point to this server",
                "rejectedIdentifier" | "unsupportedIdentifier" => {
                    "correct domain, or use a CA that issues certificates for this name"
                }
                "unauthorized" => {
                    "check acme_eab_key_id, acme_eab_hmac_key_file and the account at the CA"
                }
                "userActionRequired" => "do what the CA asks for",
                _ => "see the status page of the CA",
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { path, reason } => write!(f, "{path}: {reason}"),
            Self::Key { what } => f.write_str(what),
            Self::Setting { what } => f.write_str(what),
            Self::NoTrustAnchors { reason } => write!(f, "no CA certificates to trust: {reason}"),
            Self::Unreachable { url, reason } => write!(f, "{url} does not answer: {reason}"),
            Self::Nonsense { url, what } => write!(f, "{url} {what}"),
            Self::Refused { url, problem } => write!(f, "{url} has refused the request: {problem}"),
            Self::BadNonces { url, count } => {
                write!(f, "{url} has refused {count} nonces in a row")
            }
            Self::NoListener => {
                f.write_str("no listener of this server can answer http-01 or tls-alpn-01")
            }
            Self::NoChallenge { offered } => {
                write!(f, "the CA offers only the challenges {offered}")
            }
            Self::Challenge { kind, problem } => {
                write!(f, "the CA could not verify {}: {problem}", kind.name())
            }
            Self::Several(failures) => {
                for (index, failure) in failures.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{failure}")?;
                }
                Ok(())
            }
            Self::OutOfTime { url, doing } => write!(f, "{url} takes too long {doing}"),
            Self::TooManyRequests { url } => {
                write!(f, "{url}: the attempt needed too many requests")
            }
            Self::WrongCertificate { what } => {
                write!(f, "the certificate of the CA cannot be used: {what}")
            }
            Self::LockLost { path } => write!(f, "{path}: another host has taken this lock over"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.is_empty() {
            true => f.write_str(&self.kind),
            false => write!(f, "{} ({})", self.detail, self.kind),
        }
    }
}
