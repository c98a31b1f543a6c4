//! One decision of admission, and what stages are made of.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_observe::Scoreboard;
use lockgate_routes::Routes;

use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::request_id::IdGenerator;

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
}
