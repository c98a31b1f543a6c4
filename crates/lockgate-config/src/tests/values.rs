//! Tests of values, valid and invalid, of each setting.

use std::path::PathBuf;
use std::time::Duration;

use super::{File, Variables, given, refused};
use crate::kind::Kind;
use crate::{
    Bind, BindAddress, Collection, Config, LogLevel, LogTarget, ProxyVersion, Threads, settings,
};

/// The configuration that one flag with one value gives.
fn config(flag: &str, value: &str) -> Config {
    given(&[flag, value, "a:b"], &[], None).expect(value).config
}

#[test]
fn every_setting_refuses_what_it_cannot_mean() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        (
            "app",
            &[
                ("'my-app'", "did you mean my_app?"),
                ("1", "is not a Python name"),
                ("['a']", "must be text"),
            ],
        ),
        (
            "chdir",
            &[("true", "must be text"), ("\"a\\nb\"", "line break")],
        ),
        (
            "pythonpath",
            &[("1", "a list of texts"), ("[['a']]", "a list of texts")],
        ),
        (
            "env",
            &[
                (
                    "'A'",
                    "env = \"A\" (from lockgate.toml line 1): must be KEY=VALUE",
                ),
                ("['=1']", "valid"),
                ("[1]", "must be KEY=VALUE"),
                (
                    "{ A = 1 }",
                    "env = A = 1 (from lockgate.toml line 1): the value of a variable must be text",
                ),
                ("1", "or a table"),
            ],
        ),
        (
            "worker_class",
            &[
                ("'tornado'", "is not supported; "),
                ("1", "is not supported"),
            ],
        ),
        (
            "bind",
            &[
                ("[]", "at least one address"),
                ("''", "at least one address"),
                (
                    "[':1', ':1']",
                    "bind = \":1\" (from lockgate.toml line 1): is listed twice",
                ),
                ("':x'", "the port must be"),
                ("8000", "a list of texts, such as \"127.0.0.1:8000\""),
            ],
        ),
        (
            "backlog",
            &[
                ("0", "at least 1"),
                ("65536", "at most 65535"),
                ("'auto'", "a whole number"),
            ],
        ),
        (
            "reuse_port",
            &[("1", "true or false"), ("'maybe'", "true or false")],
        ),
        (
            "workers",
            &[
                ("0", "must be at least 1, or \"auto\""),
                ("-1", "at least 1"),
                ("4097", "at most 4096"),
                ("'x'", "\"auto\""),
            ],
        ),
        (
            "threads",
            &[
                ("0", "must be at least 1, or \"auto\""),
                ("4097", "at most 4096"),
                ("1.5", "whole number"),
            ],
        ),
        (
            "event_loops",
            &[
                ("0", "at least 1"),
                ("65", "at most 64"),
                ("'auto'", "whole number"),
            ],
        ),
        (
            "worker_connections",
            &[("0", "at least 1"), ("1000001", "at most 1000000")],
        ),
        (
            "queue_size",
            &[("0", "at least 1"), ("'auto'", "whole number")],
        ),
        (
            "queue_timeout",
            &[("-1", "negative"), ("'soon'", "must be a time")],
        ),
        (
            "thread_idle_timeout",
            &[("-1", "negative"), ("'soon'", "must be a time")],
        ),
        (
            "request_timeout",
            &[("-1", "negative"), ("'soon'", "must be a time")],
        ),
        (
            "slow_request",
            &[("-1", "negative"), ("0.0001", "at least 1ms")],
        ),
        (
            "timeout",
            &[
                ("-1", "negative"),
                ("'30x'", "must be a time"),
                ("true", "must be a time"),
            ],
        ),
        (
            "graceful_timeout",
            &[("-1", "negative"), ("'9000h'", "at most 8760h")],
        ),
        (
            "drain_delay",
            &[("-1", "negative"), ("'soon'", "must be a time")],
        ),
        ("readiness_path", &[("'readyz'", "one slash")]),
        (
            "keep_alive",
            &[("-1", "negative"), ("nan", "must be a time")],
        ),
        (
            "head_timeout",
            &[("0", "forever"), ("0.0001", "at least 1ms")],
        ),
        ("body_timeout", &[("0", "forever")]),
        (
            "body_min_rate",
            &[
                ("-1", "negative"),
                ("'2MiB'", "at most 1MiB"),
                ("'1s'", "must be a size"),
            ],
        ),
        ("write_timeout", &[("'0s'", "forever")]),
        ("write_min_rate", &[("0.5", "must be a size")]),
        (
            "limit_request_line",
            &[("63", "at least 64"), ("'2MiB'", "at most 1MiB")],
        ),
        ("limit_request_fields", &[("32769", "at most 32768")]),
        ("limit_request_field_size", &[("1", "at least 64")]),
        (
            "limit_request_head",
            &[
                ("0", "cannot be unlimited"),
                ("1023", "at least 1KiB"),
                ("'1GiB'", "at most 16MiB"),
            ],
        ),
        (
            "limit_request_body",
            &[
                ("-1", "negative"),
                ("'lots'", "must be a size"),
                ("1.5", "must be a size"),
            ],
        ),
        (
            "limit_chunk_line",
            &[
                ("0", "cannot be unlimited"),
                ("15", "at least 16"),
                ("'65K'", "at most 64KiB"),
            ],
        ),
        (
            "limit_trailers",
            &[("0", "write 2"), ("'17MiB'", "at most 16MiB")],
        ),
        (
            "limit_requests_per_connection",
            &[("-1", "at least 0"), ("1000000001", "at most 1000000000")],
        ),
        (
            "limit_connections_per_address",
            &[("-1", "at least 0"), ("1000001", "at most 1000000")],
        ),
        (
            "body_memory",
            &[("-1", "negative"), ("'2GiB'", "at most 1GiB")],
        ),
        (
            "stream_request_body",
            &[
                ("'upload'", "must begin with a slash"),
                ("['/a', '/b?c']", "no space, query"),
                ("7", "a list of texts"),
            ],
        ),
        (
            "body_memory_total",
            &[("-1", "negative"), ("'2048GiB'", "at most 1024GiB")],
        ),
        ("spool_dir", &[("1979-05-27", "must be text")]),
        (
            "forwarded_allow_ips",
            &[
                (
                    "['::1', 'localhost']",
                    "forwarded_allow_ips = \"localhost\" (from lockgate.toml line 1): must be an address such as 10.0.0.1",
                ),
                ("'10.1.2.3/8'", "the network is 10.0.0.0/8"),
                ("'10.0.0.0/33'", "from 0 to 32"),
                ("true", "a list of texts"),
            ],
        ),
        (
            "forwarded_headers",
            &[
                ("'both'", "must be auto, x-forwarded, forwarded or off"),
                ("true", "must be text"),
            ],
        ),
        ("forwarded_host", &[("'x'", "true or false")]),
        ("forwarded_prefix", &[("'x'", "true or false")]),
        (
            "root_path",
            &[
                ("'shop'", "must be a path that begins with one slash"),
                ("'//evil.test'", "must be a path that begins with one slash"),
                ("'/a?b'", "must be a path that begins with one slash"),
                ("1", "must be a path that begins with one slash"),
                ("true", "must be text"),
            ],
        ),
        (
            "secure_scheme_headers",
            &[
                ("'X-FORWARDED-PROTO'", "must be NAME=VALUE"),
                ("{ A = 1 }", "secure_scheme_headers = A = 1 (from"),
                ("['A_B=c']", "must be NAME=VALUE"),
                ("['A=']", "must be NAME=VALUE"),
                ("['A B=c']", "must be NAME=VALUE"),
                ("1", "a list of texts"),
            ],
        ),
        ("strip_untrusted_headers", &[("2", "true or false")]),
        (
            "forwarder_headers",
            &[
                ("'A B'", "is not a valid header name"),
                ("true", "a list of texts"),
            ],
        ),
        (
            "header_map",
            &[
                (
                    "'dangerous'",
                    "list the headers that your proxy sends in forwarder_headers",
                ),
                ("'x'", "must be drop or refuse"),
            ],
        ),
        (
            "proxy_protocol",
            &[
                ("'v3'", "must be off, v1, v2 or auto"),
                ("[]", "must be off, v1, v2 or auto"),
            ],
        ),
        ("proxy_allow_ips", &[("'::1/64'", "the network is ::/64")]),
        (
            "warmup",
            &[
                ("'healthz'", "must begin with a slash"),
                ("['/a', '/b c']", "no space"),
                ("'/a#b'", "fragment"),
                ("7", "a list of texts"),
            ],
        ),
        ("boot_timeout", &[("'soon'", "must be a time")]),
        ("preload", &[("'x'", "true or false")]),
        ("reload", &[("'x'", "true or false")]),
        ("reload_extra_files", &[("1", "a list of texts")]),
        ("canary_period", &[("'soon'", "must be a time")]),
        (
            "canary_max_error_increase",
            &[("5", "must be a percentage"), ("'101%'", "from 0% to 100%")],
        ),
        (
            "max_requests",
            &[("-1", "at least 0"), ("'auto'", "whole number")],
        ),
        ("max_requests_jitter", &[("1.5", "whole number")]),
        ("max_worker_age", &[("'old'", "must be a time")]),
        (
            "max_worker_memory",
            &[("'1MiB'", "must be"), ("'500%'", "from 0% to 100%")],
        ),
        ("max_worker_memory_hard", &[("0.5", "must be a size")]),
        ("worker_memory_measure", &[("'uss'", "must be rss or pss")]),
        (
            "server_header",
            &[
                ("'é'", "printable ASCII"),
                ("\"a\\r\\nb\"", "line break"),
                ("false", "must be text"),
            ],
        ),
        ("sendfile", &[("'x'", "true or false")]),
        (
            "gc",
            &[
                ("'on'", "must be freeze, idle or off"),
                ("true", "must be text"),
            ],
        ),
        ("allow_patched_threads", &[("'perhaps'", "true or false")]),
        (
            "switch_interval",
            &[
                ("0", "must be at least 100us"),
                ("2", "must be at most 1s"),
                ("'fast'", "must be a time, such as 5ms"),
            ],
        ),
        ("access_logfile", &[("true", "must be text")]),
        ("error_logformat", &[("'xml'", "must be text or json")]),
        ("log_timezone", &[("'CET'", "must be utc or local")]),
        ("log_query", &[("'perhaps'", "must be")]),
        ("access_logformat", &[("''", "set access_logfile to none")]),
        (
            "error_logfile",
            &[("'none'", "set log_level"), ("''", "set log_level")],
        ),
        (
            "log_level",
            &[
                ("'loud'", "critical, error, warning, info or debug"),
                ("3", "critical"),
            ],
        ),
        (
            "user",
            &[("'a:b'", "one name or number"), ("true", "must be text")],
        ),
        ("group", &[("'a b'", "one name or number")]),
        (
            "umask",
            &[
                ("18", "leading zero"),
                ("'22'", "leading zero"),
                ("'08'", "octal"),
                ("'01000'", "0777"),
                ("0o1000", "0777"),
                ("'-1'", "octal"),
            ],
        ),
        ("uwsgi_module", &[("1.5", "true or false")]),
        (
            "uwsgi_opt",
            &[
                ("5", "must be a list of texts"),
                ("['=1']", "must have a name"),
                ("{ a = 1.5 }", "must be text or a whole number"),
            ],
        ),
        (
            "uwsgi_cache",
            &[
                ("5", "must be a list of texts"),
                ("['items=5']", "needs a name"),
                ("[{ items = 5 }]", "needs a name"),
                ("[{ name = 'a', items = 5 }, 'b']", "must be a table"),
                (
                    "['name=a,items=5', 'name=a,items=6']",
                    "defines the cache a twice",
                ),
            ],
        ),
        (
            "uwsgi_locks",
            &[("-1", "at least 0"), ("1001", "at most 1000")],
        ),
        ("master_fifo", &[("5", "must be text")]),
        (
            "uwsgi_stats",
            &[
                ("'0.0.0.0:9191'", "would let others read"),
                ("'systemd:stats'", "must be a path"),
            ],
        ),
        (
            "pid",
            &[
                ("[]", "must be text"),
                (
                    "'8000'",
                    "for a port, write --bind 127.0.0.1:8000; for a file with this name, ./8000",
                ),
            ],
        ),
        ("name", &[("\"a\\u0000\"", "NUL")]),
    ];
    for setting in settings() {
        let (_, bad) = (cases.iter().chain(super::refused_elsewhere()))
            .find(|(name, _)| *name == setting.name)
            .expect(setting.name);
        for (value, part) in *bad {
            let file = format!("{} = {value}", setting.name);
            let arguments: &[&str] = if setting.name == "app" { &[] } else { &["a:b"] };
            let message = refused(arguments, &[], Some(&file));
            assert!(message.contains(part), "{file}: {message}");
            let start = format!("{} = ", setting.name);
            assert!(message.starts_with(&start), "{file}: {message}");
            assert!(
                message.contains(" (from lockgate.toml line 1): "),
                "{file}: {message}"
            );
        }
    }
}

