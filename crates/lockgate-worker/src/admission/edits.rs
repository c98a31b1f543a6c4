//! Edits of the fields of requests (`request_headers`).

use std::sync::Arc;
use std::time::Instant;

use lockgate_routes::Routes;

use super::stage::Stage;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// See the module documentation.
pub(super) struct Edits(Arc<Routes>);

impl Edits {
    /// `None`: no route has any.
    pub(super) fn new(routes: &Arc<Routes>) -> Option<Self> {
        let has_any = (routes.all().iter()).any(|rules| !rules.request_headers.is_empty());
        has_any.then(|| Self(Arc::clone(routes)))
    }
}

impl Stage for Edits {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        for edit in &self.0.rules(request.admitted.route).request_headers {
            let name = edit.name.as_bytes();
            match &edit.value {
                Some(value) => request.head.set_field(name, value.as_bytes()),
                None => (request.head).remove_fields(|other| other.eq_ignore_ascii_case(name)),
            }
        }
        None
    }
}
