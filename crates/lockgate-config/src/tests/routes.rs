//! Tests of the settings by host and path: mounts, routes, redirects, rewrites, rules and limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{given, refused};
use crate::{Config, HostPattern, PathPattern, Priority, RouteConfig, Target, ThreadShare};

/// Values that are refused, and a part of the answer.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "mount",
        &[
            ("1", "must be a table such as [[mount]] with path"),
            ("['/a']", "mount = \"/a\" (from"),
            (
                "[{ app = 'a:b' }]",
                "needs a path, such as path = \"/admin\", or a host",
            ),
            (
                "[{ path = '/a' }]",
                "mount = { path = \"/a\" } (from lockgate.toml line 1): needs app",
            ),
            (
                "[{ path = '/', app = 'a:b' }]",
                "is for all requests, as the app of the server",
            ),
            (
                "[{ path = '/a', app = 'a-b' }]",
                "mount = { path = \"/a\", app = \"a-b\" } (from lockgate.toml line 1): ",
            ),
            (
                "[{ path = 'a', app = 'a:b' }]",
                "mount = { path = \"a\" } (from lockgate.toml line 1): must begin with a slash",
            ),
            (
                "[{ path = '/a/*', app = 'a:b' }]",
                "must have no *: a path is for everything below it; write /a",
            ),
            (
                "[{ path = '/a%20b', app = 'a:b' }]",
                "no query, fragment, %XX",
            ),
            ("[{ path = '/a/../b', app = 'a:b' }]", "must not contain //"),
            (
                "[{ host = 'a:80', app = 'a:b' }]",
                "without a scheme, a port or a path; write a",
            ),
            (
                "[{ host = 'https://a.example/b', app = 'a:b' }]",
                "; write a.example",
            ),
            (
                "[{ host = 'a b', app = 'a:b' }]",
                "must be a host, such as shop.example",
            ),
            (
                "[{ host = 'a.*', app = 'a:b' }]",
                "must be a host, such as shop.example",
            ),
            ("[{ host = 'bücher.example', app = 'a:b' }]", "xn--"),
            (
                "[{ path = '/a', app = 'a:b' }, { path = '/a/', app = 'c:d' }]",
                "mount = { path = \"/a/\" } (from lockgate.toml line 1): has the same host and path as an earlier one",
            ),
            (
                "[{ path = '/a', module = 'a:b' }]",
                "unknown key of a mount; did you mean app?",
            ),
            (
                "[{ path = '/a', Allow = '*' }]",
                "mount = { path = \"/a\", Allow = \"*\" } (from lockgate.toml line 1): unknown key of a mount; did you mean allow?",
            ),
            (
                "[{ path = '/a', colour = 1 }]",
                "unknown key of a mount; the keys are path, host, app, chdir, env, session, allow, deny, basic_auth",
            ),
            (
                "[{ path = '/a', app = 'a:b', chdir = 1 }]",
                "chdir = 1 } (from",
            ),
            (
                "[{ path = '/a', app = 'a:b', env = { A = 1 } }]",
                "env = A = 1 } (from",
            ),
        ],
    ),
    (
        "route",
        &[
            (
                "[{ path = '/a', app = 'a:b' }]",
                "is a key of a [[mount]], not of a [[route]]",
            ),
            ("[{ path = '/a' }]", "has no rule, such as allow"),
            ("[{ allow = '*' }]", "needs a path"),
            (
                "[{ path = '/a', allow = [] }]",
                "has no address; for every address write [\"*\"]",
            ),
            (
                "[{ path = '/a', deny = ['10.0.0.1/8'] }]",
                "route = { path = \"/a\", deny = \"10.0.0.1/8\" } (from lockgate.toml line 1): has bits beyond its prefix; the network is 10.0.0.0/8",
            ),
            (
                "[{ path = '/a', threads = 0 }]",
                "must be at least 1, or a share such as \"25%\"",
            ),
            ("[{ path = '/a', threads = '0%' }]", "more than 0%"),
            (
                "[{ path = '/a', threads = 'many' }]",
                "must be a whole number, or a share",
            ),
            (
                "[{ host = 'a', path = '/a', priority = 'urgent' }]",
                "route = { host = \"a\", path = \"/a\", priority = \"urgent\" } (from lockgate.toml line 1): must be low, normal or high",
            ),
            ("[{ path = '/a', max_body = 'big' }]", "must be a size"),
            (
                "[{ path = '/a', limit_request_body = 1 }]",
                "did you mean max_body?",
            ),
            (
                "[{ path = '/a', request_timeout = -1 }]",
                "must not be negative",
            ),
            ("[{ path = '/a', queue_timeout = 'x' }]", "must be a time"),
            (
                "[{ path = '/a', basic_auth = 1 }]",
                "must be text, a table or false",
            ),
            (
                "[{ path = '/a', error_pages = { 200 = 'a' } }]",
                "error_pages = { 200 = \"a\" } } (from",
            ),
            (
                "[{ path = '/a', request_headers = { Host = 'a' } }]",
                "must not change Host",
            ),
        ],
    ),
    (
        "redirect",
        &[
            ("'/a'", "must be a table such as [[redirect]]"),
            ("[{ to = '/b' }]", "needs from"),
            ("[{ from = '/a' }]", "needs to"),
            ("[{ from = '', to = '/b' }]", "must be a host or a path"),
            (
                "[{ from = 'https://a/b', to = '/c' }]",
                "redirect = { from = \"https://a/b\" } (from lockgate.toml line 1): must have no scheme; write a/b",
            ),
            (
                "[{ from = 'a:80/b', to = '/c' }]",
                "without a scheme, a port or a path; write a",
            ),
            ("[{ from = '/a*', to = '/c' }]", "as in /old/*"),
            ("[{ from = '/*/a/*', to = '/c' }]", "as in /old/*"),
            ("[{ from = '/a?b', to = '/c' }]", "no query"),
            ("[{ from = '/a//b', to = '/c' }]", "must not contain //"),
            (
                "[{ from = '/a', to = 'b' }]",
                "redirect = { from = \"/a\", to = \"b\" } (from lockgate.toml line 1): must be a URL such as",
            ),
            ("[{ from = '/a', to = 'ftp://b' }]", "must be a URL such as"),
            (
                "[{ from = '/a', to = 'https://u@b/' }]",
                "must be a URL such as",
            ),
            (
                "[{ from = '/a', to = 'https://' }]",
                "must be a URL such as",
            ),
            (
                "[{ from = '/a', to = 'https://b:0/' }]",
                "must be a URL such as",
            ),
            (
                "[{ from = '/a/*', to = 'https://b*' }]",
                "may have a * in its path only",
            ),
            ("[{ from = '/a', to = '//b' }]", "must not begin with //"),
            (
                "[{ from = '/a', to = '/b c' }]",
                "must not contain ' ': encode it",
            ),
            (
                "[{ from = '/a', to = '/ä' }]",
                "must not contain 'ä': encode it",
            ),
            ("[{ from = '/a', to = \"/b\\r\\nX: y\" }]", "line break"),
            ("[{ from = '/a', to = '/b%2' }]", "two hexadecimal digits"),
            ("[{ from = '/a/*', to = '/*/*' }]", "may have one *"),
            (
                "[{ from = '/a', to = '/b/*' }]",
                "has a *, and from has none: write from = \"/PATH/*\"",
            ),
            (
                "[{ from = 'a', to = 'https://b/*' }]",
                "write from = \"HOST/*\"",
            ),
            (
                "[{ from = '/a', to = '/b', status = 304 }]",
                "status = 304 } (from lockgate.toml line 1): must be 301, 302, 303, 307 or 308",
            ),
            (
                "[{ from = '/a', to = '/b' }, { from = '/a', to = '/c' }]",
                "the same from as an earlier redirect",
            ),
            ("[{ from = '/a', to = '/a' }]", "would lead to itself"),
            ("[{ from = '/a', to = '/a?b=c' }]", "would lead to itself"),
            ("[{ from = '/a/*', to = '/a/b' }]", "would lead to itself"),
            ("[{ from = '/a/*', to = '/a/b/*' }]", "would lead to itself"),
            (
                "[{ from = 'a.example', to = 'https://A.example' }]",
                "would lead to itself; to redirect from http to https, write https_redirect = true",
            ),
            (
                "[{ from = '*.a.example', to = 'http://b.a.example:80/c' }]",
                "would lead to itself",
            ),
            (
                "[{ from = '[::1]/a', to = 'http://[::1]:80/a' }]",
                "would lead to itself",
            ),
            ("[{ from = 'a', to = '/b' }]", "would lead to itself"),
            (
                "[{ from = '/a', too = '/b' }]",
                "unknown key of a redirect; did you mean to?",
            ),
        ],
    ),
    (
        "rewrite",
        &[
            ("[{ from = 'a', to = '/b' }]", "must have a path"),
            (
                "[{ from = '/a', to = 'https://b/' }]",
                "must begin with a slash, such as /new",
            ),
            ("[{ from = '/a', to = '//b' }]", "must not begin with //"),
            (
                "[{ from = '/a', to = '/b', status = 301 }]",
                "unknown key of a rewrite; the keys are from, to",
            ),
            (
                "[{ from = '/a', to = '/b' }, { from = '/a', to = '/c' }]",
                "the same from as an earlier rewrite",
            ),
        ],
    ),
    (
        "request_headers",
        &[
            ("1", "must be a table such as"),
            ("'A'", "must be NAME=VALUE"),
            (
                "{ 'A B' = 'c' }",
                "request_headers = { \"A B\" = \"c\" } (from lockgate.toml line 1): must have the name of a header",
            ),
            ("{ A = '' }", "to remove the header write false"),
            ("{ A = true }", "or false to remove the header"),
            ("{ A = 'é' }", "printable ASCII"),
            ("{ A = \"b\\nc\" }", "line break"),
            ("{ A = 'b', a = 'c' }", "each header once"),
            ("{ Content-Length = '1' }", "must not change Content-Length"),
            (
                "{ Transfer-Encoding = false }",
                "must not change Transfer-Encoding",
            ),
        ],
    ),
    (
        "response_headers",
        &[
            ("{ Connection = 'close' }", "must not change Connection"),
            ("{ Server = false }", "is the setting server_header"),
            ("{ Set-Cookie = 'a=b' }", "must be false: a cookie"),
            ("['A=b', 1]", "must be a table such as"),
        ],
    ),
    (
        "error_pages",
        &[
            ("'503'", "must be NAME=VALUE"),
            ("{ 200 = 'a' }", "must have a status from 400 to 599"),
            ("{ 4040 = 'a' }", "must have a status from 400 to 599"),
            ("{ 503 = '' }", "must be the path of a file"),
            ("{ 503 = true }", "must be the path of a file"),
            ("['503=a', '503=b']", "each status once"),
        ],
    ),
    (
        "maintenance",
        &[
            ("1", "must be true, false, or a table such as"),
            ("{ on = 1 }", "true or false"),
            ("{ allow = 'x' }", "must be an address"),
            ("{ paths = ['health'] }", "must begin with a slash"),
            ("{ retry_after = 0 }", "clients would come back at once"),
            ("{ retry_after = 1.5 }", "must be whole seconds"),
            ("{ path = '/a' }", "did you mean paths?"),
        ],
    ),
];

