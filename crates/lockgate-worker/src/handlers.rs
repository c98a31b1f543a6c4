//! Handlers: what the server itself answers in the event loop, without the interpreter.

mod server_options;

use crate::exchange::handler::Handler;

/// The handlers of a worker, in the order in which they see a request.
pub fn all() -> Vec<Box<dyn Handler>> {
    vec![Box::new(server_options::ServerOptions)]
}
