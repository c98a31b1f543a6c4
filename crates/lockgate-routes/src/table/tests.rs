//! Tables of what holds for a host and a path, and random routes against a search without a table.

use super::*;
use lockgate_config::{AppSpec, FieldEdit, MountedApp, Networks, RouteRules};
use proptest::prelude::*;

/// A route whose rules are known by their `max_body`.
fn route(host: &str, path: &str, number: u64) -> RouteConfig {
    RouteConfig {
        host: match host.strip_prefix("*.") {
            Some(domain) => HostPattern::Below(domain.to_owned()),
            None if host.is_empty() => HostPattern::Any,
            None => HostPattern::Exact(host.to_owned()),
        },
        path: path.to_owned(),
        mount: None,
        rules: RouteRules {
            max_body: Some(number),
            ..RouteRules::default()
        },
    }
}

fn mount(host: &str, path: &str, number: u64) -> RouteConfig {
    let mount = MountedApp::new(AppSpec::parse("a:b").unwrap());
    RouteConfig {
        mount: Some(mount),
        ..route(host, path, number)
    }
}

fn routes(routes: Vec<RouteConfig>) -> Routes {
    Routes::new(&RoutesConfig {
        routes,
        ..RoutesConfig::default()
    })
}

fn found<'r>(
    routes: &'r Routes,
    host: &str,
    path: &str,
) -> Result<&'r EffectiveRules, AmbiguousPath> {
    let host = HostName::of(Some(host.as_bytes()));
    let found = routes.find(&host, &PathKey::of(path.as_bytes()))?;
    Ok(routes.rules(found.route))
}

#[test]
fn the_longest_path_of_the_most_exact_host_counts() {
    let routes = routes(vec![
        route("", "/a", 1),
        route("", "/a/b", 2),
        route("", "/a-b", 3),
        route("x.example", "", 4),
        route("x.example", "/a", 5),
        route("*.y.example", "/a", 6),
        route("*.z.y.example", "", 7),
    ]);
    for (host, path, expected) in [
        ("other", "/", None),
        ("other", "/a", Some(1)),
        ("other", "/a/", Some(1)),
        ("other", "/a/c", Some(1)),
        ("other", "/a/b", Some(2)),
        ("other", "/a/b/c", Some(2)),
        ("other", "/a/bc", Some(1)),
        ("other", "/a-b/c", Some(3)),
        ("other", "/a-c", None),
        ("other", "/ab", None),
        ("x.example", "/", Some(4)),
        ("X.example:80", "/b", Some(4)),
        ("x.example", "/a/c", Some(5)),
        ("x.example", "/a/b", Some(5)),
        ("w.y.example", "/a/c", Some(6)),
        ("w.y.example", "/b", None),
        ("y.example", "/a", Some(1)),
        ("w.z.y.example", "/b", Some(7)),
        ("w.z.y.example", "/a", Some(7)),
        ("", "/a", Some(1)),
    ] {
        let rules = found(&routes, host, path).unwrap();
        assert_eq!(rules.max_body, expected, "{host} {path}");
    }
}

#[test]
fn a_route_inherits_what_it_does_not_set() {
    let edit = |name: &str| FieldEdit {
        name: name.to_owned(),
        value: None,
    };
    let mut outer = mount("", "/a", 1);
    outer.rules.request_headers = vec![edit("outer")];
    outer.rules.threads = Some(ThreadShare::Share(5000));
    let mut inner = route("", "/a/b", 2);
    inner.rules.max_body = None;
    inner.rules.request_headers = vec![edit("inner")];
    inner.rules.threads = Some(ThreadShare::Share(2500));
    let config = RoutesConfig {
        server: RouteRules {
            request_headers: vec![edit("server")],
            ..RouteRules::default()
        },
        routes: vec![inner, outer],
        ..RoutesConfig::default()
    };
    let routes = Routes::new(&config);
    let names = |rules: &EffectiveRules| -> Vec<String> {
        rules
            .request_headers
            .iter()
            .map(|one| one.name.clone())
            .collect()
    };
    let rules = found(&routes, "h", "/a/b/c").unwrap();
    assert_eq!(names(rules), ["server", "outer", "inner"]);
    assert_eq!((rules.max_body, rules.mount), (Some(1), 1));
    assert_eq!(rules.mount_path, "/a");
    let bulkheads: Vec<&str> = (rules.bulkheads.iter())
        .map(|index| routes.bulkheads()[usize::from(*index)].0.as_str())
        .collect();
    assert_eq!(bulkheads, ["/a", "/a/b"]);
    assert_eq!(names(found(&routes, "h", "/c").unwrap()), ["server"]);
}