fn config(file: &str) -> Config {
    match given(&["a:b"], &[], Some(file)) {
        Ok(resolved) => resolved.config,
        Err(mistakes) => panic!("{file}: {mistakes:?}"),
    }
}

#[test]
fn an_error_in_a_table_has_the_line_of_its_key() {
    let file = "\
[[mount]]
path = '/shop'
app = 'shop:app'

[[mount]]
path = '/admin'
app = 'admin:app'
allow = ['10.0.0.0/8']
priority = 'urgent'

[[mount]]
app = 'c:d'
";
    assert_eq!(
        refused(&["a:b"], &[], Some(file)),
        "mount = { path = \"/admin\", priority = \"urgent\" } (from lockgate.toml line 9): must be low, normal or high"
    );
    let file = file.replace("urgent", "high");
    assert_eq!(
        refused(&["a:b"], &[], Some(&file)),
        "mount = { app = \"c:d\" } (from lockgate.toml line 12): needs a path, such as path = \"/admin\", or a host"
    );
}

#[test]
fn a_table_is_for_the_file_only() {
    for (arguments, variables, expected) in [
        (
            &["a:b", "--mount", "/x=y"][..],
            &[][..],
            "--mount: is available in the file only: [[mount]]",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_REDIRECT", "x")],
            "LOCKGATE_REDIRECT: is available in the file only: [[redirect]]",
        ),
    ] {
        assert_eq!(refused(arguments, variables, None), expected);
    }
}