#[test]
fn every_bound_is_a_value_and_the_number_beyond_it_is_not() {
    for setting in settings() {
        let (least, most, takes_zero) = match &setting.kind {
            Kind::Number { least, most, .. } => (*least, *most, *least == 0),
            Kind::Size { least, most, zero } => (*least, *most, zero.is_ok()),
            _ => continue,
        };
        let [least, most] = [least, most].map(|bound| i64::try_from(bound).expect(setting.name));
        let cases = [
            (least, true),
            (most, true),
            (most + 1, false),
            (least - 1, takes_zero && least == 1),
            (0, takes_zero),
            (-1, false),
            (-least.max(1), false),
            (-most, false),
        ];
        for (value, is_taken) in cases {
            let file = format!("{} = {value}", setting.name);
            let outcome = given(&["a:b"], &[], Some(&file));
            assert_eq!(outcome.is_ok(), is_taken, "{file}: {:?}", outcome.err());
        }
    }
}

#[test]
fn operators_are_answered_only_where_this_machine_alone_can_ask() {
    for (text, shown) in [
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:@x", "unix:@x"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("127.9.9.9:9000", "127.9.9.9:9000"),
        ("[::1]:9000", "[::1]:9000"),
        ("LocalHost:9000", "LocalHost:9000"),
        ("systemd:admin", "systemd:admin"),
    ] {
        let address = config("--admin-bind", text).admin_bind.expect(text);
        assert_eq!(address.to_string(), shown);
    }
    for nothing in ["none", ""] {
        assert_eq!(config("--admin-bind", nothing).admin_bind, None);
    }
}

