//! Requests that the server makes of the application: their responses come back through the inbox.

use std::sync::Arc;

use crate::connection::inbox::Returned;
use crate::connection::turn::Turn;
use crate::event_loop::context::Context;
use crate::exchange::Exchange;
use crate::exchange::collector::Collector;
use crate::exchange::request::Request;
use crate::exchange::subscriber::Subscriber;

/// Whom the response is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) subscriber: Subscriber,
    pub(super) number: u64,
    /// Bytes of the longest body.
    pub(super) limit: usize,
}

/// A number for the next request, which its response has, too.
pub(super) fn next_number(turn: &mut Turn) -> u64 {
    turn.subrequests += 1;
    turn.subrequests
}

/// Dispatches a request for a subscriber.
pub(super) fn dispatch(
    request: Box<Request>,
    asked: Asked,
    context: &Arc<Context>,
    turn: &mut Turn,
) {
    let inbox = Arc::clone(&context.inbox);
    let Asked {
        subscriber,
        number,
        limit,
    } = asked;
    let report = move |response| inbox.push(Returned::Answered(subscriber, number, response), true);
    let writer = Box::new(Collector::new(limit, Box::new(report)));
    let nanos = context.metrics.nanos(turn.now);
    turn.dispatch(Exchange::new(request, writer, turn.now, nanos));
}
