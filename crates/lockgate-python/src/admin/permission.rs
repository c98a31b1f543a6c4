//! Who may publish and purge over HTTP.
//!
//! Two checks, as for actions. A page in a browser must not act for the user who views it: its request has an `Origin`.
//! And the user of the peer must be one who may act, or that of the workers, whose application can do the same anyway;
//! or the request has a token that is signed with the key of `grip_key_file`.

use std::fmt;
use std::sync::Arc;

use lockgate_config::GripKey;
use lockgate_http::RequestHead;
use lockgate_observe::Level;
use lockgate_push::signature::{SignatureError, verify};
use lockgate_supervisor::{OperatorRequests, peer_user};
use lockgate_worker::Reply;
use lockgate_worker::log::ErrorLog;

const BEARER: &str = "bearer ";

/// See the module.
#[derive(Clone)]
pub(super) struct Permission {
    pub(super) key: Option<GripKey>,
    /// The user of the workers, if it is another one than the supervisor's.
    pub(super) worker_user: Option<u32>,
    pub(super) requests: OperatorRequests,
    pub(super) log: Arc<ErrorLog>,
}

/// What is permitted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Publish,
    Purge,
}

/// Why a deed is not permitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    FromPage(Deed),
    UnknownUser(Deed, String),
    NotAllowed { deed: Deed, user: u32, owner: u32 },
    Token(SignatureError),
}

impl Permission {
    /// Whether this request is permitted. `now` is in seconds since 1970.
    pub(super) fn check(
        &self,
        deed: Deed,
        head: &RequestHead,
        reply: &mut Reply,
        now: u64,
    ) -> Result<(), Denied> {
        if head.header("Origin").is_some() {
            return Err(Denied::FromPage(deed));
        }
        let token = head.header("Authorization").and_then(bearer_token);
        if let (Some(key), Some(token)) = (&self.key, token) {
            let verified = verify(token, key.bytes(), now);
            return verified.map(drop).map_err(Denied::Token);
        }
        let unknown = |error: &dyn fmt::Display| Denied::UnknownUser(deed, error.to_string());
        let socket = reply.socket().ok_or_else(|| unknown(&"no socket"))?;
        let user = peer_user(socket).map_err(|error| unknown(&error))?;
        if self.requests.may_request(user) || self.worker_user == Some(user) {
            return Ok(());
        }
        let message = format!("admin: user {user} may not {deed}: refused");
        self.log.write(Level::Warning, &message);
        let owner = self.requests.owner();
        Err(Denied::NotAllowed { deed, user, owner })
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer_token(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Purge => "purge",
        })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromPage(deed) => write!(
                f,
                "a page in a browser may not {deed}: this request has an Origin"
            ),
            Self::UnknownUser(deed, error) => write!(
                f,
                "the system does not say which user wants to {deed} ({error}): use a unix socket, or a token that is signed \
                 with the key of grip_key_file"
            ),
            Self::NotAllowed { deed, user, owner } => write!(
                f,
                "user {user} may not {deed}: root, user {owner}, whom the server runs as, and the user of the workers may, \
                 and every user with a token that is signed with the key of grip_key_file"
            ),
            Self::Token(error) => write!(f, "{error}: see grip_key_file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_after_its_scheme() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer  a.b.c ", Some("a.b.c")),
            ("Basic YTpi", None),
            ("Bearer", None),
            ("", None),
            ("Bearär a", None),
        ] {
            assert_eq!(bearer_token(value.as_bytes()), token, "{value}");
        }
        assert_eq!(bearer_token(b"Bearer \xff"), None);
    }
}
