//! What the routes set for requests that wait and run: for how long, in which order, how many, and how large their
//! bodies are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{Config, Priority, RouteRules, ThreadShare};
use lockgate_routes::Routes;

use super::request::Request;

/// See the module documentation.
#[derive(Debug)]
pub struct RouteLimits {
    /// By route; the first is that of the server.
    routes: Vec<RouteLimit>,
    /// The bulkheads that a request is in, for each combination of them.
    chains: Vec<Vec<u16>>,
    /// Threads of each bulkhead.
    places: Vec<usize>,
    has_priorities: bool,
    shortest_wait: Option<Duration>,
}

/// The limits of one route, with those that it inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLimit {
    /// An index into the combinations of bulkheads; `None`: it is in no bulkhead.
    pub(crate) chain: Option<u16>,
    /// In which order its requests are taken.
    pub(crate) priority: Priority,
    /// How long its requests may take.
    pub(crate) request_timeout: Option<Duration>,
    /// How long its requests may wait for a thread.
    pub(crate) longest_wait: Option<Duration>,
    /// Largest body in bytes; 0: unlimited.
    pub(crate) max_body: u64,
}

impl RouteLimits {
    /// `None` when no route sets any of this: then it costs a request nothing.
    pub fn new(config: &Config, routes: &Routes) -> Option<Arc<Self>> {
        let rules = config.routes.routes.iter().map(|route| &route.rules);
        let mut rules = rules.chain([&config.routes.server]);
        rules.any(sets_limits).then(|| {
            let limits = Self::of(config, routes);
            Arc::new(limits)
        })
    }

    fn of(config: &Config, routes: &Routes) -> Self {
        let mut chains = BTreeMap::new();
        let limits = routes.all().iter().map(|rules| {
            let request_timeout = rules.request_timeout.unwrap_or(config.request_timeout);
            let queue_timeout = rules.queue_timeout.unwrap_or(config.queue_timeout);
            let chain = (!rules.bulkheads.is_empty()).then(|| {
                let next = chains.len() as u16;
                *chains.entry(rules.bulkheads.clone()).or_insert(next)
            });
            RouteLimit {
                chain,
                priority: rules.priority,
                request_timeout,
                longest_wait: longest_wait(queue_timeout, request_timeout),
                max_body: rules.max_body.unwrap_or(config.limits.request_body),
            }
        });
        let limits: Vec<RouteLimit> = limits.collect();
        let mut in_order: Vec<(Vec<u16>, u16)> = chains.into_iter().collect();
        in_order.sort_by_key(|(_, index)| *index);
        let shares = routes.bulkheads().iter().map(|(_, share)| *share);
        Self {
            has_priorities: limits.iter().any(|one| one.priority != Priority::Normal),
            shortest_wait: limits.iter().filter_map(|one| one.longest_wait).min(),
            chains: in_order.into_iter().map(|(chain, _)| chain).collect(),
            places: shares
                .map(|share| threads_of(share, config.max_threads()))
                .collect(),
            routes: limits,
        }
    }

    /// The limits of a request's route.
    pub fn of_request(&self, request: &Request) -> &RouteLimit {
        // Every route is a number from the same table.
        &self.routes[request.admitted.route as usize]
    }

    /// The combinations of bulkheads, the outermost first in each.
    pub(crate) fn chains(&self) -> &[Vec<u16>] {
        &self.chains
    }

    /// Threads of each bulkhead.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// Whether requests are not all equal.
    pub(crate) fn has_priorities(&self) -> bool {
        self.has_priorities
    }

    /// No request has to be dropped earlier for the time that it has waited.
    pub(crate) fn shortest_wait(&self) -> Option<Duration> {
        self.shortest_wait
    }

    /// Whether any request has a deadline.
    pub(crate) fn has_deadlines(&self) -> bool {
        self.routes.iter().any(|one| one.request_timeout.is_some())
    }
}

/// The largest body that any route allows, for parsers, which do not know the route; 0: unlimited.
pub fn largest_body(config: &Config) -> u64 {
    let routes = config.routes.routes.iter().map(|route| &route.rules);
    let rules = routes.chain([&config.routes.server]);
    let limits = rules.filter_map(|rules| rules.max_body);
    let limits: Vec<u64> = limits.chain([config.limits.request_body]).collect();
    match limits.contains(&0) {
        true => 0,
        false => limits.into_iter().max().unwrap_or(0),
    }
}

/// How long a request may wait for a thread: a call without time left would be useless.
pub fn longest_wait(
    queue_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
) -> Option<Duration> {
    [queue_timeout, request_timeout].into_iter().flatten().min()
}

fn sets_limits(rules: &RouteRules) -> bool {
    rules.threads.is_some()
        || rules.priority.is_some()
        || rules.request_timeout.is_some()
        || rules.queue_timeout.is_some()
        || rules.max_body.is_some()
}

