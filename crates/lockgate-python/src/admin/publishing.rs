//! Publishing over HTTP: `POST /publish/` with items of GRIP, as pubcontrol and gripcontrol send them.
//!
//! Two checks, as for actions. A page in a browser must not publish for the user who views it: its request has an
//! `Origin`. And the user of the peer must be one who may act, or that of the workers, whose application can publish
//! anyway; or the request has a token that is signed with the key of `grip_key_file`.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use lockgate_config::GripKey;
use lockgate_observe::Level;
use lockgate_push::signature::{SignatureError, verify};
use lockgate_push::{ItemError, ItemLimits, Message, parse_items};
use lockgate_supervisor::{OperatorRequests, peer_user};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{Body, Reply, Request};

use super::answer::Answer;
use crate::push::{Broadcast, PublishError};

/// The largest number of items in a request. pubcontrol sends at most ten.
const MOST_ITEMS: usize = 1000;
const BEARER: &str = "bearer ";

/// See the module.
pub(super) struct Publishing {
    pub(super) broadcast: Option<Broadcast>,
    pub(super) key: Option<GripKey>,
    /// The user of the workers, if it is another one than the supervisor's.
    pub(super) worker_user: Option<u32>,
    pub(super) requests: OperatorRequests,
    pub(super) log: Arc<ErrorLog>,
}

/// Why nothing is published.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    NotPost,
    Off,
    FromPage,
    UnknownUser(String),
    NotAllowed { user: u32, owner: u32 },
    Token(SignatureError),
    NotRead(String),
    Items(ItemError),
    Message { item: usize, error: PublishError },
}

/// Whether the path is that of publishing; clients of Pushpin use the second one.
pub(super) fn is_path(path: &[u8]) -> bool {
    matches!(path, b"/publish" | b"/publish/")
}

/// Bytes of the largest request: a few of the largest messages, in base64.
pub(super) fn body_limit(message_limit: usize) -> u64 {
    const AT_LEAST: u64 = 1024 * 1024;
    AT_LEAST.saturating_add(2 * message_limit as u64)
}

impl Publishing {
    /// `now` is in seconds since 1970.
    pub(super) fn answer(&self, request: &mut Request, reply: &mut Reply, now: u64) -> Answer {
        match self.publish(request, reply, now) {
            Ok(()) => Answer::text(200, "OK", "Published\n"),
            Err(refused) => refused.into(),
        }
    }

    fn publish(&self, request: &mut Request, reply: &mut Reply, now: u64) -> Result<(), Refused> {
        let head = &request.head;
        if head.method() != b"POST" {
            return Err(Refused::NotPost);
        }
        let broadcast = self.broadcast.ok_or(Refused::Off)?;
        if head.header("Origin").is_some() {
            return Err(Refused::FromPage);
        }
        self.authorize(head.header("Authorization"), reply, now)?;
        let body = bytes_of(request.take_body())?;
        let limits = ItemLimits {
            bytes: broadcast.limit(),
            items: MOST_ITEMS,
        };
        publish_all(
            broadcast,
            &parse_items(&body, &limits).map_err(Refused::Items)?,
        )
    }

    fn authorize(
        &self,
        authorization: Option<&[u8]>,
        reply: &mut Reply,
        now: u64,
    ) -> Result<(), Refused> {
        if let (Some(key), Some(token)) = (&self.key, authorization.and_then(bearer_token)) {
            let verified = verify(token, key.bytes(), now);
            return verified.map(drop).map_err(Refused::Token);
        }
        let unknown = |error: &dyn fmt::Display| Refused::UnknownUser(error.to_string());
        let socket = reply.socket().ok_or_else(|| unknown(&"no socket"))?;
        let user = peer_user(socket).map_err(|error| unknown(&error))?;
        if self.requests.may_request(user) || self.worker_user == Some(user) {
            return Ok(());
        }
        let message = format!("admin: user {user} may not publish: refused");
        self.log.write(Level::Warning, &message);
        let owner = self.requests.owner();
        Err(Refused::NotAllowed { user, owner })
    }
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer_token(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
}

fn bytes_of(body: Body) -> Result<Vec<u8>, Refused> {
    match body {
        Body::Empty => Ok(Vec::new()),
        Body::Memory(bytes) => Ok(bytes.to_vec()),
        Body::Spooled { mut file, .. } => {
            let mut bytes = Vec::new();
            let read = file.read_to_end(&mut bytes);
            read.map_err(|error| Refused::NotRead(error.to_string()))?;
            Ok(bytes)
        }
        Body::Stream(_) => Err(Refused::NotRead("it is streamed".to_owned())),
    }
}

/// All messages have been checked: what can still fail is the log.
fn publish_all(broadcast: Broadcast, messages: &[Message]) -> Result<(), Refused> {
    for (item, message) in (1..).zip(messages) {
        broadcast
            .publish(message)
            .map_err(|error| Refused::Message { item, error })?;
    }
    Ok(())
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let (status, reason) = match &refused {
            Refused::NotPost => (405, "Method Not Allowed"),
            Refused::Off => (404, "Not Found"),
            Refused::FromPage
            | Refused::UnknownUser(_)
            | Refused::NotAllowed { .. }
            | Refused::Token(_) => (403, "Forbidden"),
            Refused::Message { error, .. } if !error.is_of_message() => {
                (503, "Service Unavailable")
            }
            Refused::Items(_) | Refused::Message { .. } => (400, "Bad Request"),
            Refused::NotRead(_) => (500, "Internal Server Error"),
        };
        let text = match &refused {
            Refused::NotPost => "publishing needs POST\n".to_owned(),
            Refused::Off => "publishing is off in this server: set push = true\n".to_owned(),
            Refused::FromPage => {
                "a page in a browser may not publish: this request has an Origin\n".to_owned()
            }
            Refused::UnknownUser(error) => format!(
                "the system does not say which user publishes ({error}): publish over a unix socket, or with a token \
                 that is signed with the key of grip_key_file\n"
            ),
            Refused::NotAllowed { user, owner } => format!(
                "user {user} may not publish: root, user {owner}, whom the server runs as, and the user of the workers \
                 may, and every user with a token that is signed with the key of grip_key_file\n"
            ),
            Refused::Token(error) => format!("{error}: see grip_key_file\n"),
            Refused::NotRead(error) => format!("the request cannot be read: {error}\n"),
            Refused::Items(ItemError::Message { item, error }) => {
                let error = PublishError::Message(error.clone());
                format!("item {item}: {error}\n")
            }
            Refused::Items(error) => format!("{error}\n"),
            Refused::Message { item, error } => format!("item {item}: {error}\n"),
        };
        Self {
            allow: if status == 405 { "POST" } else { "" },
            ..Self::text(status, reason, &text)
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

    #[test]
    fn clients_of_pushpin_find_the_path() {
        for (path, is_found) in [
            ("/publish", true),
            ("/publish/", true),
            ("/publish/x", false),
            ("/publisher", false),
        ] {
            assert_eq!(is_path(path.as_bytes()), is_found, "{path}");
        }
    }
}