#[test]
fn a_mount_is_an_application_with_rules() {
    let config = config(
        "\
max_worker_age = '1h'
[[mount]]
path = '/admin/'
host = '*.Shop.example.'
app = 'shop.admin:app'
chdir = 'admin'
env = { A = 'b', 'C.D' = 'e' }
threads = '12.5%'
priority = 'high'
max_body = '10MiB'
request_timeout = 0
queue_timeout = '2s'
[[route]]
path = '/'
threads = 4
",
    );
    let [mount, route] = config.routes.routes.as_slice() else {
        panic!("{:?}", config.routes);
    };
    assert_eq!(mount.host, HostPattern::Below("shop.example".to_owned()));
    assert_eq!(mount.path, "/admin");
    let app = mount.mount.as_ref().unwrap();
    assert_eq!(app.app.to_string(), "shop.admin:app");
    assert_eq!(app.chdir, Some(PathBuf::from("admin")));
    let pairs = [("A", "b"), ("C.D", "e")];
    assert_eq!(
        app.env,
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let rules = &mount.rules;
    assert_eq!(rules.threads, Some(ThreadShare::Share(1250)));
    assert_eq!(rules.priority, Some(Priority::High));
    assert_eq!(rules.max_body, Some(10 << 20));
    assert_eq!(rules.request_timeout, Some(None));
    assert_eq!(rules.queue_timeout, Some(Some(Duration::from_secs(2))));
    assert_eq!((route.path.as_str(), &route.mount), ("", &None));
    assert_eq!(config.routes.mounts().count(), 1);
}

#[test]
fn rules_of_the_server_are_at_the_top_level() {
    let config = config(
        "\
allow = ['10.0.0.0/8']
deny = '10.0.0.1'
basic_auth = 'users'
response_headers = { X-Frame-Options = 'DENY', X-Debug = false }
error_pages = { 503 = 'busy.html' }
[forward_auth]
url = 'http://[::1]/verify?x=1'
copy = ['Remote-User', 'Remote-Groups']
",
    );
    let rules = &config.routes.server;
    let addresses = rules.addresses.as_ref().unwrap();
    assert!(
        addresses
            .allow
            .as_ref()
            .unwrap()
            .contains([10, 0, 0, 1].into())
    );
    assert!(addresses.deny.contains([10, 0, 0, 1].into()));
    let auth = rules.basic_auth.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(
        (auth.users.as_path(), auth.realm.as_str()),
        (Path::new("users"), "restricted")
    );
    let forward = rules.forward_auth.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(forward.url.to_string(), "http://[::1]:80/verify?x=1");
    assert_eq!(forward.copy, ["Remote-User", "Remote-Groups"]);
    assert_eq!(forward.timeout, Duration::from_secs(5));
    let edits: Vec<_> = rules
        .response_headers
        .iter()
        .map(|edit| (edit.name.as_str(), edit.value.as_deref()))
        .collect();
    assert_eq!(
        edits,
        [("X-Frame-Options", Some("DENY")), ("X-Debug", None)]
    );
    assert_eq!(rules.error_pages, [(503, PathBuf::from("busy.html"))]);
}

#[test]
fn a_route_turns_off_what_it_would_inherit() {
    let config = config(
        "[[route]]\npath = '/a'\nbasic_auth = false\nforward_auth = false\nclient_certificate = false\nallow = '*'",
    );
    let [RouteConfig { rules, .. }] = config.routes.routes.as_slice() else {
        panic!("{:?}", config.routes);
    };
    assert_eq!(rules.basic_auth, Some(None));
    assert_eq!(rules.forward_auth, Some(None));
    assert_eq!(rules.client_certificate, Some(None));
    assert!(
        rules
            .addresses
            .as_ref()
            .unwrap()
            .allow
            .as_ref()
            .unwrap()
            .contains([1, 2, 3, 4].into())
    );
}

#[test]
fn redirects_and_rewrites_are_hosts_and_paths() {
    let any = || HostPattern::Any;
    let exact = |path: &str| Some(PathPattern::Exact(path.to_owned()));
    let below = |path: &str| Some(PathPattern::Below(path.to_owned()));
    let host = |name: &str| HostPattern::Exact(name.to_owned());
    let cases = [
        (
            "www.shop.example",
            "https://shop.example",
            host("www.shop.example"),
            None,
            ("https://shop.example", None),
        ),
        ("/old", "/new", any(), exact("/old"), ("/new", None)),
        ("/old/", "/old", any(), exact("/old/"), ("/old", None)),
        (
            "/é x/*",
            "/new/*?x=1",
            any(),
            below("/é x/"),
            ("/new/", Some("?x=1")),
        ),
        (
            "/*",
            "https://b/*",
            any(),
            below("/"),
            ("https://b/", Some("")),
        ),
        (
            "WWW.a./old/*",
            "https://a/b?c=*#d",
            host("www.a"),
            below("/old/"),
            ("https://a/b?c=", Some("#d")),
        ),
        (
            "/a",
            "/login?next=http://b/a",
            any(),
            exact("/a"),
            ("/login?next=http://b/a", None),
        ),
        (
            "*.a.example",
            "https://a.example",
            HostPattern::Below("a.example".to_owned()),
            None,
            ("https://a.example", None),
        ),
        (
            "/a",
            "https://other.example/a",
            any(),
            exact("/a"),
            ("https://other.example/a", None),
        ),
    ];
    for (from, to, host, path, (start, end)) in cases {
        let file = format!("[[redirect]]\nfrom = '{from}'\nto = '{to}'\nstatus = 302");
        let config = config(&file);
        let [redirect] = config.routes.redirects.as_slice() else {
            panic!("{file}");
        };
        let target = Target {
            start: start.to_owned(),
            end: end.map(str::to_owned),
        };
        assert_eq!(
            (&redirect.host, &redirect.path, &redirect.to),
            (&host, &path, &target),
            "{file}"
        );
        assert_eq!(redirect.status, 302);
    }
    let config = config(
        "redirect = [{ from = '/a', to = '/b' }]\n[[rewrite]]\nfrom = 'a.example/x/*'\nto = '/y/*'",
    );
    assert_eq!(config.routes.redirects[0].status, 308);
    let rewrite = &config.routes.rewrites[0];
    assert_eq!(
        (&rewrite.host, Some(&rewrite.path)),
        (&host("a.example"), below("/x/").as_ref())
    );
}

#[test]
fn what_is_printed_means_the_same() {
    for file in [
        "mount = [{ host = '*.a.example', app = 'c:d(\"x\")', env = { 'A B' = 'c\"' }, session = false, chdir = '/x', allow = ['10.0.0.0/8'], deny = '::1', basic_auth = { users = '/u', realm = 'r' } }, { path = '/é', app = 'e', basic_auth = false }]",
        "route = [{ path = '/', threads = '12.5%' }, { path = '/a', threads = 3, priority = 'low', max_body = 0, request_timeout = '1500ms', queue_timeout = 0 }, { host = '[::1]', forward_auth = { url = 'unix:/a:/b', copy = ['A'] }, client_certificate = false, request_headers = { 'A.b' = false, C = 'd' }, error_pages = { 503 = 'x', 404 = 'y' } }]",
        "redirect = [{ from = 'a/b/*', to = '/c/*?d', status = 301 }, { from = '/x/', to = 'https://a' }]\nrewrite = [{ from = '*.a/b', to = '/c' }]",
        "rate_limit = ['/a=5/min', { rate = ['1/s', '7/90s'], key = 'cookie:a', burst = 2, methods = ['GET', 'POST'] }, { path = '/a', name = 'b', concurrency = 2, key = 'all', dry_run = true }, { host = 'a', rate = '1/d', key = 'header:x' }]",
        "basic_auth = { users = '/u', realm = 'r' }\nforward_auth = { url = 'http://a/b', timeout = '100ms' }\nresponse_headers = { A = '\\b', C = false }",
        "client_certificate = { names = ['a, b'], groups = ['c'] }\ncert_reqs = 1\nca_certs = '/x'",
    ] {
        let first = given(&["a:b"], &[], Some(file)).expect(file);
        let printed = first.print();
        let second = given(&[], &[], Some(&printed)).expect(&printed);
        assert_eq!(first.config.routes, second.config.routes, "{printed}");
        assert_ne!(
            first.config.routes,
            crate::RoutesConfig::default(),
            "{file}"
        );
    }
}

#[test]
fn what_settings_require_of_each_other_is_checked() {
    for (file, message) in [
        (
            "[[mount]]\npath = '/a'\napp = 'c:d'\n[[route]]\npath = '/a'\nthreads = 1",
            "route = { path = \"/a\" } (from lockgate.toml line 4): has the host and path of a [[mount]]; write its rules there",
        ),
        (
            "[[route]]\nhost = 'b'\nclient_certificate = true",
            "route = { host = \"b\" } (from lockgate.toml line 1): client_certificate needs cert_reqs = \"optional\" or \"required\", and ca_certs",
        ),
    ] {
        assert_eq!(refused(&["a:b"], &[], Some(file)), message);
    }
    let notes = given(&["a:b", "--rate-limit-redis", "redis://h"], &[], None)
        .unwrap()
        .notes;
    assert_eq!(notes, ["rate_limit_redis has no effect without rate_limit"]);
}

#[test]
fn relative_paths_of_routes_begin_in_chdir() {
    let mut config = config(
        "chdir = 'shop'\nerror_pages = { 503 = 'a' }\n[[mount]]\npath = '/b'\napp = 'c:d'\nchdir = 'e'\nbasic_auth = 'f'",
    );
    config.make_absolute(Path::new("/srv"));
    assert_eq!(
        config.routes.server.error_pages[0].1,
        Path::new("/srv/shop/a")
    );
    let (route, mount) = config.routes.mounts().next().unwrap();
    assert_eq!(mount.chdir.as_deref(), Some(Path::new("/srv/shop/e")));
    let users = route.rules.basic_auth.clone().flatten().unwrap().users;
    assert_eq!(users, Path::new("/srv/shop/f"));
}
