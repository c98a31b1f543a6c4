//! One request and its response, for any protocol: what waits for a thread, and what a handler may answer.

pub(crate) mod admitted;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod client_identity;
pub(crate) mod collector;
pub(crate) mod deadlines;
pub(crate) mod delivery;
pub(crate) mod dropped;
pub(crate) mod handler;
pub(crate) mod origin;
pub(crate) mod place;
pub(crate) mod prepared;
pub(crate) mod publication;
pub(crate) mod queue;
pub(crate) mod refusals;
pub mod request;
pub(crate) mod request_id;
pub mod response;
pub(crate) mod response_rules;
pub(crate) mod route_limits;
pub(crate) mod stored_response;
pub(crate) mod subscribed_channels;
pub(crate) mod subscriber;
pub(crate) mod subscription;
pub(crate) mod trace;
pub(crate) mod websocket_session;
pub mod writer;

use std::time::{Duration, Instant};

use lockgate_config::Priority;

use self::writer::{PresenceCheck, ResponseWriter};
use crate::exchange::request::Request;

/// A request that has waited this long is called only after a check of its client's socket. Few clients leave sooner,
/// and the check is a system call.
const CHECK_AFTER: Duration = Duration::from_millis(5);

/// A request that is ready to run, and the writer of its response. One per request, or per stream of a multiplexed
/// connection.
pub struct Exchange {
    pub(crate) request: Box<Request>,
    pub(crate) writer: Box<dyn ResponseWriter>,
    /// When the request was complete, as far as the event loop can know.
    pub(crate) ready_at: Instant,
    /// Since when it waits for a thread: a handler may have had it before.
    pub(crate) queued_at: Instant,
    /// The same moment on the clock of the scoreboard.
    pub(crate) ready_nanos: u64,
    /// It waited in the backlog, because no thread was free.
    pub(crate) was_in_backlog: bool,
    /// It has waited for the response to another request (RFC 9211 §2.5).
    pub(crate) is_collapsed: bool,
    /// The index of the handler that sees it next.
    pub(crate) next_handler: u8,
    /// In which order it is taken.
    pub(crate) priority: Priority,
}

impl Exchange {
    /// A complete request.
    pub(crate) fn new(
        request: Box<Request>,
        writer: Box<dyn ResponseWriter>,
        ready_at: Instant,
        ready_nanos: u64,
    ) -> Self {
        Self {
            request,
            writer,
            ready_at,
            queued_at: ready_at,
            ready_nanos,
            was_in_backlog: false,
            is_collapsed: false,
            next_handler: 0,
            priority: Priority::Normal,
        }
    }

    /// How to check before the call whether the client is still connected, if at all.
    pub(crate) fn presence_check(&self, waited: Duration) -> Option<PresenceCheck> {
        if waited >= CHECK_AFTER {
            Some(PresenceCheck::Socket)
        } else if self.was_in_backlog {
            Some(PresenceCheck::Events)
        } else {
            None
        }
    }
}
