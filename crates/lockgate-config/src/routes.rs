//! Routes: what holds for requests by host and path, and which application answers them.
//!
//! A rule that a route does not set is inherited from the route around it, as in nginx's locations: the nearest one
//! that sets a rule counts. The outermost route is the server itself.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::{BasicAuth, CertificateRule, ForwardAuthConfig};
use crate::{AppSpec, Networks, RateLimitConfig};

/// Everything that is configured by host and path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoutesConfig {
    /// What holds for all requests.
    pub server: RouteRules,
    /// `[[route]]` and `[[mount]]`, in the operator's order; no pair of host and path twice.
    pub routes: Vec<RouteConfig>,
    /// `[[redirect]]`; the first one that matches counts.
    pub redirects: Vec<RedirectConfig>,
    /// `[[rewrite]]`; the first one that matches counts.
    pub rewrites: Vec<RewriteConfig>,
    /// `rate_limit`; each one that matches counts.
    pub rate_limits: Vec<RateLimitConfig>,
    /// Maintenance.
    pub maintenance: MaintenanceConfig,
}

/// One `[[route]]`, or one `[[mount]]`, which has an application.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// Which hosts.
    pub host: HostPattern,
    /// The decoded path, without a slash at the end: `/admin` is for `/admin` and `/admin/…`; empty: every path.
    pub path: String,
    /// The application, of a `[[mount]]`.
    pub mount: Option<MountedApp>,
    /// What holds there.
    pub rules: RouteRules,
}

/// Hosts by name, without a port, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    #[default]
    Any,
    /// `*.shop.example`: the names below `shop.example`, which is what this has.
    Below(String),
    /// Exactly this host.
    Exact(String),
}

/// The application of a mount.
#[derive(Debug, Clone, PartialEq)]
pub struct MountedApp {
    /// The application; all of them run in one interpreter.
    pub app: AppSpec,
    /// The working directory while it is imported; also first in `sys.path` then.
    pub chdir: Option<PathBuf>,
    /// Values of the WSGI environ of its requests, and variables of the process while it is imported.
    pub env: Vec<(String, String)>,
    /// Whether it is called through the middleware of `session`, if that is set.
    pub has_session: bool,
}

impl MountedApp {
    /// An application without a directory and variables of its own.
    pub fn new(app: AppSpec) -> Self {
        Self {
            app,
            chdir: None,
            env: Vec::new(),
            has_session: true,
        }
    }
}

/// The rules of a route. `None` and empty lists: as in the route around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteRules {
    /// Who may come, by address.
    pub addresses: Option<AddressRule>,
    /// Names and passwords; `Some(None)`: none are asked for.
    pub basic_auth: Option<Option<BasicAuth>>,
    /// Another service decides; `Some(None)`: none is asked.
    pub forward_auth: Option<Option<ForwardAuthConfig>>,
    /// Which client certificates; `Some(None)`: none is needed.
    pub client_certificate: Option<Option<CertificateRule>>,
    /// Edits of the fields of requests, in order, after those of the routes around it.
    pub request_headers: Vec<FieldEdit>,
    /// Edits of the fields of responses, in order, after those of the routes around it.
    pub response_headers: Vec<FieldEdit>,
    /// Bodies of the server's own error responses, by status; files of at most 1 MiB.
    pub error_pages: Vec<(u16, PathBuf)>,
    /// Largest body of a request in bytes; 0: unlimited.
    pub max_body: Option<u64>,
    /// In place of the server's `request_timeout`; `Some(None)`: no limit.
    pub request_timeout: Option<Option<Duration>>,
    /// In place of the server's `queue_timeout`; `Some(None)`: no limit.
    pub queue_timeout: Option<Option<Duration>>,
    /// How many threads of a worker its requests may have at the same time; each route that sets it is a bulkhead of
    /// its own, with those inside it.
    pub threads: Option<ThreadShare>,
    /// In which order requests that wait are taken.
    pub priority: Option<Priority>,
}

