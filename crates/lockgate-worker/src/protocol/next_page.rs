//! Asking the application for the page with which a held response continues.

use std::fmt;
use std::sync::Arc;

use lockgate_http::Refusal;

use crate::connection::inbox::Returned;
use crate::connection::turn::Turn;
use crate::event_loop::context::Context;
use crate::exchange::origin::{NotMade, Subrequest};
use crate::exchange::stored_response::StoredResponse;
use crate::exchange::subscriber::Subscriber;
use crate::exchange::subscription::{Reaction, Subscription};
use crate::protocol::subrequest::{Asked, dispatch, next_number};

/// Why the application is not asked.
enum Problem {
    /// The link does not lead to this server.
    OtherServer(String),
    Invalid(String, Refusal),
    NoMemory,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherServer(uri) => write!(
                f,
                "Grip-Link: {uri:?} must be a path, or a URI of the same server"
            ),
            Self::Invalid(uri, refusal) => write!(f, "Grip-Link: {uri:?} is not valid: {refusal}"),
            Self::NoMemory => f.write_str("request bodies use all of body_memory_total"),
        }
    }
}

/// What a protocol has done of a reaction, and what is left.
pub(super) enum Performed {
    /// Nothing is left.
    Other,
    /// The application has to be asked for the next page.
    AskForPage,
    /// The response is complete: the subscription is over.
    End,
}

/// What the next page means. A page with an instruction that cannot be followed ends the response.
pub(super) fn read_page<'p>(
    subscription: &mut Subscription,
    number: u64,
    page: Option<&'p StoredResponse>,
    context: &Context,
    turn: &Turn,
) -> Reaction<'p> {
    subscription
        .on_page(number, page, turn.now)
        .unwrap_or_else(|problem| {
            let target = subscription
                .next_page()
                .map_or_else(String::new, |(_, origin)| {
                    String::from_utf8_lossy(origin.head().target()).into_owned()
                });
            context.report_bad_page(&target, &problem, turn.now);
            Reaction::End
        })
}

/// Dispatches the request for the next page. Its response comes back through the inbox.
pub(super) fn ask_for_page(
    subscription: &mut Subscription,
    subscriber: Subscriber,
    context: &Arc<Context>,
    turn: &mut Turn,
) {
    let number = next_number(turn);
    subscription.ask_for_page(number);
    let Some((uri, origin)) = subscription.next_page() else {
        return;
    };
    let last_ids = subscription.last_ids();
    let field = (&b"Grip-Last"[..], last_ids.as_bytes());
    let fields = [field];
    let made = origin
        .resolve(uri)
        .ok_or_else(|| Problem::OtherServer(uri.to_owned()))
        .and_then(|target| {
            let subrequest = Subrequest {
                method: b"GET",
                target: &target,
                fields: if last_ids.is_empty() { &[] } else { &fields },
                omits: |_| false,
                body: None,
            };
            let made = origin.request(subrequest, &context.limits, &context.bodies.pool);
            made.map_err(|problem| match problem {
                NotMade::Invalid(refusal) => Problem::Invalid(uri.to_owned(), refusal),
                NotMade::NoMemory => Problem::NoMemory,
            })
        });
    match made {
        Ok(request) => {
            let asked = Asked {
                subscriber,
                number,
                limit: context.config.push.message_limit,
            };
            dispatch(request, asked, context, turn);
        }
        Err(problem) => {
            let target = String::from_utf8_lossy(origin.head().target());
            context.report_bad_page(&target, &problem, turn.now);
            match problem {
                Problem::NoMemory => context
                    .inbox
                    .push(Returned::Answered(subscriber, number, None), false),
                // No later attempt could help.
                Problem::OtherServer(_) | Problem::Invalid(..) => {
                    subscription.give_up_pages(turn.now);
                }
            }
        }
    }
}
