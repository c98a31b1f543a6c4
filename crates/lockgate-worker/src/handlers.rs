//! Handlers: what the server itself answers in the event loop, without the interpreter.

mod acme_challenge;
mod https_redirect;
mod server_options;

use std::sync::Arc;

use lockgate_config::{Config, Endpoint};
use lockgate_tls::Acceptor;

use crate::exchange::handler::Handler;

/// The handlers of a worker with these listeners, in the order in which they see a request.
pub fn all(
    config: &Config,
    endpoints: &[Endpoint],
    acceptor: Option<&Arc<Acceptor>>,
) -> Vec<Box<dyn Handler>> {
    let mut handlers: Vec<Box<dyn Handler>> = vec![Box::new(server_options::ServerOptions)];
    if let Some(challenges) = acme_challenge::AcmeChallenges::new(config) {
        handlers.push(Box::new(challenges));
    }
    if let Some(redirect) = https_redirect::Redirect::new(config, endpoints, acceptor) {
        handlers.push(Box::new(redirect));
    }
    handlers
}
