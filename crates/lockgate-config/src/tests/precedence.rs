//! Tests of precedence: the stronger source wins, for every setting and every set of sources.

use super::{Arguments, File, Variables, given};
use crate::{Origin, Setting, Shape, settings};

/// For each setting three different values: for the flag, the file (as TOML) and the variable.
const SAMPLES: &[(&str, &str, &str, &str)] = &[
    ("app", "a:flag", "'a:file'", "a:variable"),
    ("paste", "a.ini", "'b.ini#x'", "c.conf"),
    ("paste_global", "A=1", "['B=2']", "C=3"),
    ("root_path", "/a", "'/b/'", "/c/d"),
    ("chdir", "/a", "'/b'", "/c"),
    ("pythonpath", "/a,/b", "['/c', '/d']", "/e"),
    ("env", "A=1", "{ B = '2' }", "C=3\nD=4"),
    ("bind", ":1", "[':2', 'unix:/x']", "fd://3"),
    ("admin_bind", "unix:/x", "'127.0.0.1:9'", "localhost:8"),
    ("admin_actions", "true", "false", "yes"),
    ("admin_show", "targets", "'paths'", "targets"),
    ("certfile", "/a", "'/b'", "/c"),
    ("keyfile", "/a", "'/b'", "/c"),
    (
        "certificates",
        "/a:/b,/c",
        "[{ certfile = '/d', keyfile = '/e', keyfile_password_file = '/f' }, { certfile = '/g' }]",
        "/h",
    ),
    ("keyfile_password_file", "/a", "'/b'", "/c"),
    ("ca_certs", "/a", "'/b'", "/c"),
    ("cert_reqs", "2", "'optional'", "CERT_NONE"),
    ("client_certificate_user", "CN", "'email'", "dn"),
    ("ssl_variables", "true", "false", "auto"),
    ("ciphers", "AESGCM", "'CHACHA20'", "HIGH"),
    ("tls_min_version", "1.3", "1.2", "TLSv1.3"),
    ("tls_handshake_timeout", "1", "2", "3"),
    ("https_redirect", "true", "443", "no"),
    ("hsts", "true", "600", "max-age=60; includeSubDomains"),
    (
        "domain",
        "a.example",
        "['B.example', 'localhost']",
        "::1, c",
    ),
    ("acme_email", "a@b.example", "'c@d.example'", "e@f"),
    (
        "acme_directory",
        "https://a",
        "'https://b/dir'",
        "https://c",
    ),
    (
        "acme_fallback_directory",
        "https://a",
        "'https://d/dir'",
        "https://e",
    ),
    ("acme_eab_key_id", "a", "'b'", "1"),
    ("acme_eab_hmac_key_file", "/a", "'/b'", "/c"),
    ("acme_dir", "/a", "'/b'", "/c"),
    ("acme_ca_certs", "/a", "'/b'", "/c"),
    ("uwsgi_module", "true", "false", "yes"),
    ("uwsgi_opt", "a=1", "{ b = [1, 2], c = true }", "d=3\ne"),
    (
        "uwsgi_cache",
        "name=a,items=1",
        "[{ name = 'b', items = 2, bitmap = true }]",
        "name=c,items=3\nname=d,items=4",
    ),
    ("uwsgi_locks", "1", "2", "3"),
    ("master_fifo", "/a,/b", "['/c']", "/d"),
    ("uwsgi_stats", "127.0.0.1:1", "'/y'", "none"),
    ("http2", "true", "false", "h2,h1"),
    ("http2_max_concurrent_streams", "1", "2", "3"),
    ("push", "true", "false", "yes"),
    ("push_memory", "1M", "'2MiB'", "3M"),
    ("push_message_limit", "1K", "'2KiB'", "3K"),
    ("push_channels", "1", "2", "3"),
    ("push_redis", "redis://a", "'redis://b:1/2'", "rediss://c"),
    ("grip_key_file", "/a", "'/b'", "/c"),
    ("websocket_over_http", "/a", "['/b', '/c/']", "/e, /f"),
    ("backlog", "1", "2", "3"),
    ("reuse_port", "true", "false", "1"),
    ("workers", "1", "2", "auto"),
    ("threads", "1", "'auto'", "3"),
    ("event_loops", "1", "2", "3"),
    ("worker_class", "sync", "'gthread'", "gevent"),
    ("thread_idle_timeout", "1", "'2m'", "0"),
    ("gc", "off", "'idle'", "freeze"),
    ("switch_interval", "1ms", "'500us'", "0.002"),
    ("allow_patched_threads", "true", "false", "yes"),
    ("worker_connections", "1", "2", "3"),
    ("queue_size", "1", "2", "3"),
    ("queue_timeout", "1", "'2m'", "0"),
    ("request_timeout", "1", "'2m'", "0"),
    ("slow_request", "1", "'2m'", "500ms"),
    ("timeout", "1", "'2m'", "0"),
    ("graceful_timeout", "1", "2.5", "3"),
    ("drain_delay", "1", "2.5", "3"),
    ("readiness_path", "/a", "'/b'", "/c"),
    ("keep_alive", "1", "2", "3"),
    ("head_timeout", "1", "2", "3"),
    ("body_timeout", "1", "2", "3"),
    ("body_min_rate", "1", "0", "3K"),
    ("write_timeout", "1", "2", "3"),
    ("write_min_rate", "1", "0", "3K"),
    ("limit_request_line", "1K", "2000", "3K"),
    ("limit_request_fields", "1", "2", "3"),
    ("limit_request_field_size", "1K", "'2KiB'", "3K"),
    ("limit_request_head", "10K", "20_000", "30K"),
    ("limit_request_body", "1K", "0", "3K"),
    ("limit_chunk_line", "1K", "'16'", "3K"),
    ("limit_trailers", "1K", "2", "3K"),
    ("limit_requests_per_connection", "1", "0", "3"),
    ("limit_connections_per_address", "1", "0", "3"),
    ("stream_request_body", "/a", "['/b', '/c/']", "/e, /f"),
    ("body_memory", "1K", "0", "3K"),
    ("body_memory_total", "1M", "0", "3M"),
    ("spool_dir", "/a", "'/b'", "/c"),
    (
        "forwarded_allow_ips",
        "10.0.0.1",
        "['::1', '10.0.0.0/8']",
        "*",
    ),
    ("forwarded_headers", "off", "'forwarded'", "X-Forwarded"),
    ("forwarded_host", "true", "false", "1"),
    ("forwarded_prefix", "true", "false", "1"),
    (
        "secure_scheme_headers",
        "A=b",
        "{ C = 'd', E = 'f' }",
        "G=h,I=j",
    ),
    ("strip_untrusted_headers", "true", "false", "1"),
    ("forwarder_headers", "*", "['A_B']", "C_D,E"),
    ("header_map", "refuse", "'drop'", "refuse"),
    ("proxy_protocol", "v1", "true", "off"),
    ("proxy_allow_ips", "10.0.0.1", "[]", "*"),
    ("protocol", "uwsgi", "'http'", "UWSGI"),
    ("uwsgi_allow_ips", "10.0.0.1", "[]", "*"),
    ("warmup", "/a", "['/b', '/c?d=1']", "/e, /f"),
    ("boot_timeout", "10", "'1m'", "90s"),
    ("preload", "true", "false", "1"),
    ("reload", "true", "false", "1"),
    ("reload_extra_files", "/a", "['/b', '/c/*.html']", "/d, /e"),
    ("canary_period", "30s", "'1m'", "10"),
    ("canary_max_error_increase", "1%", "'12.5%'", "0%"),
    ("max_requests", "1000", "2000", "0"),
    ("max_requests_jitter", "10", "20", "30"),
    ("max_worker_age", "1h", "7200", "90s"),
    ("max_worker_memory", "256MiB", "'25%'", "500MB"),
    ("max_worker_memory_hard", "8GiB", "'50%'", "9GiB"),
    ("worker_memory_measure", "pss", "'rss'", "PSS"),
    ("server_header", "a", "''", "c"),
    ("sendfile", "true", "false", "yes"),
    (
        "request_headers",
        "A=b,c",
        "{ D = 'e', F = false }",
        "G=h\nI=",
    ),
    (
        "response_headers",
        "A=b,c",
        "{ D = 'e', F = false }",
        "G=h\nI=",
    ),
    (
        "error_pages",
        "503=a",
        "{ 404 = 'b', 500 = 'c' }",
        "400=d\n401=e",
    ),
    (
        "rate_limit",
        "5/min",
        "[{ path = '/a', rate = ['5/s', '9/10s'], concurrency = 3 }]",
        "/a=1/s,/b=2/h",
    ),
    (
        "maintenance",
        "true",
        "{ allow = ['10.0.0.1'], paths = '/a' }",
        "false",
    ),
    ("rate_limit_memory", "1M", "'2MiB'", "3M"),
    (
        "rate_limit_redis",
        "redis://a",
        "'redis://b:1/2'",
        "rediss://c",
    ),
    ("allow", "10.0.0.1", "['::1', '10.0.0.0/8']", "*"),
    ("deny", "10.0.0.1", "['::1', '10.0.0.0/8']", "*"),
    ("basic_auth", "/a", "{ users = '/b', realm = 'c' }", "/d"),
    (
        "forward_auth",
        "http://a",
        "{ url = 'unix:/b:/c', copy = ['D'], timeout = 3 }",
        "http://e:1/f",
    ),
    ("request_id", "true", "false", "yes"),
    ("request_start", "true", "false", "yes"),
    ("trace", "true", "false", "yes"),
    ("otlp", "http://a:1/b", "'http://[::1]'", "http://c"),
    ("otlp_sample", "10%", "'12.5%'", "0%"),
    ("otlp_service", "a", "'b'", "c"),
    ("otlp_interval", "1", "'500ms'", "2s"),
    ("otlp_metrics", "true", "false", "yes"),
    ("otlp_logs", "true", "false", "yes"),
    ("otlp_metrics_interval", "10", "'30s'", "2m"),
    (
        "session",
        "redis://a",
        "{ store = 'sqlite:/a', idle = 0 }",
        "true",
    ),
    ("client_certificate", "true", "{ names = ['a'] }", "false"),
    ("static", "/a=b", "'auto'", "/c=d,/e=f"),
    ("static_open_files", "1", "0", "2"),
    ("static_memory", "1MiB", "0", "128K"),
    ("static_valid", "1m", "0", "2"),
    ("compress", "true", "false", "yes"),
    ("compress_types", "text/*", "['a/b']", "c/d,e/f"),
    ("compress_min_size", "1", "0", "2K"),
    ("compress_jitter", "true", "false", "1"),
    ("cache", "8MiB", "true", "9MiB"),
    ("cache_entry_limit", "1KiB", "2048", "3K"),
    ("cache_lock_timeout", "1", "0", "2"),
    ("cache_ignore_query", "a", "['b']", "c,d"),
    ("cache_redis", "redis://a", "''", "redis://b"),
    ("access_logfile", "-", "'/b'", "none"),
    ("error_logformat", "json", "'text'", "JSON"),
    ("log_style", "gunicorn", "'lockgate'", "GUNICORN"),
    ("statsd_host", "a:1", "'unix:///b'", "c"),
    ("statsd_prefix", "a", "'b'", "c.d"),
    ("dogstatsd_tags", "a:b", "'c:d'", "e:f,g:h"),
    ("enable_backlog_metric", "true", "false", "1"),
    ("log_timezone", "local", "'utc'", "LOCAL"),
    ("capture_output", "true", "false", "1"),
    ("log_query", "false", "true", "no"),
    ("access_logformat", "common", "'json'", "%(h)s"),
    ("logger_class", "a.B", "'c.D'", "e.F"),
    ("log_config", "/a", "'/b'", "/c"),
    ("log_config_json", "/a", "'/b'", "/c"),
    ("error_logfile", "-", "'/b'", "/c"),
    ("log_level", "debug", "'error'", "WARNING"),
    ("user", "a", "1000", "c"),
    ("group", "a", "1000", "c"),
    ("umask", "022", "0o77", "0"),
    ("pid", "/a", "'/b'", "/c"),
    ("name", "a", "'b'", "c"),
];

