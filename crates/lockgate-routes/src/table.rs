//! The table of routes: which rules hold for a host and a path.

use lockgate_config::{
    AddressRule, BasicAuth, CertificateRule, ForwardAuthConfig, HostPattern, RouteConfig,
    RoutesConfig, ThreadShare,
};

use crate::host::{HostName, covers_pattern, exactness};
use crate::path::{PathKey, covers};
use crate::rules::{Bulkhead, EffectiveRules, bulkhead};

/// An index into the rules of [`Routes`]; 0 is the server itself.
pub type RouteId = u32;

/// The rules that hold for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// By the path as it is: the application, edits, limits.
    pub route: RouteId,
    /// Who may come, in whichever way the application reads the path.
    pub access: RouteId,
}

/// A path means one route in its simplest form and another as the application would see it, or by another case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmbiguousPath {
    /// They have different applications.
    LeavesMount,
    /// They let different clients in.
    Access,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<EffectiveRules>,
    /// For the rules of each id, which others let the same clients in: those with the same number. 0: every client.
    access_classes: Vec<u32>,
    bulkheads: Vec<Bulkhead>,
    /// For hosts that no pattern matches.
    any_host: HostTable,
    /// In the order of their names.
    exact: Vec<(String, HostTable)>,
    /// The longest domain first.
    below: Vec<(String, HostTable)>,
}

/// The routes of a host.
#[derive(Debug, Default)]
struct HostTable {
    as_written: PathTable,
    /// In lower case.
    folded: PathTable,
    /// A path of the table has a capital.
    has_capitals: bool,
}

/// Paths in their order as bytes.
#[derive(Debug, Default)]
struct PathTable(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    path: Vec<u8>,
    /// The index of the longest entry whose path is the beginning of this one; its own index: none.
    parent: usize,
    route: RouteId,
}

impl Routes {
    /// Of the settings.
    pub fn new(config: &RoutesConfig) -> Self {
        let mut bulkheads = Vec::new();
        let server = EffectiveRules::of_server(&config.server, &mut bulkheads);
        let mut mounts = 0_u16;
        let routes: Vec<Prepared<'_>> = (config.routes.iter())
            .map(|route| {
                let mount = route.mount.as_ref().map(|_| {
                    mounts += 1;
                    mounts
                });
                let name = name_of(route);
                let bulkhead = bulkhead(&route.rules, &name, &mut bulkheads);
                Prepared {
                    route,
                    mount,
                    bulkhead,
                }
            })
            .collect();
        let mut rules = vec![server];
        let any_host = HostTable::new(&HostPattern::Any, &routes, &mut rules);
        let mut patterns: Vec<&HostPattern> = config.routes.iter().map(|one| &one.host).collect();
        patterns.sort();
        patterns.dedup();
        let (mut exact, mut below) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let (into, name) = match pattern {
                HostPattern::Any => continue,
                HostPattern::Below(domain) => (&mut below, domain),
                HostPattern::Exact(name) => (&mut exact, name),
            };
            into.push((name.clone(), HostTable::new(pattern, &routes, &mut rules)));
        }
        below.sort_by_key(|(domain, _): &(String, _)| std::cmp::Reverse(domain.len()));
        Self {
            access_classes: access_classes(&rules),
            rules,
            bulkheads,
            any_host,
            exact,
            below,
        }
    }

    /// The rules of a route.
    pub fn rules(&self, route: RouteId) -> &EffectiveRules {
        // Every id comes from this table.
        &self.rules[route as usize]
    }

    /// The rules of all routes; the index is their id.
    pub fn all(&self) -> &[EffectiveRules] {
        &self.rules
    }

    /// The bulkheads: the route's host and path, and its part of the threads.
    pub fn bulkheads(&self) -> &[(String, ThreadShare)] {
        &self.bulkheads
    }

    /// Whether any rules differ by host: then [`Routes::find`] needs one.
    pub fn needs_host(&self) -> bool {
        !(self.exact.is_empty() && self.below.is_empty())
    }

    /// The rules for a host and a path.
    ///
    /// # Errors
    /// [`AmbiguousPath`].
    pub fn find(&self, host: &HostName, path: &PathKey<'_>) -> Result<Found, AmbiguousPath> {
        let table = self.table(host);
        let route = table.as_written.find(&path.key);
        let mut access = table.access(&path.key, route, self)?;
        for other in &path.others {
            let seen = table.as_written.find(other);
            if self.rules(seen).mount != self.rules(route).mount {
                return Err(AmbiguousPath::LeavesMount);
            }
            access = self.both(access, table.access(other, seen, self)?)?;
        }
        Ok(Found { route, access })
    }

    /// The route whose rules of access let in only those whom both let in.
    #[inline]
    fn both(&self, one: RouteId, other: RouteId) -> Result<RouteId, AmbiguousPath> {
        match [one, other].map(|id| self.access_classes[id as usize]) {
            [first, second] if first == second => Ok(one),
            [_, 0] => Ok(one),
            [0, _] => Ok(other),
            _ => Err(AmbiguousPath::Access),
        }
    }

    fn table(&self, host: &HostName) -> &HostTable {
        if !self.needs_host() {
            return &self.any_host;
        }
        let name = host.as_bytes();
        if let Ok(index) = (self.exact).binary_search_by(|(one, _)| one.as_bytes().cmp(name)) {
            return &self.exact[index].1;
        }
        let below = self.below.iter().find(|(domain, _)| {
            let label = name.strip_suffix(domain.as_bytes());
            label.is_some_and(|label| label.len() > 1 && label.ends_with(b"."))
        });
        below.map_or(&self.any_host, |(_, table)| table)
    }
}