#[test]
fn a_path_that_leaves_its_mount_is_refused() {
    let routes = routes(vec![mount("", "/admin", 1), route("", "/admin/x", 2)]);
    for (path, expected) in [
        ("/admin", Ok(1)),
        ("/admin/", Ok(1)),
        ("/%61dmin/y", Ok(1)),
        ("/admin//x", Ok(1)),
        ("/admin/./x", Ok(1)),
        ("/admin/y/../x", Ok(1)),
        ("//admin", Err(AmbiguousPath::LeavesMount)),
        ("/%2Fadmin", Err(AmbiguousPath::LeavesMount)),
        ("/x/../admin", Err(AmbiguousPath::LeavesMount)),
        ("/./admin", Err(AmbiguousPath::LeavesMount)),
        ("//admin/../x", Err(AmbiguousPath::LeavesMount)),
        ("/admin/..", Err(AmbiguousPath::LeavesMount)),
        ("/admin/%2e%2e/x", Err(AmbiguousPath::LeavesMount)),
        ("/admin/../admin/x", Ok(1)),
        ("/x/../y", Ok(0)),
        ("//", Ok(0)),
    ] {
        let mount = found(&routes, "h", path).map(|rules| rules.mount);
        assert_eq!(mount, expected, "{path}");
    }
}

/// A route that only one network may use; the empty network: every client, although there is a rule around it.
fn guarded(path: &str, network: &str) -> RouteConfig {
    let mut guarded = route("", path, 0);
    guarded.rules.addresses = Some(AddressRule {
        allow: (!network.is_empty()).then(|| Networks::parse(network).unwrap()),
        deny: Networks::default(),
    });
    guarded
}

#[test]
fn rules_of_access_hold_in_whichever_way_a_path_is_read() {
    const ADMIN: Option<&str> = Some("10.0.0.0/8");
    const SECRET: Option<&str> = Some("10.1.0.0/16");
    const ALL: Option<&str> = Some("*");
    const AMBIGUOUS: Result<Option<&str>, AmbiguousPath> = Err(AmbiguousPath::Access);
    let routes = routes(vec![
        guarded("/admin", "10.0.0.0/8"),
        guarded("/admin/open", "*"),
        guarded("/Secret", "10.1.0.0/16"),
        guarded("/also", "10.0.0.0/8"),
    ]);
    for (path, expected) in [
        ("/", Ok(None)),
        ("/admin", Ok(ADMIN)),
        ("/ADMIN/x", Ok(ADMIN)),
        ("/%41dmin", Ok(ADMIN)),
        ("//admin", Ok(ADMIN)),
        ("/x/../admin", Ok(ADMIN)),
        // As the application sees it, it is below /admin.
        ("/admin/..", Ok(ADMIN)),
        ("/admin/../x", Ok(ADMIN)),
        ("/admin/%2e%2e/x", Ok(ADMIN)),
        ("/ADMIN/../x", Ok(ADMIN)),
        // Slashes are merged, and dot segments are not resolved, or the other way round.
        ("//admin/../x", Ok(ADMIN)),
        ("//%61dmin/%2e./x", Ok(ADMIN)),
        ("/x//../../admin", Ok(ADMIN)),
        ("/admin/x/..%2f..%2fy", Ok(ADMIN)),
        ("/admin/../also", Ok(ADMIN)),
        ("/admin/open", Ok(ALL)),
        ("/admin/open/x", Ok(ALL)),
        ("/admin/open/../x", AMBIGUOUS),
        ("/admin/x/../open", AMBIGUOUS),
        ("/admin/Open", AMBIGUOUS),
        ("/admin/OPEN/x", AMBIGUOUS),
        ("/Secret", Ok(SECRET)),
        ("/secret", Ok(SECRET)),
        ("/SECRET/x", Ok(SECRET)),
        ("/admin/../secret", AMBIGUOUS),
        ("/x/../y", Ok(None)),
        ("/X", Ok(None)),
    ] {
        let found = routes.find(&HostName::of(None), &PathKey::of(path.as_bytes()));
        let allow = |found: Found| {
            let rule = routes.rules(found.access).addresses.as_ref()?;
            rule.allow.clone()
        };
        let expected = expected.map(|allow| allow.map(|text| Networks::parse(text).unwrap()));
        assert_eq!(found.map(allow), expected, "{path}");
    }
}

proptest! {
    /// The table finds what a search through all routes finds.
    #[test]
    fn the_table_agrees_with_a_plain_search(
        paths in prop::collection::btree_set("(/[ab-]{1,2}){0,3}", 0..12),
        key in "(/[ab-]{0,2}){1,4}",
    ) {
        let all: Vec<RouteConfig> = paths
            .iter()
            .enumerate()
            .map(|(number, path)| route("", path, number as u64))
            .collect();
        let expected = all
            .iter()
            .filter(|one| covers(one.path.as_bytes(), PathKey::of(key.as_bytes()).key.as_ref()))
            .max_by_key(|one| one.path.len())
            .and_then(|one| one.rules.max_body);
        let table = routes(all.clone());
        prop_assert_eq!(found(&table, "h", &key).unwrap().max_body, expected);
    }
}
