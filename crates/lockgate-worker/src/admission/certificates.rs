//! Client certificates (`client_certificate`): a request needs one that was verified, perhaps of certain names or groups.

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::CertificateRule;
use lockgate_http::LocalResponse;
use lockgate_routes::Routes;
use lockgate_tls::PeerCertificate;

use super::stage::Stage;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// See the module documentation.
pub(super) struct Certificates(Arc<Routes>);

impl Certificates {
    /// `None`: no route needs a certificate.
    pub(super) fn new(routes: &Arc<Routes>) -> Option<Self> {
        let has_any = (routes.all().iter()).any(|rules| rules.client_certificate.is_some());
        has_any.then(|| Self(Arc::clone(routes)))
    }
}

impl Stage for Certificates {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        let rules = self.0.rules(request.admitted.access);
        let rule = rules.client_certificate.as_ref()?;
        let peer = request.tls().and_then(|tls| tls.peer());
        let reason = match peer {
            None => "no_client_certificate",
            Some(peer) if !admits(rule, peer) => "client_certificate_denied",
            Some(_) => return None,
        };
        Some(Answer::refused(LocalResponse::text(403, ""), reason))
    }
}

/// Names are compared as they are: authorities differ in what they fold.
fn admits(rule: &CertificateRule, peer: &PeerCertificate) -> bool {
    let has_name = rule.names.is_empty()
        || peer
            .common_name()
            .is_some_and(|name| rule.names.iter().any(|own| own == name));
    let has_group = rule.groups.is_empty()
        || peer
            .organizational_units()
            .any(|unit| rule.groups.iter().any(|own| own == unit));
    has_name && has_group
}