/// Numbers rules of access: equal ones have the same number, and those that let every client in have 0.
fn access_classes(rules: &[EffectiveRules]) -> Vec<u32> {
    let mut distinct = vec![Access::default()];
    let numbers = rules.iter().map(|rules| {
        let access = Access::of(rules);
        let known = distinct.iter().position(|one| *one == access);
        known.unwrap_or_else(|| {
            distinct.push(access);
            distinct.len() - 1
        }) as u32
    });
    numbers.collect()
}

/// What decides who may come.
#[derive(Default, PartialEq)]
struct Access<'r> {
    addresses: Option<&'r AddressRule>,
    basic_auth: Option<&'r BasicAuth>,
    forward_auth: Option<&'r ForwardAuthConfig>,
    client_certificate: Option<&'r CertificateRule>,
}

impl<'r> Access<'r> {
    fn of(rules: &'r EffectiveRules) -> Self {
        Self {
            addresses: rules.addresses.as_ref(),
            basic_auth: rules.basic_auth.as_ref(),
            forward_auth: rules.forward_auth.as_ref(),
            client_certificate: rules.client_certificate.as_ref(),
        }
    }
}

/// A route with the numbers that it has got.
struct Prepared<'c> {
    route: &'c RouteConfig,
    mount: Option<u16>,
    bulkhead: Option<u16>,
}

/// The host and path of a route, as in a URL.
fn name_of(route: &RouteConfig) -> String {
    let path = if route.path.is_empty() {
        "/"
    } else {
        &route.path
    };
    match &route.host {
        HostPattern::Any => path.to_owned(),
        HostPattern::Below(domain) => format!("*.{domain}{path}"),
        HostPattern::Exact(name) => format!("{name}{path}"),
    }
}

impl HostTable {
    /// The routes of the hosts that `pattern` matches, and of no narrower pattern.
    fn new(
        pattern: &HostPattern,
        routes: &[Prepared<'_>],
        rules: &mut Vec<EffectiveRules>,
    ) -> Self {
        let mut around: Vec<&Prepared<'_>> = routes
            .iter()
            .filter(|one| covers_pattern(&one.route.host, pattern))
            .collect();
        // Later ones count more. A host that is closed as a whole is not opened by a path of every host.
        around.sort_by_key(|one| (exactness(&one.route.host), one.route.path.len()));
        let mut paths: Vec<&str> = around.iter().map(|one| one.route.path.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut as_written = Vec::new();
        for path in paths {
            let mut effective = rules[0].clone();
            for one in &around {
                if covers(one.route.path.as_bytes(), path.as_bytes()) {
                    effective.enter(one.route, one.mount, one.bulkhead);
                }
            }
            let id = rules.len() as RouteId;
            rules.push(effective);
            as_written.push((path.as_bytes().to_vec(), id));
        }
        let folded: Vec<_> = as_written
            .iter()
            .map(|(path, id)| (path.to_ascii_lowercase(), *id))
            .collect();
        Self {
            has_capitals: folded
                .iter()
                .zip(&as_written)
                .any(|(folded, one)| folded != one),
            as_written: PathTable::new(as_written),
            folded: PathTable::new(folded),
        }
    }

    /// The route whose rules of access hold for a path, whether or not the application distinguishes case. `route` is
    /// that of the path as it is.
    #[inline]
    fn access(
        &self,
        path: &[u8],
        route: RouteId,
        routes: &Routes,
    ) -> Result<RouteId, AmbiguousPath> {
        if !self.has_capitals && !path.iter().any(u8::is_ascii_uppercase) {
            return Ok(route);
        }
        routes.both(route, self.folded.find(&path.to_ascii_lowercase()))
    }
}

impl PathTable {
    fn new(mut paths: Vec<(Vec<u8>, RouteId)>) -> Self {
        paths.sort();
        paths.dedup_by(|later, earlier| later.0 == earlier.0);
        let mut entries: Vec<Entry> = Vec::with_capacity(paths.len());
        for (path, route) in paths {
            let index = entries.len();
            let parent = (entries.iter()).rposition(|one| path.starts_with(&one.path));
            entries.push(Entry {
                path,
                parent: parent.unwrap_or(index),
                route,
            });
        }
        Self(entries)
    }

    /// The route of the longest path that covers `key`; the server itself without one.
    fn find(&self, key: &[u8]) -> RouteId {
        // Everything between a prefix of the key and the key begins with that prefix, so the covering path is the entry
        // before the key or one of its parents.
        let after = (self.0).partition_point(|entry| entry.path.as_slice() <= key);
        let mut at = after.checked_sub(1);
        while let Some(entry) = at.and_then(|at| self.0.get(at)) {
            if covers(&entry.path, key) {
                return entry.route;
            }
            at = (Some(entry.parent) != at).then_some(entry.parent);
        }
        0
    }
}

#[cfg(test)]
mod tests;