/// How many of a worker's threads that is: at least one.
fn threads_of(share: ThreadShare, threads: usize) -> usize {
    match share {
        ThreadShare::Count(count) => count.get().into(),
        ThreadShare::Share(hundredths) => {
            let part = (threads as u64 * u64::from(hundredths)).div_ceil(10_000);
            usize::try_from(part).unwrap_or(usize::MAX).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_config::{AppSpec, HostPattern, RouteConfig, Threads};

    fn route(path: &str, rules: RouteRules) -> RouteConfig {
        RouteConfig {
            host: HostPattern::Any,
            path: path.to_owned(),
            mount: None,
            rules,
        }
    }

    fn config(routes: Vec<RouteConfig>) -> Config {
        let mut config = Config::with_defaults(AppSpec::Module {
            module: "app".to_owned(),
            attribute: None,
        });
        config.threads = Threads::Count(8.try_into().unwrap());
        config.queue_timeout = Some(Duration::from_secs(30));
        config.request_timeout = None;
        config.limits.request_body = 1000;
        config.routes.routes = routes;
        config
    }

    fn limits(config: &Config) -> Option<Arc<RouteLimits>> {
        RouteLimits::new(config, &Routes::new(&config.routes))
    }

    #[test]
    fn nothing_is_limited_unless_a_route_asks_for_it() {
        let plain = RouteRules {
            response_headers: Vec::new(),
            ..RouteRules::default()
        };
        assert!(limits(&config(vec![route("/a", plain)])).is_none());
    }

    #[test]
    fn a_share_of_threads_is_rounded_up() {
        for (share, threads, expected) in [
            (ThreadShare::Count(3.try_into().unwrap()), 8, 3),
            (ThreadShare::Count(99.try_into().unwrap()), 8, 99),
            (ThreadShare::Share(2500), 8, 2),
            (ThreadShare::Share(2501), 8, 3),
            (ThreadShare::Share(1), 8, 1),
            (ThreadShare::Share(0), 8, 1),
            (ThreadShare::Share(10_000), 1, 1),
        ] {
            assert_eq!(threads_of(share, threads), expected, "{share:?} {threads}");
        }
    }

    #[test]
    fn a_route_has_its_own_limits_and_those_around_it() {
        let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
        let reports = RouteRules {
            threads: Some(ThreadShare::Share(5000)),
            priority: Some(Priority::Low),
            request_timeout: seconds(120),
            queue_timeout: seconds(5),
            max_body: Some(5000),
            ..RouteRules::default()
        };
        let yearly = RouteRules {
            threads: Some(ThreadShare::Count(1.try_into().unwrap())),
            queue_timeout: Some(None),
            ..RouteRules::default()
        };
        let config = config(vec![
            route("/reports", reports),
            route("/reports/yearly", yearly),
        ]);
        let found = limits(&config).unwrap();
        assert_eq!(
            (found.places(), found.has_priorities()),
            (&[4, 1][..], true)
        );
        assert_eq!(found.shortest_wait(), Some(Duration::from_secs(5)));
        let routes = Routes::new(&config.routes);
        let of = |path: &[u8]| {
            let host = lockgate_routes::HostName::of(None);
            let found_route = routes.find(&host, &lockgate_routes::PathKey::of(path));
            let mut request = Request::default();
            request.admitted.route = found_route.unwrap().route;
            found.of_request(&request).clone()
        };
        let server = RouteLimit {
            chain: None,
            priority: Priority::Normal,
            request_timeout: None,
            longest_wait: Some(Duration::from_secs(30)),
            max_body: 1000,
        };
        assert_eq!(of(b"/shop"), server);
        let reports = of(b"/reports/monthly");
        assert_eq!(found.chains()[usize::from(reports.chain.unwrap())], [0]);
        let expected = RouteLimit {
            chain: reports.chain,
            priority: Priority::Low,
            request_timeout: Some(Duration::from_secs(120)),
            longest_wait: Some(Duration::from_secs(5)),
            max_body: 5000,
        };
        assert_eq!(reports, expected);
        let yearly = of(b"/reports/yearly/2026");
        assert_eq!(found.chains()[usize::from(yearly.chain.unwrap())], [0, 1]);
        assert_eq!(yearly.longest_wait, Some(Duration::from_secs(120)));
        assert_eq!(yearly.max_body, 5000);
    }

    #[test]
    fn parsers_allow_the_largest_body_of_all() {
        for (own, expected) in [
            (Some(10), 1000),
            (Some(2000), 2000),
            (Some(0), 0),
            (None, 1000),
        ] {
            let rules = RouteRules {
                max_body: own,
                ..RouteRules::default()
            };
            assert_eq!(largest_body(&config(vec![route("/a", rules)])), expected);
        }
    }
}
