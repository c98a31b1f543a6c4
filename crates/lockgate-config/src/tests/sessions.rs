//! Tests of the settings for the identity of requests and for sessions, and of a whole file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{given, refused};
use crate::{OtlpSignal, SameSite, SecretSource, SessionConfig, SessionStore};

/// Values that are refused, and a part of the answer.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    ("request_id", &[("'x'", "true or false")]),
    ("request_start", &[("'x'", "true or false")]),
    ("trace", &[("1", "true or false")]),
    (
        "otlp",
        &[
            ("'https://a'", "must begin with http://"),
            (
                "'collector:4318'",
                "must be a URL such as http://127.0.0.1:4318",
            ),
            ("'http://a b'", "must be a URL such as"),
            ("true", "must be text"),
        ],
    ),
    (
        "otlp_sample",
        &[
            ("10", "must be a percentage"),
            ("'101%'", "from 0% to 100%"),
        ],
    ),
    ("otlp_service", &[("''", "must be the name of a service")]),
    (
        "otlp_interval",
        &[
            ("0", "at least 100ms"),
            ("'2m'", "at most 60s"),
            ("true", "must be a time"),
        ],
    ),
    ("otlp_metrics", &[("'x'", "true or false")]),
    ("otlp_logs", &[("'x'", "true or false")]),
    (
        "otlp_metrics_interval",
        &[("'100ms'", "at least 1s"), ("'2h'", "at most 3600s")],
    ),
    (
        "session",
        &[
            (
                "'memory'",
                "session = \"memory\" (from lockgate.toml line 1): must be cookie, sqlite:PATH, or the URL",
            ),
            (
                "1",
                "session = 1 (from lockgate.toml line 1): must be a table such as [session] with store",
            ),
            (
                "{ store = 'redis://:geheim@' }",
                "session = { store = \"redis://***@\" } (from",
            ),
            (
                "{ secret = 'geheim' }",
                "session = { secret = \"***\" } (from lockgate.toml line 1): must have at least 32 bytes, but has 6; make one with openssl",
            ),
            ("{ secret = [] }", "must have a secret"),
            ("{ secret = 1 }", "must be text or a list of texts"),
            (
                "{ Secret = 'geheim' }",
                "session = { Secret = \"***\" } (from lockgate.toml line 1): unknown key of a session; did you mean secret?",
            ),
            (
                "{ secret = 'abcdefghijklmnopqrstuvwxyz0123456789', secret_file = '/a' }",
                "session = { secret_file = \"***\" } (from lockgate.toml line 1): is one of secret and secret_file; remove the other",
            ),
            ("{ secret_file = '' }", "must be the path of a file"),
            ("{ idle = -1 }", "must not be negative"),
            ("{ absolute = 0.5 }", "must be whole seconds"),
            ("{ store_timeout = 0 }", "cannot wait without a limit"),
            ("{ persistent = 'x' }", "true or false"),
            ("{ name = 'a b' }", "must be the name of a cookie"),
            ("{ name = '__Host-a' }", "must have no prefix"),
            ("{ path = 'a' }", "must begin with a slash"),
            ("{ path = '/a;b' }", "without a semicolon"),
            ("{ domain = 'a b' }", "must be a host name"),
            ("{ secure = 1 }", "true or false"),
            ("{ same_site = 'all' }", "must be Strict, Lax or None"),
            (
                "{ same_site = 'none', secure = false }",
                "must be secure: browsers ignore",
            ),
        ],
    ),
];

fn session(file: &str) -> SessionConfig {
    let resolved = given(&["a:b"], &[], Some(file)).expect(file);
    resolved.config.session.expect(file)
}

#[test]
fn one_word_turns_sessions_on() {
    let default = SessionConfig::default();
    for (file, expected) in [
        ("", None),
        ("session = false", None),
        ("session = ''", None),
        ("session = true", Some(&default)),
        ("session = 'cookie'", Some(&default)),
        ("[session]", Some(&default)),
        ("[session]\nstore = 'cookie'", Some(&default)),
    ] {
        let resolved = given(&["a:b"], &[], Some(file)).expect(file);
        assert_eq!(resolved.config.session.as_ref(), expected, "{file}");
    }
    let off = given(&["a:b", "--session=off"], &[], Some("session = true"));
    assert_eq!(off.unwrap().config.session, None);
}

