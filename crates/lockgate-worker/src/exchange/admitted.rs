//! What was decided about a request from its head: its route, its application, its user, and whether it is refused.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use lockgate_routes::RouteId;

use super::answer::Answer;
use super::place::Place;
use super::request_id::RequestId;
use super::response_rules::ResponseRules;
use super::trace::Trace;

/// See the module documentation. Reset with its request, which costs nothing where nothing was decided.
#[derive(Default)]
pub struct Admitted {
    decisions: Decisions,
    /// They may differ from those of a new request: set by each access that could change them.
    is_changed: bool,
}

impl Deref for Admitted {
    type Target = Decisions;

    #[inline]
    fn deref(&self) -> &Decisions {
        &self.decisions
    }
}

impl DerefMut for Admitted {
    #[inline]
    fn deref_mut(&mut self) -> &mut Decisions {
        self.is_changed = true;
        &mut self.decisions
    }
}

/// The decisions.
#[derive(Default)]
pub struct Decisions {
    /// Whether the peer is a proxy that is trusted to identify the request.
    pub(crate) is_peer_trusted: bool,
    /// Its id, if requests have one.
    pub(crate) request_id: Option<RequestId>,
    /// Its place in a trace, if requests are traced.
    pub(crate) trace: Option<Trace>,
    /// How long a trusted proxy had the request before it came here, if it says so.
    pub(crate) waited_before: Option<Duration>,
    /// The route; 0 is that of the server.
    pub(crate) route: RouteId,
    /// The route whose rules say who may come, in whichever way the application reads the path.
    pub(crate) access: RouteId,
    /// The application; 0 is that of the server, the others are numbered as in `RoutesConfig::mounts`.
    pub(crate) mount: u16,
    /// The server answers with this, and no handler sees the request.
    pub(crate) refusal: Option<Box<Answer>>,
    /// Who has authenticated with the server: REMOTE_USER.
    pub(crate) user: Option<Box<str>>,
    /// Another service has let it pass (`forward_auth`): its response is for one user.
    pub(crate) is_vouched_for: bool,
    /// What changes its response.
    pub(crate) response_rules: Option<Arc<ResponseRules>>,
    /// Its places in bulkheads, from the queue for threads to the end of the call.
    pub(crate) place: Option<Place>,
    /// Released when the request has ended: places under a limit of concurrency.
    pub(crate) held: Vec<Box<dyn Any + Send>>,
}

impl Admitted {
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.is_changed {
            self.reset();
        }
    }

    #[cold]
    fn reset(&mut self) {
        // Its memory is used again.
        let mut held = std::mem::take(&mut self.decisions.held);
        held.clear();
        *self = Self {
            decisions: Decisions {
                held,
                ..Decisions::default()
            },
            is_changed: false,
        };
    }

    /// For a request that the server makes of the same application.
    pub(crate) fn for_subrequest(&self) -> Self {
        Self {
            decisions: Decisions {
                request_id: self.request_id.clone(),
                route: self.route,
                access: self.access,
                mount: self.mount,
                user: self.user.clone(),
                is_vouched_for: self.is_vouched_for,
                ..Decisions::default()
            },
            is_changed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_decided_is_gone_after_a_reset() {
        let decide = |admitted: &mut Admitted| {
            admitted.user = Some("ann".into());
            admitted.route = 3;
            admitted.held.push(Box::new(1));
        };
        let mut admitted = Admitted::default();
        decide(&mut admitted);
        let mut copy = admitted.for_subrequest();
        assert_eq!((copy.route, copy.user.as_deref()), (3, Some("ann")));
        for one in [&mut admitted, &mut copy] {
            one.clear();
            assert!(one.user.is_none() && one.route == 0 && one.held.is_empty());
        }
    }
}
