//! Who may come, by address (`allow`, `deny`).

use std::sync::Arc;
use std::time::Instant;

use lockgate_config::AddressRule;
use lockgate_http::LocalResponse;
use lockgate_routes::Routes;

use super::stage::Stage;
use crate::client::Client;
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;

/// See the module documentation.
pub(super) struct Addresses(Arc<Routes>);

impl Addresses {
    /// `None`: every address may come everywhere.
    pub(super) fn new(routes: &Arc<Routes>) -> Option<Self> {
        let has_any = (routes.all().iter()).any(|rules| rules.addresses.is_some());
        has_any.then(|| Self(Arc::clone(routes)))
    }
}

impl Stage for Addresses {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        let rule = self.0.rules(request.admitted.access).addresses.as_ref()?;
        if admits(rule, &request.client) {
            return None;
        }
        let response = LocalResponse::text(403, "");
        Some(Answer::refused(response, "address_denied"))
    }
}

/// A client without an address, behind a proxy on a unix socket that does not name its clients, is in no network: a
/// list of those that are allowed does not have it.
fn admits(rule: &AddressRule, client: &Client) -> bool {
    let address = client.address();
    let is_denied = address.is_some_and(|address| rule.deny.contains(address));
    let allow = rule.allow.as_ref();
    let is_allowed =
        allow.is_none_or(|allow| address.is_some_and(|address| allow.contains(address)));
    is_allowed && !is_denied
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::Networks;

    #[test]
    fn an_address_is_denied_by_either_list() {
        let networks = |text: &str| Networks::parse(text).unwrap();
        let rule = |allow: Option<&str>, deny: &str| AddressRule {
            allow: allow.map(&networks),
            deny: networks(deny),
        };
        let inner = || rule(Some("10.0.0.0/8, fd00::/8"), "10.1.0.0/16");
        for (rule, client, expected) in [
            (inner(), "10.0.0.1", true),
            (inner(), "10.1.0.1", false),
            (inner(), "11.0.0.1", false),
            (inner(), "fd00::1", true),
            (inner(), "fe80::1", false),
            (inner(), "::ffff:10.0.0.1", true),
            (inner(), "", false),
            (rule(Some("*"), ""), "192.0.2.1", true),
            (rule(None, "192.0.2.0/24"), "192.0.2.1", false),
            (rule(None, "192.0.2.0/24"), "192.0.3.1", true),
            (rule(None, "192.0.2.0/24"), "", true),
        ] {
            assert_eq!(
                admits(&rule, &Client::new(client, "1")),
                expected,
                "{client}"
            );
        }
    }
}