#[test]
fn a_session_has_a_store_a_secret_lifetimes_and_a_cookie() {
    let session = session(
        "[session]\nstore = 'sqlite:/var/a.db'\nsecret_file = 'secrets'\nidle = '1h'\nabsolute = 0\n\
         store_timeout = '1s'\npersistent = true\nname = 'id'\npath = '/a'\ndomain = '.shop.example'\n\
         secure = true\nhttp_only = false\nsame_site = 'strict'\n",
    );
    assert_eq!(
        session.store,
        SessionStore::Sqlite(PathBuf::from("/var/a.db"))
    );
    assert_eq!(session.source, SecretSource::File(PathBuf::from("secrets")));
    assert_eq!(session.idle, Some(Duration::from_secs(3600)));
    assert_eq!(session.absolute, None);
    assert_eq!(session.store_timeout, Duration::from_secs(1));
    assert!(session.is_persistent);
    let cookie = &session.cookie;
    assert_eq!((cookie.name.as_str(), cookie.path.as_str()), ("id", "/a"));
    assert_eq!(cookie.domain.as_deref(), Some("shop.example"));
    assert_eq!((cookie.secure, cookie.http_only), (Some(true), false));
    assert_eq!(cookie.same_site, Some(SameSite::Strict));
}

#[test]
fn secrets_and_passwords_are_not_printed() {
    let secret = "geheim-geheim-geheim-geheim-geheim";
    let file =
        format!("[session]\nsecret = ['{secret}', '{secret}2']\nstore = 'redis://:geheim@h/1'");
    let resolved = given(&["a:b"], &[], Some(&file)).unwrap();
    let printed = resolved.print();
    assert!(
        printed.contains("session = { store = \"redis://***@h/1\", secret = \"***\" }"),
        "{printed}"
    );
    assert!(!printed.contains("geheim") && !format!("{resolved:?}").contains("geheim"));
    let session = resolved.config.session.unwrap();
    assert_eq!(session.secrets[1].reveal(), format!("{secret}2"));
    assert_eq!(session.store.url().as_deref(), Some("redis://:geheim@h/1"));
}

#[test]
fn without_a_secret_the_server_has_one_of_its_own() {
    for (variables, path) in [
        (&[][..], "/var/lib/lockgate/session_secret"),
        (
            &[("XDG_DATA_HOME", "/home/a")],
            "/home/a/lockgate/session_secret",
        ),
        (
            &[
                ("STATE_DIRECTORY", "/var/lib/shop:/b"),
                ("XDG_DATA_HOME", "/home/a"),
            ],
            "/var/lib/shop/session_secret",
        ),
    ] {
        let mut resolved = given(&["a:b", "--session", "cookie"], variables, None).unwrap();
        resolved.config.make_absolute(Path::new("/srv"));
        let source = resolved.config.session.unwrap().source;
        assert_eq!(source, SecretSource::OwnFile(PathBuf::from(path)));
    }
}

#[test]
fn relative_files_begin_in_chdir() {
    let file = "chdir = 'a'\n[session]\nstore = 'sqlite:s.db'\nsecret_file = 'x'";
    let mut config = given(&["a:b"], &[], Some(file)).unwrap().config;
    config.make_absolute(Path::new("/srv"));
    let session = config.session.unwrap();
    assert_eq!(
        session.store.url().as_deref(),
        Some("sqlite:////srv/a/s.db")
    );
    assert_eq!(
        session.source,
        SecretSource::File(PathBuf::from("/srv/a/x"))
    );
}

#[test]
fn what_is_printed_means_the_same() {
    for value in [
        "true",
        "{ store = 'sqlite:a.db', secret_file = '/x', idle = 0, absolute = '1h', store_timeout = '10ms', persistent = true }",
        "{ store = 'redis+unix:///run/r?db=2', name = 'n', path = '/p', domain = 'd.example', secure = true, http_only = false, same_site = 'None' }",
        "{ same_site = false, secure = false }",
    ] {
        let first = given(&["a:b"], &[], Some(&format!("session = {value}"))).expect(value);
        let printed = first.print();
        let second = given(&[], &[], Some(&printed)).expect(&printed);
        assert_eq!(first.config.session, second.config.session, "{printed}");
    }
    let file = "otlp = 'http://[::1]:4318'\notlp_sample = '12.5%'\notlp_service = 'shop'\notlp_interval = '500ms'\notlp_metrics = true\notlp_metrics_interval = '10s'\nrequest_id = true\ntrace = true\n\
                maintenance = { on = true, allow = ['10.0.0.0/8'], paths = ['/health', '/'], retry_after = '1h' }";
    let first = given(&["a:b"], &[], Some(file)).unwrap();
    let printed = first.print();
    let second = given(&[], &[], Some(&printed)).expect(&printed);
    assert_eq!(first.config.identity, second.config.identity, "{printed}");
    assert_eq!(
        first.config.routes.maintenance, second.config.routes.maintenance,
        "{printed}"
    );
}

