//! Names and passwords (`basic_auth`): a request without credentials is refused before its body is received. A user who
//! was verified lately is known here; for others `handlers/basic_auth` has the hash computed.

use std::sync::Arc;
use std::time::Instant;

use super::stage::Stage;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::users::{Look, UserGuards, reason_of};

/// See the module documentation.
pub(super) struct CredentialsStage(pub(super) Arc<UserGuards>);

impl Stage for CredentialsStage {
    fn examine(&self, request: &mut Request, now: Instant) -> Option<Answer> {
        let guard = self.0.of(request)?;
        match guard.look(request, now) {
            Look::Verified(user) => request.admitted.user = Some(user),
            Look::Unverified(_) => {}
            Look::Nothing(why) => return Some(guard.unauthorized(reason_of(why))),
        }
        None
    }
}
