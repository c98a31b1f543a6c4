//! Handlers: what may answer a request in the event loop, without a thread and without the interpreter, or change how
//! its response is written.

use super::Exchange;
use super::answer::Answer;
use super::prepared::Prepared;
use crate::exchange::request::Request;

/// Sees each complete request before it waits for a thread.
pub trait Handler: Send {
    /// Whether [`Handler::handle`] has to see this request. Asked of every request, so it has to be cheap.
    fn concerns(&self, request: &Request) -> bool;

    /// Answers the request or passes it on, perhaps with another writer. Runs in the event loop: it neither waits nor
    /// reads a file, except the answer to a challenge of ACME, which is small and rare.
    fn handle(&self, exchange: Exchange) -> Handled;
}

/// The result of a handler.
pub enum Handled {
    /// The next handler or the application answers.
    Pass(Exchange),
    /// The server answers.
    Answer(Exchange, Answer),
    /// The server answers, with a body that is not copied.
    Respond(Exchange, Prepared),
    /// The handler has the exchange. It answers it later through its writer, on any thread, or passes it on with
    /// [`Resume::resume`].
    Taken,
}

/// Passes exchanges that a handler has taken on to the handlers behind it, and to the application.
pub trait Resume: Send + Sync {
    /// Called on any thread, attached or not; does not wait.
    fn resume(&self, exchange: Exchange);
}
