//! Handlers: what the server itself answers in the event loop, without the interpreter.

mod acme_challenge;
mod basic_auth;
pub mod cache;
mod compress;
mod edits;
mod forward_auth;
mod grip;
mod https_redirect;
mod readiness;
mod refused;
mod server_options;
pub mod static_files;

use std::io;
use std::sync::Arc;

use lockgate_config::{Config, Endpoint};
use lockgate_observe::Scoreboard;
use lockgate_routes::Routes;
use lockgate_shm::Log;
use lockgate_shm::responses::ResponseStore;
use lockgate_tls::Acceptor;

use crate::app::App;
use crate::blocking_pool::BlockingPool;
use crate::exchange::handler::{Handler, Resume};
use crate::helper_thread::PanicGuard;
use crate::log::ErrorLog;
use crate::users::UserGuards;

/// What handlers are made of.
pub struct Parts<'a> {
    pub config: &'a Config,
    pub app: &'a Arc<dyn App>,
    pub endpoints: &'a [Endpoint],
    pub acceptor: Option<&'a Arc<Acceptor>>,
    /// Whether requests may be refused before they come here.
    pub has_admission: bool,
    /// What all workers and the supervisor share.
    pub scoreboard: Option<Scoreboard>,
    pub routes: &'a Arc<Routes>,
    /// The users of `basic_auth`.
    pub users: Option<&'a Arc<UserGuards>>,
    pub broadcast: Option<Log>,
    pub responses: Option<ResponseStore>,
    pub error_log: &'a Arc<ErrorLog>,
    /// For work that may wait for a disk.
    pub blocking: &'a BlockingPool,
    /// For work that computes for long.
    pub computing: &'a BlockingPool,
    /// Where a handler passes on requests that it has taken.
    pub resume: &'a Arc<dyn Resume>,
    /// For threads of handlers.
    pub panic_guard: &'a PanicGuard,
}

/// The handlers of a worker, in the order in which they see a request.
///
/// # Errors
/// The system's error when it cannot start a thread.
pub fn all(parts: &Parts<'_>) -> io::Result<Vec<Box<dyn Handler>>> {
    let config = parts.config;
    let mut handlers: Vec<Box<dyn Handler>> = vec![Box::new(server_options::ServerOptions)];
    if let Some(challenges) = acme_challenge::AcmeChallenges::new(config) {
        handlers.push(Box::new(challenges));
    }
    // Before redirects and refusals: a balancer has no credentials, and does not follow.
    if let Some(readiness) = readiness::Readiness::new(config, parts.scoreboard) {
        handlers.push(Box::new(readiness));
    }
    if let Some(redirect) = https_redirect::Redirect::new(config, parts.endpoints, parts.acceptor) {
        handlers.push(Box::new(redirect));
    }
    if parts.has_admission {
        handlers.push(Box::new(refused::Refused));
    }
    if let Some(guards) = parts.users {
        let auth = basic_auth::BasicAuth::new(guards, parts.computing, parts.resume);
        handlers.push(Box::new(auth));
    }
    let asking = forward_auth::ForwardAuth::new(
        parts.routes,
        parts.resume,
        parts.error_log,
        parts.panic_guard,
    );
    if let Some(asking) = asking {
        handlers.push(Box::new(asking));
    }
    if let Some(edits) = edits::Edits::new(parts.routes) {
        handlers.push(Box::new(edits));
    }
    // Responses pass through the writers in the other direction: what the cache stores is not encoded, and files are.
    if let Some(compression) = compress::Compression::new(config, parts.app, parts.computing) {
        handlers.push(Box::new(compression));
    }
    let files =
        static_files::StaticFiles::new(config, parts.blocking, parts.resume, parts.error_log);
    let sendfile = files.as_ref().and_then(static_files::StaticFiles::sendfile);
    if let Some(files) = files {
        handlers.push(Box::new(files));
    }
    if let Some(cache) = cache::Cache::new(parts)? {
        handlers.push(Box::new(cache));
    }
    // Behind the cache, which stores the file and not the instruction to send it.
    if let Some(sendfile) = sendfile {
        handlers.push(Box::new(sendfile));
    }
    // The last one: what the others answer is no response of the application.
    if let Some(grip) = grip::Grip::new(config, parts.broadcast, parts.error_log) {
        handlers.push(Box::new(grip));
    }
    Ok(handlers)
}
