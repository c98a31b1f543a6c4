//! Publishing over HTTP: `POST /publish/` with items of GRIP, as pubcontrol and gripcontrol send them.

use lockgate_push::{ItemError, ItemLimits, Message, parse_items};
use lockgate_worker::{Reply, Request};

use super::answer::Answer;
use super::body::{NotRead, bytes_of};
use super::permission::{Deed, Denied, Permission};
use crate::push::{Broadcast, PublishError};

/// The largest number of items in a request. pubcontrol sends at most ten.
const MOST_ITEMS: usize = 1000;

/// See the module.
pub(super) struct Publishing {
    pub(super) broadcast: Option<Broadcast>,
    pub(super) permission: Permission,
}

/// Why nothing is published.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    NotPost,
    Off,
    Denied(Denied),
    NotRead(NotRead),
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
        let checked = self.permission.check(Deed::Publish, head, reply, now);
        checked.map_err(Refused::Denied)?;
        let body = bytes_of(request.take_body()).map_err(Refused::NotRead)?;
        let limits = ItemLimits {
            bytes: broadcast.limit(),
            items: MOST_ITEMS,
        };
        publish_all(
            broadcast,
            &parse_items(&body, &limits).map_err(Refused::Items)?,
        )
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
            Refused::Denied(_) => (403, "Forbidden"),
            Refused::Message { error, .. } if !error.is_of_message() => {
                (503, "Service Unavailable")
            }
            Refused::Items(_) | Refused::Message { .. } => (400, "Bad Request"),
            Refused::NotRead(_) => (500, "Internal Server Error"),
        };
        let text = match &refused {
            Refused::NotPost => "publishing needs POST\n".to_owned(),
            Refused::Off => "publishing is off in this server: set push = true\n".to_owned(),
            Refused::Denied(denied) => format!("{denied}\n"),
            Refused::NotRead(error) => format!("{error}\n"),
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
