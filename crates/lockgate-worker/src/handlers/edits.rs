//! Edits of the fields of requests (`request_headers`), for what answers them: static files, the cache, the application.
//!
//! They come behind what decides about a request by its fields: an operator may remove a password that was checked.

use std::sync::Arc;

use lockgate_config::FieldEdit;
use lockgate_routes::Routes;

use crate::exchange::Exchange;
use crate::exchange::handler::{Handled, Handler};
use crate::exchange::request::Request;

/// See the module documentation.
pub struct Edits(Arc<Routes>);

impl Edits {
    /// `None`: no route has any.
    pub fn new(routes: &Arc<Routes>) -> Option<Self> {
        let has_any = (routes.all().iter()).any(|rules| !rules.request_headers.is_empty());
        has_any.then(|| Self(Arc::clone(routes)))
    }

    fn of(&self, request: &Request) -> &[FieldEdit] {
        &self.0.rules(request.admitted.route).request_headers
    }
}

impl Handler for Edits {
    fn concerns(&self, request: &Request) -> bool {
        !self.of(request).is_empty()
    }

    fn handle(&self, mut exchange: Exchange) -> Handled {
        for edit in self.of(&exchange.request) {
            let name = edit.name.as_bytes();
            let head = &mut exchange.request.head;
            match &edit.value {
                Some(value) => head.set_field(name, value.as_bytes()),
                None => head.remove_fields(|other| other.eq_ignore_ascii_case(name)),
            }
        }
        Handled::Pass(exchange)
    }
}
