//! Admission: what the server decides about a request from its head, before it receives the body.
//!
//! Invariant: a request that is refused here reaches neither the application nor a handler that answers in its place.

mod addresses;
mod certificates;
mod credentials;
mod identity;
mod maintenance;
mod rate_limits;
mod routing;
#[cfg(test)]
mod samples;
mod stage;
mod strip;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;

pub use self::rate_limits::own_rates;
pub use self::routing::check_pages;
pub use self::stage::{Parts, Stage};
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::response_rules::ResponseRules;

/// The stages of a worker.
pub struct Admission {
    stages: Vec<Box<dyn Stage>>,
    /// Those of the server, for requests that are refused before their routes are known.
    response_rules: Option<Arc<ResponseRules>>,
}

impl Admission {
    /// `None`: there is nothing to decide, and requests pay nothing for it.
    ///
    /// # Errors
    /// A page of `error_pages` cannot be read.
    pub fn new(parts: &Parts<'_>) -> io::Result<Option<Arc<Self>>> {
        let response_rules = routing::response_rules(parts.routes)?;
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        // Before all others: none of them sees what the client has no right to say.
        if let Some(strip) = strip::Strip::new(parts.routes) {
            stages.push(Box::new(strip));
        }
        if let Some(ids) = parts.ids {
            let identify = identity::Identify::new(&parts.config.identity, ids);
            stages.push(Box::new(identify));
        }
        if let Some(maintenance) = maintenance::Maintenance::new(parts) {
            stages.push(Box::new(maintenance));
        }
        let server_rules = response_rules.first().cloned().flatten();
        if let Some(routing) = routing::Routing::new(parts.config, parts.routes, response_rules) {
            stages.push(Box::new(routing));
        }
        if let Some(addresses) = addresses::Addresses::new(parts.routes) {
            stages.push(Box::new(addresses));
        }
        if let Some(certificates) = certificates::Certificates::new(parts.routes) {
            stages.push(Box::new(certificates));
        }
        if let Some(limits) = rate_limits::RateLimits::new(parts) {
            stages.push(Box::new(limits));
        }
        if let Some(users) = &parts.users {
            stages.push(Box::new(credentials::CredentialsStage(Arc::clone(users))));
        }
        let is_empty = stages.is_empty();
        let admission = Self {
            stages,
            response_rules: server_rules,
        };
        Ok((!is_empty).then(|| Arc::new(admission)))
    }

    /// Gives a request that the server makes of an application at its start the route of a client's request. Some: it
    /// has none.
    pub(crate) fn place(config: &Config, request: &mut Request) -> Option<Answer> {
        routing::place(config, request)
    }

    /// What changes responses to requests without a route, such as malformed ones.
    pub fn server_rules(&self) -> Option<Arc<ResponseRules>> {
        self.response_rules.clone()
    }

    /// Called once for each request when its head is complete.
    pub fn admit(&self, request: &mut Request, now: Instant) {
        request
            .admitted
            .response_rules
            .clone_from(&self.response_rules);
        for stage in &self.stages {
            if let Some(answer) = stage.examine(request, now) {
                request.admitted.refusal = Some(Box::new(answer));
                return;
            }
        }
    }
}
