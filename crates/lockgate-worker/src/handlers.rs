//! Handlers: what the server itself answers in the event loop, without the interpreter.

mod acme_challenge;
mod grip;
mod https_redirect;
mod server_options;

use std::sync::Arc;

use lockgate_config::{Config, Endpoint};
use lockgate_shm::Log;
use lockgate_tls::Acceptor;

use crate::exchange::handler::Handler;
use crate::log::ErrorLog;

/// The handlers of a worker with these listeners, in the order in which they see a request.
pub fn all(
    config: &Config,
    endpoints: &[Endpoint],
    acceptor: Option<&Arc<Acceptor>>,
    broadcast: Option<Log>,
    error_log: &Arc<ErrorLog>,
) -> Vec<Box<dyn Handler>> {
    let mut handlers: Vec<Box<dyn Handler>> = vec![Box::new(server_options::ServerOptions)];
    if let Some(challenges) = acme_challenge::AcmeChallenges::new(config) {
        handlers.push(Box::new(challenges));
    }
    if let Some(redirect) = https_redirect::Redirect::new(config, endpoints, acceptor) {
        handlers.push(Box::new(redirect));
    }
    // The last one: what the others answer is no response of the application.
    if let Some(grip) = grip::Grip::new(config, broadcast, error_log) {
        handlers.push(Box::new(grip));
    }
    handlers
}
