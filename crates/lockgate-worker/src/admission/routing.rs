//! Routing: redirects, rewrites, and which rules and which application are those of a request.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use lockgate_config::Config;
use lockgate_http::LocalResponse;
use lockgate_routes::{
    AmbiguousPath, EffectiveRules, HostName, PathKey, Redirects, Rewrites, Routes,
};

use super::stage::{Stage, route_path};
use crate::exchange::answer::Answer;
use crate::exchange::request::Request;
use crate::exchange::response_rules::{ErrorPage, ResponseRules};

/// See the module documentation.
pub(super) struct Routing {
    redirects: Redirects,
    rewrites: Rewrites,
    routes: Arc<Routes>,
    response_rules: Vec<Option<Arc<ResponseRules>>>,
    needs_host: bool,
    /// `root_path`, as it is written in a URL.
    root_path: Vec<u8>,
}

impl Routing {
    /// `None`: every request has the rules of the server.
    pub(super) fn new(
        config: &Config,
        routes: &Arc<Routes>,
        response_rules: Vec<Option<Arc<ResponseRules>>>,
    ) -> Option<Self> {
        let (redirects, rewrites) = (&config.routes.redirects, &config.routes.rewrites);
        let routing = Self {
            redirects: Redirects::new(redirects),
            rewrites: Rewrites::new(rewrites),
            routes: Arc::clone(routes),
            needs_host: routes.needs_host() || !redirects.is_empty() || !rewrites.is_empty(),
            response_rules,
            root_path: config.root_path.clone().into_bytes(),
        };
        let has_work = routes.all().len() > 1
            || !(routing.redirects.is_empty() && routing.rewrites.is_empty())
            || (routing.response_rules.iter()).any(Option::is_some);
        has_work.then_some(routing)
    }
}

impl Stage for Routing {
    fn examine(&self, request: &mut Request, _now: Instant) -> Option<Answer> {
        let head = &mut request.head;
        if head.is_server_wide_options() {
            return None;
        }
        let name;
        let host = if self.needs_host {
            name = HostName::of(head.host());
            &name
        } else {
            HostName::NONE
        };
        let path = PathKey::of(head.path());
        if let Some((status, location)) = self.redirects.find(host, &path, head.query()) {
            let response = LocalResponse::new(status).with_header("Location", location);
            return Some(response.into());
        }
        self.place(host, request)
    }
}

impl Routing {
    /// Rewrites a request and finds its route.
    fn place(&self, host: &HostName, request: &mut Request) -> Option<Answer> {
        let head = &mut request.head;
        if !self.rewrites.is_empty()
            && let path = PathKey::of(head.path())
            && let Some(rewrite) = self.rewrites.find(host, &path, head.query())
        {
            head.rewrite(
                rewrite.path.as_bytes(),
                rewrite.query.as_deref().map(str::as_bytes),
            );
        }
        let path = route_path(head, &self.root_path);
        let found = match self.routes.find(host, &path) {
            Ok(found) => found,
            Err(AmbiguousPath::LeavesMount) => {
                let detail = "the path leads out of the mounted application";
                let response = LocalResponse::text(400, detail);
                return Some(Answer::refused(response, "path_leaves_mount"));
            }
            Err(AmbiguousPath::Access) => {
                let detail = "the path has the rules of two routes, depending on how it is read";
                let response = LocalResponse::text(400, detail);
                return Some(Answer::refused(response, "path_ambiguous"));
            }
        };
        let admitted = &mut request.admitted;
        (admitted.route, admitted.access) = (found.route, found.access);
        admitted.mount = self.routes.rules(found.route).mount;
        if let Some(rules) = self.response_rules.get(found.route as usize) {
            admitted.response_rules.clone_from(rules);
        }
        None
    }
}

/// Rewrites and routes a request that the server makes of an application itself. `Some`: it has no route.
pub(super) fn place(config: &Config, request: &mut Request) -> Option<Answer> {
    let routes = Arc::new(Routes::new(&config.routes));
    let host = HostName::of(request.head.host());
    Routing::new(config, &routes, Vec::new())?.place(&host, request)
}

/// What each route does to responses, by its id.
///
/// # Errors
/// A page cannot be read, or is too large.
pub(super) fn response_rules(routes: &Routes) -> io::Result<Vec<Option<Arc<ResponseRules>>>> {
    routes.all().iter().map(response_rules_of).collect()
}

/// Reads the error pages of a route.
///
/// # Errors
/// A page cannot be read, or is too large.
pub fn check_pages(rules: &EffectiveRules) -> io::Result<()> {
    response_rules_of(rules).map(drop)
}

/// Larger pages would be copied into each response of an overload.
const LARGEST_PAGE: u64 = 1 << 20;