/// `allow` and `deny`: an address is denied if `deny` has it, or if `allow` is there and does not have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressRule {
    /// Only these; `None`: all.
    pub allow: Option<Networks>,
    /// But not these.
    pub deny: Networks,
}

/// One edit of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldEdit {
    /// A valid name.
    pub name: String,
    /// The only value of the field from then on; `None`: the field is removed.
    pub value: Option<String>,
}

/// A part of a worker's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadShare {
    /// As many.
    Count(NonZeroU16),
    /// Hundredths of a per cent of `threads`, rounded up.
    Share(u32),
}

/// In which order requests that wait are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// After all others.
    Low,
    /// The usual one.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// One `[[redirect]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectConfig {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths; `None`: every path.
    pub path: Option<PathPattern>,
    /// Where to: an absolute URL, or a path.
    pub to: Target,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// One `[[rewrite]]`: the server takes the request as one for another path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteConfig {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// The path, perhaps with a query.
    pub to: Target,
}

/// A decoded path, or all that begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `/old`: this path, and no other.
    Exact(String),
    /// `/old/*`: the paths that begin with `/old/`, which is what this has.
    Below(String),
}

/// What a redirect or a rewrite leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it is written in a URL, up to the `*`, which stands for the rest of the path. Of a redirect without a path
    /// pattern to a URL without a path: the origin, behind which the whole path follows.
    pub start: String,
    /// What follows the rest of the path; `None`: there is no `*`.
    pub end: Option<String>,
}

/// Maintenance: 503 for all requests but those of a few addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceConfig {
    /// Whether the server begins in maintenance (`ctl maintenance on` begins it later).
    pub is_on: bool,
    /// These addresses are served meanwhile.
    pub allow: Networks,
    /// These paths, as of a route, are served meanwhile.
    pub paths: Vec<String>,
    /// Retry-After.
    pub retry_after: Duration,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(host) => write!(f, "*.{host}"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

impl fmt::Display for RouteConfig {
    /// Host and path, as in `admin.example/reports`, or the path alone if the route has every host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != HostPattern::Any {
            write!(f, "{}", self.host)?;
        }
        f.write_str(if self.path.is_empty() {
            "/"
        } else {
            &self.path
        })
    }
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            is_on: false,
            allow: Networks::default(),
            paths: Vec::new(),
            retry_after: Duration::from_secs(300),
        }
    }
}

impl RoutesConfig {
    /// Whether anything is configured by host and path.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The mounted applications in order. The application of the server is number 0, and these are number 1 and on.
    pub fn mounts(&self) -> impl Iterator<Item = (&RouteConfig, &MountedApp)> {
        self.routes
            .iter()
            .filter_map(|route| Some((route, route.mount.as_ref()?)))
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let mounts = self.routes.iter_mut();
        let (chdirs, rules): (Vec<_>, Vec<_>) = mounts
            .map(|route| {
                let chdir = route.mount.as_mut().and_then(|mount| mount.chdir.as_mut());
                (chdir, &mut route.rules)
            })
            .unzip();
        let rules = rules.into_iter().chain([&mut self.server]);
        let files = rules.flat_map(|rules| {
            let users = match &mut rules.basic_auth {
                Some(Some(auth)) => Some(&mut auth.users),
                _ => None,
            };
            let pages = rules.error_pages.iter_mut().map(|(_, path)| path);
            users.into_iter().chain(pages)
        });
        chdirs.into_iter().flatten().chain(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_shown_by_its_host_and_its_path() {
        let below = HostPattern::Below("shop.example".to_owned());
        let exact = HostPattern::Exact("shop.example".to_owned());
        for (host, path, expected) in [
            (HostPattern::Any, "", "/"),
            (HostPattern::Any, "/admin", "/admin"),
            (below, "/admin", "*.shop.example/admin"),
            (exact, "", "shop.example/"),
        ] {
            let route = RouteConfig {
                host,
                path: path.to_owned(),
                mount: None,
                rules: RouteRules::default(),
            };
            assert_eq!(route.to_string(), expected);
        }
    }
}
