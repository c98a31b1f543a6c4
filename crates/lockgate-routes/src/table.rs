//! The table of routes: which rules hold for a host and a path.

use lockgate_config::{HostPattern, RouteConfig, RoutesConfig, ThreadShare};

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
    /// Without regard to case: who may come.
    pub access: RouteId,
}

/// A path leads to another application in its simplest form than as the application would see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeavesMount;

/// See the module documentation.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<EffectiveRules>,
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
    folded: PathTable,
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
    /// [`LeavesMount`].
    pub fn find(&self, host: &HostName, path: &PathKey<'_>) -> Result<Found, LeavesMount> {
        let table = self.table(host);
        let (route, length) = table.as_written.find(&path.key);
        if let Some(literal) = &path.literal {
            let (seen, _) = table.as_written.find(literal);
            if self.rules(seen).mount != self.rules(route).mount {
                return Err(LeavesMount);
            }
        }
        let access = match path.key.iter().any(u8::is_ascii_uppercase) {
            false => route,
            true => {
                let (folded, folded_length) = table.folded.find(&path.key.to_ascii_lowercase());
                if folded_length > length {
                    folded
                } else {
                    route
                }
            }
        };
        Ok(Found { route, access })
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
        around.sort_by_key(|one| (one.route.path.len(), exactness(&one.route.host)));
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
        let folded = as_written
            .iter()
            .map(|(path, id)| (path.to_ascii_lowercase(), *id))
            .collect();
        Self {
            as_written: PathTable::new(as_written),
            folded: PathTable::new(folded),
        }
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

    /// The route of the longest path that covers `key`, and the length of its path; the server itself without one.
    fn find(&self, key: &[u8]) -> (RouteId, usize) {
        // Everything between a prefix of the key and the key begins with that prefix, so the covering path is the entry
        // before the key or one of its parents.
        let after = (self.0).partition_point(|entry| entry.path.as_slice() <= key);
        let mut at = after.checked_sub(1);
        while let Some(entry) = at.and_then(|at| self.0.get(at)) {
            if covers(&entry.path, key) {
                return (entry.route, entry.path.len());
            }
            at = (Some(entry.parent) != at).then_some(entry.parent);
        }
        (0, 0)
    }
}

#[cfg(test)]
mod tests;