fn response_rules_of(rules: &EffectiveRules) -> io::Result<Option<Arc<ResponseRules>>> {
    let mut found = ResponseRules::default();
    for edit in &rules.response_headers {
        let value = edit.value.as_deref().map(Box::from);
        found.edits.push((edit.name.as_str().into(), value));
    }
    for (status, path) in &rules.error_pages {
        let problem = |error: io::Error| {
            let shown = path.display();
            io::Error::new(
                error.kind(),
                format!("error_pages: the page of {status}, {shown}: {error}"),
            )
        };
        let length = std::fs::metadata(path).map_err(problem)?.len();
        if length > LARGEST_PAGE {
            return Err(problem(io::Error::other("it has more than 1 MiB")));
        }
        let page = ErrorPage {
            content_type: lockgate_files::media_type(&path.to_string_lossy()).to_owned(),
            body: std::fs::read(path).map_err(problem)?,
        };
        found.error_pages.insert(*status, Arc::new(page));
    }
    let has_any = !(found.edits.is_empty() && found.error_pages.is_empty());
    Ok(has_any.then(|| Arc::new(found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::samples::{error_log, request};
    use crate::admission::{Admission, Parts};
    use lockgate_config::{
        AppSpec, HostPattern, MountedApp, PathPattern, RedirectConfig, RewriteConfig, RouteConfig,
        RouteRules, Target,
    };

    fn config() -> Config {
        let mut config = Config::with_defaults(AppSpec::parse("a:b").unwrap());
        let target = |start: &str, end: Option<&str>| Target {
            start: start.to_owned(),
            end: end.map(str::to_owned),
        };
        let routes = &mut config.routes;
        routes.redirects.push(RedirectConfig {
            host: HostPattern::Exact("www.h".to_owned()),
            path: None,
            to: target("https://h", None),
            status: 308,
        });
        routes.rewrites.push(RewriteConfig {
            host: HostPattern::Any,
            path: PathPattern::Below("/old/".to_owned()),
            to: target("/admin/", Some("?v=2")),
        });
        routes.routes.push(RouteConfig {
            host: HostPattern::Any,
            path: "/admin".to_owned(),
            mount: Some(MountedApp::new(AppSpec::parse("c:d").unwrap())),
            rules: RouteRules::default(),
        });
        config
    }

    fn admission(config: &Config) -> Arc<Admission> {
        let routes = Arc::new(Routes::new(&config.routes));
        Admission::new(&Parts {
            config,
            routes: &routes,
            ids: None,
            scoreboard: None,
            rates: None,
            slot: 0,
            error_log: &error_log(),
            users: None,
        })
        .unwrap()
        .unwrap()
    }

    #[test]
    fn a_request_is_redirected_rewritten_and_routed() {
        let admission = admission(&config());
        for (host, target, status, path, query, mount) in [
            ("h", "/", None, "/", "", 0),
            ("h", "/admin", None, "/admin", "", 1),
            ("h", "/admin/a%20b?c", None, "/admin/a%20b", "c", 1),
            ("h", "/old/x?c", None, "/admin/x", "v=2&c", 1),
            ("h", "/admin/../x", Some(400), "/admin/../x", "", 0),
            ("www.h", "/admin?x", Some(308), "/admin", "x", 0),
        ] {
            let mut request = request("192.0.2.1", host, target);
            admission.admit(&mut request, Instant::now());
            let admitted = &request.admitted;
            let found = admitted
                .refusal
                .as_ref()
                .map(|answer| answer.response.status);
            assert_eq!(found, status, "{target}");
            let head = &request.head;
            assert_eq!(
                (head.path(), head.query()),
                (path.as_bytes(), query.as_bytes())
            );
            assert_eq!(head.target(), target.as_bytes());
            assert_eq!(request.mount(), mount, "{target}");
        }
    }

    #[test]
    fn a_prefix_is_no_part_of_a_route() {
        let mut config = config();
        config.root_path = "/site".to_owned();
        let admission = admission(&config);
        for (target, mount) in [
            ("/site/admin", 1),
            ("/%73ite/admin", 1),
            ("/admin", 1),
            ("/site", 0),
            ("/other/admin", 0),
        ] {
            let mut request = request("192.0.2.1", "h", target);
            admission.admit(&mut request, Instant::now());
            assert_eq!(request.mount(), mount, "{target}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_read_is_an_error() {
        let mut config = config();
        config.routes.server.error_pages = vec![(503, "/nonexistent/503.html".into())];
        let routes = Arc::new(Routes::new(&config.routes));
        let parts = Parts {
            config: &config,
            routes: &routes,
            ids: None,
            scoreboard: None,
            rates: None,
            slot: 0,
            error_log: &error_log(),
            users: None,
        };
        let error = Admission::new(&parts).map(drop).unwrap_err().to_string();
        assert!(
            error.starts_with("error_pages: the page of 503, /nonexistent/503.html: "),
            "{error}"
        );
    }
}