#[test]
fn spans_go_to_a_collector() {
    for (url, host, port, path) in [
        (
            "http://127.0.0.1:4318/v1/traces",
            "127.0.0.1",
            4318,
            "/v1/traces",
        ),
        ("http://collector", "collector", 80, "/v1/traces"),
        ("http://[::1]:1/x?y", "::1", 1, "/x?y"),
    ] {
        let config = given(&["a:b", "--otlp", url], &[], None).unwrap().config;
        let otlp = config.identity.otlp.expect(url);
        assert_eq!(
            (otlp.host.as_str(), otlp.port, otlp.path.as_str()),
            (host, port, path)
        );
        assert_eq!((otlp.sample, otlp.service.as_str()), (10_000, "lockgate"));
        assert_eq!(otlp.interval, Duration::from_secs(5));
    }
    for (url, path) in [
        ("http://c", "/v1/metrics"),
        ("http://c/otlp/v1/traces", "/otlp/v1/metrics"),
    ] {
        let config = given(&["a:b", "--otlp", url, "--otlp-metrics"], &[], None);
        let otlp = config.unwrap().config.identity.otlp.expect(url);
        assert_eq!(otlp.path_of(OtlpSignal::Metrics), path, "{url}");
        let logs = path.replace("metrics", "logs");
        assert_eq!(otlp.path_of(OtlpSignal::Logs), logs, "{url}");
        assert_eq!(otlp.metrics_interval, Duration::from_secs(60));
    }
    for switch in ["--otlp-metrics", "--otlp-logs"] {
        let refused = given(&["a:b", "--otlp", "http://c/x", switch], &[], None).unwrap_err();
        let text = refused[0].to_string();
        assert!(text.contains("must end with /v1/traces"), "{text}");
    }
    let resolved = given(&["a:b", "--otlp-sample=1%"], &[], None).unwrap();
    assert_eq!(resolved.config.identity.otlp, None);
    assert_eq!(resolved.notes, ["otlp_sample has no effect without otlp"]);
}

#[test]
fn maintenance_is_a_switch_or_says_what_holds_meanwhile() {
    for (file, is_on, seconds) in [
        ("", false, 300),
        ("maintenance = true", true, 300),
        ("maintenance = false", false, 300),
        ("maintenance = { retry_after = '1h' }", false, 3600),
        ("maintenance = { on = true, allow = '10.0.0.1' }", true, 300),
    ] {
        let config = given(&["a:b"], &[], Some(file)).expect(file).config;
        let maintenance = &config.routes.maintenance;
        assert_eq!(maintenance.is_on, is_on, "{file}");
        assert_eq!(maintenance.retry_after.as_secs(), seconds, "{file}");
    }
}

#[test]
fn the_whole_of_a_site_is_one_file() {
    let file = "\
app = \"shop.wsgi:application\"
domain = [\"shop.example\", \"www.shop.example\"]
acme_email = \"ops@shop.example\"
compress = true
cache = \"64MiB\"
static = [{ path = \"/static\", dir = \"static\", immutable = \"*.????????.*\" }]
rate_limit = [{ path = \"/login\", rate = \"5/min\", burst = 5 }]
[[mount]]
path = \"/admin\"
app = \"shop.admin:app\"
allow = [\"10.0.0.0/8\"]
basic_auth = \"/etc/shop/users\"
[[redirect]]
from = \"www.shop.example\"
to = \"https://shop.example\"
[session]
store = \"redis://cache:6379/1\"
";
    let resolved = given(&[], &[], Some(file)).expect("taken");
    assert_eq!(resolved.notes, [""; 0]);
    let routes = &resolved.config.routes;
    assert_eq!(routes.mounts().count(), 1);
    assert_eq!((routes.redirects.len(), routes.rate_limits.len()), (1, 1));
    assert!(resolved.config.session.is_some());
    let printed = resolved.print();
    let again = given(&[], &[], Some(&printed)).expect(&printed);
    assert_eq!(again.config, resolved.config, "{printed}");
}

#[test]
fn a_table_that_is_wrong_has_the_line_of_its_key() {
    let file = "app = 'a:b'\n\n[session]\nstore = 'cookie'\nidle = 'soon'\n";
    let message = refused(&[], &[], Some(file));
    assert!(
        message.starts_with(
            "session = { idle = \"soon\" } (from lockgate.toml line 5): must be a time"
        ),
        "{message}"
    );
}
