//! Purging over HTTP: `POST /cache/purge` with a form, or a query in the same notation.

use std::sync::Arc;

use lockgate_cache::{Purge, PurgeError};
use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{Reply, Request};

use super::answer::{Answer, JSON};
use super::body::{NotRead, bytes_of};
use super::permission::{Deed, Denied, Permission};
use crate::purging::{CachePurger, PurgeFailure};

pub(super) const PATH: &[u8] = b"/cache/purge";

/// Bytes of the largest request: some thousand tags.
pub(super) const BODY_LIMIT: u64 = 1024 * 1024;

/// How many purges of a request the log names.
const MOST_NAMED: usize = 5;

/// See the module.
pub(super) struct Purging {
    pub(super) purger: Option<CachePurger>,
    pub(super) permission: Permission,
    pub(super) log: Arc<ErrorLog>,
}

/// Why nothing is purged.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    NotPost,
    Off,
    Denied(Denied),
    NotRead(NotRead),
    Form(PurgeError),
    Failed(PurgeFailure),
}

impl Purging {
    /// `now` is in seconds since 1970.
    pub(super) fn answer(&self, request: &mut Request, reply: &mut Reply, now: u64) -> Answer {
        match self.purge(request, reply, now) {
            Ok(count) => Answer::ok(JSON, format!("{{\"purged\":{count}}}\n").into_bytes()),
            Err(refused) => refused.into(),
        }
    }

    fn purge(&self, request: &mut Request, reply: &mut Reply, now: u64) -> Result<u64, Refused> {
        let head = &request.head;
        if head.method() != b"POST" {
            return Err(Refused::NotPost);
        }
        let purger = self.purger.as_ref().ok_or(Refused::Off)?;
        let checked = self.permission.check(Deed::Purge, head, reply, now);
        checked.map_err(Refused::Denied)?;
        let query = head.query().to_vec();
        let body = bytes_of(request.take_body()).map_err(Refused::NotRead)?;
        let form = [body, query].join(&b'&');
        let purges = Purge::parse(&form).map_err(Refused::Form)?;
        let count = purger.purge(&purges).map_err(Refused::Failed)?;
        let mut names: Vec<String> = (purges.iter().take(MOST_NAMED))
            .map(ToString::to_string)
            .collect();
        if purges.len() > MOST_NAMED {
            names.push(format!("{} more", purges.len() - MOST_NAMED));
        }
        let entries = if count == 1 { "entry" } else { "entries" };
        let message = format!(
            "admin: purged {}: {count} {entries} removed from the cache",
            names.join(", ")
        );
        self.log.write(Level::Info, &message);
        Ok(count)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let (status, reason) = match &refused {
            Refused::NotPost => (405, "Method Not Allowed"),
            Refused::Off => (404, "Not Found"),
            Refused::Denied(_) => (403, "Forbidden"),
            Refused::Form(_) => (400, "Bad Request"),
            Refused::Failed(_) => (503, "Service Unavailable"),
            Refused::NotRead(_) => (500, "Internal Server Error"),
        };
        let text = match &refused {
            Refused::NotPost => "purging needs POST\n".to_owned(),
            Refused::Off => "this server has no cache: set cache = true\n".to_owned(),
            Refused::Denied(denied) => format!("{denied}\n"),
            Refused::Form(error) => format!("{error}\n"),
            Refused::Failed(failure) => format!("{failure}\n"),
            Refused::NotRead(error) => format!("{error}\n"),
        };
        Self {
            allow: if status == 405 { "POST" } else { "" },
            ..Self::text(status, reason, &text)
        }
    }
}
