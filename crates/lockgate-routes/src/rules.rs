//! The rules that hold for a route, with those that it inherits.

use std::path::PathBuf;
use std::time::Duration;

use lockgate_config::{
    AddressRule, BasicAuth, CertificateRule, FieldEdit, ForwardAuthConfig, Priority, RouteConfig,
    RouteRules, ThreadShare,
};

/// See the module documentation. `None`: there is no such rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EffectiveRules {
    /// The application, numbered as in `RoutesConfig::mounts`; 0 is that of the server.
    pub mount: u16,
    /// The path of its mount; empty: the root.
    pub mount_path: String,
    /// Who may come, by address.
    pub addresses: Option<AddressRule>,
    /// Names and passwords.
    pub basic_auth: Option<BasicAuth>,
    /// The service that is asked.
    pub forward_auth: Option<ForwardAuthConfig>,
    /// Which client certificates.
    pub client_certificate: Option<CertificateRule>,
    /// Edits of requests, the outermost route's first.
    pub request_headers: Vec<FieldEdit>,
    /// Edits of responses, the outermost route's first.
    pub response_headers: Vec<FieldEdit>,
    /// Pages by status; each status once.
    pub error_pages: Vec<(u16, PathBuf)>,
    /// Largest body; 0: unlimited; `None`: the server's limit.
    pub max_body: Option<u64>,
    /// `None`: as the server's.
    pub request_timeout: Option<Option<Duration>>,
    /// `None`: as the server's.
    pub queue_timeout: Option<Option<Duration>>,
    /// Bulkheads that the request is in, the outermost first: indexes into [`Routes::bulkheads`](crate::Routes::bulkheads).
    pub bulkheads: Vec<u16>,
    /// In which order it is taken.
    pub priority: Priority,
}

/// A bulkhead: the part of a worker's threads that the requests of a route may have.
pub(crate) type Bulkhead = (String, ThreadShare);

impl EffectiveRules {
    /// Those of the server itself.
    pub(crate) fn of_server(rules: &RouteRules, bulkheads: &mut Vec<Bulkhead>) -> Self {
        let mut effective = Self::default();
        effective.add(rules);
        effective.bulkheads = bulkhead(rules, "", bulkheads).into_iter().collect();
        effective
    }

    /// Adds those of a route inside of what was added before.
    pub(crate) fn enter(&mut self, route: &RouteConfig, mount: Option<u16>, bulkhead: Option<u16>) {
        if let Some(mount) = mount {
            self.mount = mount;
            self.mount_path.clone_from(&route.path);
        }
        self.add(&route.rules);
        self.bulkheads.extend(bulkhead);
    }

    fn add(&mut self, rules: &RouteRules) {
        fn set<T: Clone>(to: &mut Option<T>, from: &Option<Option<T>>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        set(&mut self.basic_auth, &rules.basic_auth);
        set(&mut self.forward_auth, &rules.forward_auth);
        set(&mut self.client_certificate, &rules.client_certificate);
        self.addresses = rules.addresses.clone().or(self.addresses.take());
        self.request_headers
            .extend_from_slice(&rules.request_headers);
        self.response_headers
            .extend_from_slice(&rules.response_headers);
        for (status, path) in &rules.error_pages {
            self.error_pages.retain(|(other, _)| other != status);
            self.error_pages.push((*status, path.clone()));
        }
        self.max_body = rules.max_body.or(self.max_body);
        self.request_timeout = rules.request_timeout.or(self.request_timeout);
        self.queue_timeout = rules.queue_timeout.or(self.queue_timeout);
        self.priority = rules.priority.unwrap_or(self.priority);
    }
}

/// Registers the bulkhead of a route, if it has one.
pub(crate) fn bulkhead(
    rules: &RouteRules,
    name: &str,
    bulkheads: &mut Vec<Bulkhead>,
) -> Option<u16> {
    let share = rules.threads?;
    let index = u16::try_from(bulkheads.len()).ok()?;
    bulkheads.push((name.to_owned(), share));
    Some(index)
}