#[test]
fn zero_means_what_its_setting_says() {
    assert_eq!(config("--timeout", "0").timeout, None);
    assert_eq!(config("--request-timeout", "0").request_timeout, None);
    assert_eq!(config("--slow-request", "0").slow_request, None);
    assert_eq!(config("--queue-timeout", "0").queue_timeout, None);
    assert_eq!(
        config("--graceful-timeout", "0").graceful_timeout,
        Duration::ZERO
    );
    assert_eq!(config("--keep-alive", "0").keep_alive, Duration::ZERO);
    assert_eq!(config("--limit-request-body", "0").limits.request_body, 0);
    assert_eq!(config("--body-memory", "0").body_memory, 0);
    assert_eq!(config("--body-min-rate", "0").body_min_rate, 0);
    assert_eq!(config("--write-min-rate", "0").write_min_rate, 0);
    let limits = config("--limit-requests-per-connection", "0").limits;
    assert_eq!(limits.requests_per_connection, 0);
    let limits = config("--limit-connections-per-address", "0").limits;
    assert_eq!(limits.connections_per_address, 0);
}

#[test]
fn an_empty_text_takes_an_optional_value_away() {
    let file = "chdir = '/a'\nspool_dir = '/a'\nserver_header = 'a'\npid = '/a'\nname = 'a'\nuser = 'a'\ngroup = 'a'\numask = '0'\naccess_logfile = '-'\npythonpath = ['a']\nenv = ['A=1']";
    let arguments = [
        "a:b",
        "--chdir=",
        "--spool-dir=",
        "--server-header=",
        "--pid=",
        "--name=",
        "--user=",
        "--group=",
        "--umask=",
        "--access-logfile=",
        "--pythonpath=",
        "--env=",
    ];
    let message = refused(&arguments, &[], Some(file));
    assert_eq!(message, "env = \"\" (from --env): must be KEY=VALUE");
    let resolved = given(
        &arguments[..arguments.len() - 1],
        &[("LOCKGATE_ENV", "")],
        Some(file),
    )
    .expect("taken");
    let taken = resolved.config;
    assert_eq!(
        (taken.chdir, taken.spool_dir, taken.pidfile),
        (None, None, None)
    );
    assert_eq!(
        (taken.server_header, taken.proc_name, taken.umask),
        (None, None, None)
    );
    assert_eq!(
        (taken.user, taken.group, taken.access_log),
        (None, None, None)
    );
    assert_eq!(taken.pythonpath, Vec::<PathBuf>::new());
}

