//! One decision of admission, and what stages are made of.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_http::RequestHead;
use lockgate_observe::Scoreboard;
use lockgate_routes::{PathKey, Routes};
use lockgate_shm::Rates;

use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::request_id::IdGenerator;
use crate::log::ErrorLog;
use crate::users::UserGuards;

/// One decision. The event loop asks the stages in their order; the first answer counts.
pub trait Stage: Send + Sync {
    /// Examines the head of a request, whose client is identified, and may change it. Neither waits nor reads a file.
    /// `Some`: the server answers with this.
    fn examine(&self, request: &mut Request, now: Instant) -> Option<Answer>;
}

/// What stages are made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub routes: &'a Arc<Routes>,
    /// Makes the ids of requests and spans, if there are any.
    pub ids: Option<&'a Arc<IdGenerator>>,
    /// Memory that all processes of the server share, if there are any.
    pub scoreboard: Option<Scoreboard>,
    /// What the rate limits of all workers count.
    pub rates: Option<Rates>,
    /// The number of this worker.
    pub slot: usize,
    pub error_log: &'a Arc<ErrorLog>,
    /// The users of `basic_auth`.
    pub users: Option<Arc<UserGuards>>,
}

/// The path of a request as routes compare it: below the prefix of a proxy or `root_path`, which is written as in a URL.
#[inline]
pub fn route_path<'h>(head: &'h RequestHead, root_path: &[u8]) -> PathKey<'h> {
    let prefix = match head.script_name() {
        [] => root_path,
        forwarded => forwarded,
    };
    match prefix {
        [] => PathKey::of(head.path()),
        prefix => PathKey::below(head.path(), prefix),
    }
}