/// Settings that others need: their names, and lines of the file.
const COMPANIONS: &[(&str, &str)] = &[
    ("keyfile", "certfile = '/x'"),
    ("keyfile_password_file", "certfile = '/x'"),
    ("ca_certs", "cert_reqs = 1"),
    ("cert_reqs", "ca_certs = '/x'"),
    ("client_certificate_user", "cert_reqs = 1\nca_certs = '/x'"),
    ("client_certificate", "cert_reqs = 1\nca_certs = '/x'"),
    ("acme_eab_key_id", "acme_eab_hmac_key_file = '/x'"),
    ("acme_eab_hmac_key_file", "acme_eab_key_id = 'x'"),
];

fn companions(setting: &Setting) -> &'static str {
    let found = COMPANIONS.iter().find(|(name, _)| *name == setting.name);
    found.map_or("", |(_, lines)| lines)
}

/// The lines of the settings in `--print-config`, with their origins.
fn printed(
    setting: &Setting,
    flag: Option<&str>,
    file: Option<&str>,
    variable: Option<&str>,
) -> (String, Origin) {
    let mut arguments = Vec::new();
    match (flag, setting.shape, setting.flag()) {
        (Some(_), Shape::Switch, Some(name)) => arguments.push(name),
        (Some(value), _, Some(name)) => arguments.extend([name, value.to_owned()]),
        (Some(value), _, None) => arguments.push(value.to_owned()),
        (None, ..) => {}
    }
    if setting.name != "app" {
        arguments.push("a:b".to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let name = setting.variable().expect(setting.name);
    let variables: Vec<_> = variable
        .map(|value| (name.as_str(), value))
        .into_iter()
        .collect();
    let file = file.map(|value| format!("\n{} = {value}\n", setting.name));
    let is_set = file.is_some() || flag.is_some() || variable.is_some();
    let file = file.unwrap_or_default() + if is_set { companions(setting) } else { "" };
    let resolved = given(&arguments, &variables, Some(&file)).expect(setting.name);
    let start = format!("{} = ", setting.name);
    let line = resolved
        .print()
        .lines()
        .find(|line| line.starts_with(&start))
        .map(str::to_owned);
    (
        line.expect(setting.name),
        resolved.origins.of(setting.name).clone(),
    )
}

#[test]
fn flags_win_over_the_file_and_the_file_over_variables() {
    for setting in settings().filter(|setting| setting.shape != Shape::Tables) {
        let &(_, flag, file, variable) = SAMPLES
            .iter()
            .find(|(name, ..)| *name == setting.name)
            .expect(setting.name);
        let by_flag = printed(setting, Some(flag), None, None);
        let by_file = printed(setting, None, Some(file), None);
        let by_variable = printed(setting, None, None, Some(variable));
        assert_ne!(by_flag.0, by_file.0);
        assert_ne!(by_file.0, by_variable.0);
        assert_eq!(
            printed(setting, Some(flag), Some(file), Some(variable)),
            by_flag
        );
        assert_eq!(printed(setting, Some(flag), Some(file), None), by_flag);
        assert_eq!(printed(setting, Some(flag), None, Some(variable)), by_flag);
        assert_eq!(printed(setting, None, Some(file), Some(variable)), by_file);
        let expected = setting.flag().map_or(Origin::Argument, Origin::Flag);
        assert_eq!(by_flag.1, expected);
        assert_eq!(
            by_file.1,
            Origin::File {
                path: "lockgate.toml".into(),
                line: 2
            }
        );
        assert_eq!(
            by_variable.1,
            Origin::Variable(setting.variable().expect(setting.name))
        );
        if setting.name != "app" {
            assert_eq!(printed(setting, None, None, None).1, Origin::Default);
        }
    }
}

#[test]
fn gunicorns_names_mean_the_same_in_the_file() {
    for setting in settings() {
        for alias in setting.gunicorn {
            let &(_, _, value, _) = SAMPLES
                .iter()
                .find(|(name, ..)| *name == setting.name)
                .expect(setting.name);
            let file = format!("{alias} = {value}\n{}", companions(setting));
            let arguments = if setting.name == "app" {
                vec![]
            } else {
                vec!["a:b"]
            };
            let by_alias = given(&arguments, &[], Some(&file)).expect(alias);
            let file = format!("{} = {value}\n{}", setting.name, companions(setting));
            let by_name = given(&arguments, &[], Some(&file)).expect(setting.name);
            assert_eq!(by_alias.config, by_name.config, "{alias}");
        }
    }
}

#[test]
fn the_platforms_variables_are_weaker_than_ours() {
    const PLATFORM: (&str, &str) = ("WEB_CONCURRENCY", "3");
    const PORT: (&str, &str) = ("PORT", "5000");
    const SOCKETS: (&str, &str) = ("LISTEN_FDS", "2");
    let cases: [(Arguments, Variables, File, usize, &str); 11] = [
        (&[], &[SOCKETS, PORT], None, 2, "systemd"),
        (&["-b:3"], &[SOCKETS], None, 2, "0.0.0.0:3"),
        (
            &[],
            &[("LISTEN_FDS", "0"), PLATFORM, PORT],
            None,
            3,
            "0.0.0.0:5000",
        ),
        (&[], &[PLATFORM, PORT], None, 3, "0.0.0.0:5000"),
        (
            &[],
            &[PLATFORM, ("LOCKGATE_WORKERS", "4")],
            None,
            4,
            "127.0.0.1:8000",
        ),
        (&[], &[PORT, ("LOCKGATE_BIND", ":1")], None, 2, "0.0.0.0:1"),
        (
            &[],
            &[PLATFORM, PORT],
            Some("workers = 5\nbind = ':2'"),
            5,
            "0.0.0.0:2",
        ),
        (&["-w6", "-b:3"], &[PLATFORM, PORT], None, 6, "0.0.0.0:3"),
        (
            &[],
            &[("WEB_CONCURRENCY", ""), ("PORT", "")],
            None,
            2,
            "127.0.0.1:8000",
        ),
        // Where they are overridden they are not checked: they are not meant for Lockgate.
        (
            &["-w6", "-b:3"],
            &[("WEB_CONCURRENCY", "many"), ("PORT", "x")],
            None,
            6,
            "0.0.0.0:3",
        ),
        (
            &[],
            &[("WEB_CONCURRENCY", "auto")],
            None,
            2,
            "127.0.0.1:8000",
        ),
    ];
    for (arguments, variables, file, workers, bind) in cases {
        let arguments = [&["a:b"], arguments].concat();
        let resolved = given(&arguments, variables, file).expect("taken");
        assert_eq!(
            resolved.config.workers, workers,
            "{arguments:?} {variables:?} {file:?}"
        );
        assert_eq!(
            resolved.config.bind[0].to_string(),
            bind,
            "{arguments:?} {variables:?} {file:?}"
        );
    }
    let resolved = given(&["a:b"], &[PLATFORM, PORT], None).expect("taken");
    assert_eq!(
        resolved.origins.of("workers").to_string(),
        "WEB_CONCURRENCY"
    );
    assert_eq!(resolved.origins.of("bind").to_string(), "PORT");
    assert_eq!(
        resolved.config.workers_reason,
        "workers = 3 (from WEB_CONCURRENCY)"
    );
}

#[test]
fn gunicorns_variable_for_trusted_proxies_is_weaker_than_ours() {
    const THEIRS: (&str, &str) = ("FORWARDED_ALLOW_IPS", "10.0.0.0/8,::1");
    let cases: [(Variables, File, [&str; 2]); 4] = [
        (&[THEIRS], None, ["10.0.0.0/8", "::1"]),
        (&[("FORWARDED_ALLOW_IPS", "")], None, ["127.0.0.1", "::1"]),
        (
            &[THEIRS, ("LOCKGATE_FORWARDED_ALLOW_IPS", "*,::1")],
            None,
            ["*", "::1"],
        ),
        (
            &[THEIRS],
            Some("forwarded_allow_ips = ['10.0.0.1', '10.0.0.2']"),
            ["10.0.0.1", "10.0.0.2"],
        ),
    ];
    for (variables, file, expected) in cases {
        let taken = given(&["a:b"], variables, file).expect("taken").config;
        let texts: Vec<_> = taken.proxies.trusted.texts().collect();
        assert_eq!(texts, expected, "{variables:?} {file:?}");
    }
}

#[test]
fn script_name_mounts_the_application_as_with_gunicorn() {
    const THEIRS: (&str, &str) = ("SCRIPT_NAME", "/process");
    let cases: [(Arguments, Variables, File, &str, &str); 8] = [
        (&["a:b"], &[THEIRS], None, "/process", "SCRIPT_NAME"),
        (
            &["a:b"],
            &[("SCRIPT_NAME", "deploy.sh")],
            None,
            "",
            "default",
        ),
        (
            &["a:b", "-e", "SCRIPT_NAME=/env/"],
            &[THEIRS],
            None,
            "/env",
            "--env",
        ),
        (&["a:b", "-e", "SCRIPT_NAME="], &[THEIRS], None, "", "--env"),
        (
            &["a:b", "-e", "SCRIPT_NAME=/1", "-e", "SCRIPT_NAME=/2"],
            &[],
            None,
            "/2",
            "--env",
        ),
        (
            &["a:b", "-e", "SCRIPT_NAME=/env"],
            &[("LOCKGATE_ROOT_PATH", "/ours")],
            None,
            "/ours",
            "LOCKGATE_ROOT_PATH",
        ),
        (
            &["a:b", "-e", "SCRIPT_NAME=/env", "--root-path", "/flag"],
            &[THEIRS],
            Some("root_path = '/file'"),
            "/flag",
            "--root-path",
        ),
        (
            &["a:b", "--root-path", ""],
            &[THEIRS],
            None,
            "",
            "--root-path",
        ),
    ];
    for (arguments, variables, file, path, origin) in cases {
        let taken = given(arguments, variables, file).expect("taken");
        assert_eq!(taken.config.root_path, path, "{arguments:?} {variables:?}");
        let found = taken.origins.of("root_path").to_string();
        assert_eq!(found, origin, "{arguments:?} {variables:?}");
        let is_noted = taken.notes.iter().any(|note| note.contains("mounted at"));
        assert_eq!(is_noted, origin == "SCRIPT_NAME", "{:?}", taken.notes);
    }
}

#[test]
fn what_is_printed_is_a_file_that_gives_the_same_configuration() {
    let everything: Vec<String> = SAMPLES
        .iter()
        .map(|(name, _, file, _)| format!("{name} = {file}"))
        .collect();
    for file in ["app = 'a:b'", &everything.join("\n")] {
        let first = given(&[], &[], Some(file)).expect(file);
        let second = given(&[], &[], Some(&first.print())).expect("what was printed is taken");
        let mut config = second.config.clone();
        // The only value that names origins.
        config
            .workers_reason
            .clone_from(&first.config.workers_reason);
        assert_eq!(config, first.config);
    }
}

#[test]
fn a_share_of_memory_is_printed_as_given_and_says_what_it_comes_to() {
    let resolved = given(&["a:b", "--max-worker-memory", "25%"], &[], None).expect("taken");
    assert_eq!(resolved.config.max_worker_memory, 6 << 30);
    let printed = resolved.print();
    let line = printed
        .lines()
        .find(|line| line.starts_with("max_worker_memory ="))
        .expect("printed");
    assert!(line.starts_with("max_worker_memory = \"25%\" "), "{line}");
    assert!(
        line.ends_with(
            "# --max-worker-memory; max_worker_memory = 6GiB of the host's memory of 24.0 GiB"
        ),
        "{line}"
    );
}

#[test]
fn a_configuration_of_nothing_is_the_defaults() {
    let resolved =
        given(&["a:b"], &[("PATH", "/bin"), ("LOCKGATEKEEPER", "1")], None).expect("taken");
    let mut expected =
        crate::Config::with_defaults(crate::AppSpec::parse("a:b").expect("an application"));
    expected.workers = 2;
    expected.workers_reason =
        "workers = 2 (auto: 2 CPUs by affinity, cgroup quota 2.0, memory 24.0 GiB allows 192)"
            .to_owned();
    assert_eq!(resolved.config, expected);
    assert_eq!(resolved.notes, Vec::<String>::new());
}