#[test]
fn logs_go_where_the_text_says() {
    let file = |path: &str| LogTarget::File(PathBuf::from(path));
    let cases = [
        ("-", Some(LogTarget::Stdout), Some(LogTarget::Stderr)),
        (
            "/dev/stdout",
            Some(LogTarget::Stdout),
            Some(LogTarget::Stdout),
        ),
        (
            "/dev/stderr",
            Some(LogTarget::Stderr),
            Some(LogTarget::Stderr),
        ),
        (
            "/var/log/x",
            Some(file("/var/log/x")),
            Some(file("/var/log/x")),
        ),
        ("./none", Some(file("./none")), Some(file("./none"))),
        ("none", None, None),
    ];
    for (text, access, error) in cases {
        assert_eq!(
            config("--access-logfile", text).access_log,
            access,
            "{text}"
        );
        if let Some(error) = error {
            assert_eq!(config("--error-logfile", text).error_log, error, "{text}");
            assert_eq!(config("--log-file", text).error_log, error, "{text}");
        }
    }
}

#[test]
fn a_umask_is_octal_in_every_way_to_write_it() {
    for (text, expected) in [
        ("0", 0),
        ("00", 0),
        ("022", 0o22),
        ("0o22", 0o22),
        ("0777", 0o777),
        ("0000", 0),
    ] {
        assert_eq!(config("-m", text).umask, Some(expected), "{text}");
    }
    let resolved = given(&["a:b"], &[], Some("umask = 0o027")).expect("taken");
    assert_eq!(resolved.config.umask, Some(0o27));
}

