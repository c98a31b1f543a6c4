//! Answers the requests that admission has refused, in the place of the other handlers and of the application.

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// See the module documentation.
pub struct Refused;

impl Handler for Refused {
    fn concerns(&self, request: &Request) -> bool {
        request.admitted.refusal.is_some()
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        match exchange.request.admitted.refusal.take() {
            Some(answer) => Handled::Answer(exchange, *answer),
            None => Handled::Pass(exchange),
        }
    }
}