#[test]
fn lists_are_given_by_repeating_a_flag_or_by_commas() {
    let taken = given(
        &[
            "-b",
            ":1,:2",
            "--bind",
            "[::1]:3",
            "a:b",
            "--pythonpath",
            "a, b",
            "--pythonpath=c",
        ],
        &[],
        None,
    );
    let taken = taken.expect("taken").config;
    assert_eq!(
        taken.bind.iter().map(Bind::to_string).collect::<Vec<_>>(),
        ["0.0.0.0:1", "0.0.0.0:2", "[::1]:3"]
    );
    assert_eq!(taken.pythonpath, ["a", "b", "c"].map(PathBuf::from));
    // Port 0 is a different port each time.
    assert_eq!(config("-b", ":0,:0").bind.len(), 2);
}

#[test]
fn a_variable_for_the_application_keeps_its_value_as_it_is() {
    let taken = given(
        &["-e", "A=1,b = 2", "-e", "B==", "--env", "C=", "a:b"],
        &[],
        None,
    )
    .expect("taken")
    .config;
    let expected = [("A", "1,b = 2"), ("B", "="), ("C", "")];
    assert_eq!(
        taken.env,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    // A table may contain line feeds; a certificate is a common case.
    let taken = given(&["a:b"], &[], Some("[env]\nKEY = \"a\\nb\""))
        .expect("taken")
        .config;
    assert_eq!(taken.env, [("KEY".to_owned(), "a\nb".to_owned())]);
    // So may a flag.
    assert_eq!(
        config("-e", "KEY=a\nb").env,
        [("KEY".to_owned(), "a\nb".to_owned())]
    );
}

#[test]
fn the_proxy_protocol_is_switched_on_in_every_way_of_gunicorns() {
    let cases: [(&[&str], Option<ProxyVersion>); 7] = [
        (&["a:b"], None),
        (&["a:b", "--proxy-protocol"], Some(ProxyVersion::Auto)),
        (
            &["--proxy-protocol", "--proxy-allow-from", "*", "a:b"],
            Some(ProxyVersion::Auto),
        ),
        (&["--proxy-protocol", "v1", "a:b"], Some(ProxyVersion::V1)),
        (&["--proxy-protocol=V2", "a:b"], Some(ProxyVersion::V2)),
        (
            &["--proxy-protocol", "--proxy-protocol", "off", "a:b"],
            None,
        ),
        (&["--proxy-protocol=false", "a:b"], None),
    ];
    for (arguments, expected) in cases {
        let taken = given(arguments, &[], None).expect("taken").config;
        assert_eq!(taken.proxies.protocol, expected, "{arguments:?}");
    }
    let message = refused(&["--proxy-protocol", "a:b"], &[], None);
    assert!(message.contains("must be off, v1, v2 or auto"), "{message}");
}

#[test]
fn words_are_taken_in_any_case() {
    assert_eq!(config("--log-level", "DEBUG").log_level, LogLevel::Debug);
    assert_eq!(config("--threads", "AUTO").threads, Threads::Auto);
    assert_eq!(config("--gc", "Idle").gc, Collection::Idle);
    assert!(LogLevel::Error < LogLevel::Info);
}

#[test]
fn relative_paths_begin_in_chdir_and_chdir_where_the_server_was_started() {
    let file = "bind = ['unix:run/s', ':80']\nadmin_bind = 'unix:/run/a'\naccess_logfile = '../access.log'\n\
                error_logfile = './error.log'\npid = 'p'\nspool_dir = 'spool'\n";
    let long = format!("/{}", "d".repeat(100));
    for (start, chdir, directory, socket) in [
        ("/srv/current", "", "/srv/current", "/srv/current/run/s"),
        (
            "/srv/current",
            "app",
            "/srv/current/app",
            "/srv/current/app/run/s",
        ),
        ("/srv/current", "/opt/app", "/opt/app", "/opt/app/run/s"),
        (&long, "", &long, "run/s"),
    ] {
        let mut config = given(&["a:b", "--chdir", chdir], &[], Some(file))
            .expect("taken")
            .config;
        config.make_absolute(start.as_ref());
        let at = |name: &str| PathBuf::from(format!("{directory}/{name}"));
        assert_eq!(config.bind[0].address, BindAddress::Unix(socket.into()));
        assert_eq!(config.admin_bind, Some(BindAddress::Unix("/run/a".into())));
        assert_eq!(
            config.access_log,
            Some(LogTarget::File(at("../access.log")))
        );
        assert_eq!(config.error_log, LogTarget::File(at("error.log")));
        assert_eq!(config.pidfile, Some(at("p")));
        assert_eq!(config.spool_dir, Some(at("spool")));
        let expected = (!chdir.is_empty()).then(|| PathBuf::from(directory));
        assert_eq!(config.chdir, expected);
    }
}

#[test]
fn auto_threads_are_shared_out_to_the_workers_and_a_number_is_for_each() {
    for (workers, threads, expected) in [
        ("1", "auto", 64),
        ("2", "auto", 32),
        ("3", "auto", 21),
        ("16", "auto", 4),
        ("100", "auto", 4),
        ("100", "12", 12),
        ("1", "1", 1),
    ] {
        let arguments = ["a:b", "--workers", workers, "--threads", threads];
        let config = given(&arguments, &[], None).expect(threads).config;
        assert_eq!(config.max_threads(), expected, "{workers}, {threads}");
    }
}

#[test]
fn a_thread_idle_timeout_of_zero_is_none() {
    for (text, expected) in [("0", None), ("90s", Some(90))] {
        let timeout = config("--thread-idle-timeout", text).thread_idle_timeout;
        assert_eq!(timeout, expected.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn the_admin_address_is_found_beside_mistakes_in_other_settings() {
    let cases: [(File, Variables, Result<&str, &str>); 7] = [
        (None, &[], Ok("none")),
        (Some("admin_bind = 'unix:a'"), &[], Ok("unix:/srv/a")),
        (
            Some("chdir = 'b'\nadmin_bind = 'unix:a'\nwrokers = 0\nthreads = 0"),
            &[("LOCKGATE_WORKERS", "0")],
            Ok("unix:/srv/b/a"),
        ),
        (
            Some("workers = 2"),
            &[("LOCKGATE_ADMIN_BIND", "127.0.0.1:9")],
            Ok("127.0.0.1:9"),
        ),
        (
            Some("admin_bind = 'unix:/a'"),
            &[("LOCKGATE_ADMIN_BIND", "127.0.0.1:9")],
            Ok("unix:/a"),
        ),
        (
            Some("admin_bind = ':9'"),
            &[],
            Err("admin_bind = \":9\" (from x.toml line 1): would let others"),
        ),
        (Some("workers 2"), &[], Err("x.toml line 1: ")),
    ];
    for (file, variables, expected) in cases {
        let environment: Vec<_> = (variables.iter())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let file = file.map(|text| crate::SettingsFile::Toml {
            path: "x.toml".as_ref(),
            text,
        });
        let found = crate::admin_address(&environment, file, "/srv".as_ref());
        match (found, expected) {
            (Ok(None), Ok(expected)) => assert_eq!(expected, "none"),
            (Ok(Some(address)), Ok(expected)) => assert_eq!(address.to_string(), expected),
            (Err(mistakes), Err(start)) => {
                assert!(mistakes[0].to_string().starts_with(start), "{mistakes:?}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }
}
