//! Tests of configurations in Python and of keyword arguments.

use super::{MACHINE, command, given};
use crate::{ConfSource, ConfigError, Inputs, Resolved, SettingsFile, resolve};

/// Values of settings of gunicorn's that are refused, and words of the message.
pub(super) const REFUSED: &[(&str, &[(&str, &str)])] = &[
    (
        "paste",
        &[("'#x'", "must be a file"), ("5.5", "must be text")],
    ),
    ("paste_global", &[("['A']", "must be KEY=VALUE")]),
];

/// Resolves the names of a gunicorn.conf.py, as JSON, and keyword arguments.
pub(super) fn evaluated(
    arguments: &[&str],
    names: &str,
    keywords: Option<&str>,
) -> Result<Resolved, Vec<ConfigError>> {
    let source = ConfSource::File("gunicorn.conf.py".into());
    resolve(&Inputs {
        arguments: &command(arguments),
        environment: &[],
        file: Some(SettingsFile::Python {
            source: &source,
            evaluated: &format!("{{\"names\": [{names}], \"error\": null}}"),
        }),
        keywords,
        host: &MACHINE,
    })
}

pub(super) fn errors(resolved: Result<Resolved, Vec<ConfigError>>) -> String {
    let mistakes = resolved.err().unwrap_or_default();
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A function of a gunicorn.conf.py with this number of parameters.
pub(super) fn function(name: &str, parameters: usize) -> String {
    let parameters = vec![r#""x""#; parameters].join(",");
    format!(r#"{{"name": "{name}", "line": 1, "function": [{parameters}]}}"#)
}

pub(super) fn notes(resolved: Result<Resolved, Vec<ConfigError>>) -> Vec<String> {
    resolved.map(|resolved| resolved.notes).unwrap_or_default()
}

/// A name of a gunicorn.conf.py with its value in JSON, on line 1.
fn bound(name: &str, value: &str) -> String {
    format!(r#"{{"name": "{name}", "line": 1, "value": {value}}}"#)
}

#[test]
fn a_configuration_in_python_is_a_source_with_lines() {
    let names = r#"{"name": "workers", "line": 3, "value": 4},
        {"name": "umask", "line": 4, "value": 18},
        {"name": "pidfile", "line": 5, "value": null},
        {"name": "request_timeout", "line": null, "value": 1.5},
        {"name": "app", "line": 6, "value": "ignored"},
        {"name": "wsgi_app", "line": 6, "value": "shop:app"},
        {"name": "when_ready", "line": 9, "function": ["server"]},
        {"name": "on_starting", "line": 12, "function": ["arbiter"]},
        {"name": "helper", "line": 15, "function": []}"#;
    let resolved = evaluated(&["--timeout", "7"], names, None).expect("taken");
    assert_eq!(resolved.config.workers, 4);
    assert_eq!(resolved.config.umask, Some(0o22));
    assert_eq!(resolved.config.app.to_string(), "shop:app");
    let hooks: Vec<_> = (resolved.config.gunicorn.hooks.iter().copied())
        .map(crate::HookName::name)
        .collect();
    assert_eq!(hooks, ["on_starting", "when_ready"]);
    let printed = resolved.print();
    let last = printed.lines().last();
    assert_eq!(
        last,
        Some("# gunicorn.conf.py defines on_starting, when_ready")
    );
    for (name, origin) in [
        ("workers", "gunicorn.conf.py line 3"),
        ("request_timeout", "gunicorn.conf.py"),
        ("timeout", "--timeout"),
    ] {
        assert_eq!(resolved.origins.of(name).to_string(), origin);
    }
}

#[test]
fn what_is_wrong_in_a_configuration_in_python_is_named_with_its_line() {
    let cases = [
        (
            r#"{"name": "workers", "line": 3, "value": null}"#,
            "workers = None (from gunicorn.conf.py line 3): must be a whole number, or \"auto\"",
        ),
        (
            r#"{"name": "pidfile", "line": 3, "object": "PosixPath('/x')", "path": null}"#,
            "pid = PosixPath('/x') (from gunicorn.conf.py line 3): must be text",
        ),
        (
            r#"{"name": "post_fork", "line": 3, "function": ["worker"]}"#,
            "post_fork = a function with the parameters (worker) (from gunicorn.conf.py line 3): must be a function with the parameters (server, worker)",
        ),
        (
            r#"{"name": "post_fork", "line": 3, "value": 1}"#,
            "post_fork = 1 (from gunicorn.conf.py line 3): must be a function with the parameters (server, worker)",
        ),
    ];
    for (names, expected) in cases {
        assert_eq!(errors(evaluated(&["a:b"], names, None)), expected);
    }
}

#[test]
fn keyword_arguments_override_every_source() {
    let names = r#"{"name": "workers", "line": 3, "value": 4},
        {"name": "pidfile", "line": 4, "value": "/run/x.pid"}"#;
    let keywords = r#"{"workers": 2, "keepalive": 5, "pidfile": null}"#;
    let resolved = evaluated(&["a:b", "-w", "3"], names, Some(keywords)).expect("taken");
    assert_eq!(resolved.config.workers, 2);
    assert_eq!(
        resolved.origins.of("workers").to_string(),
        "serve(workers=…)"
    );
    assert_eq!(resolved.config.pidfile, None);
    assert_eq!(resolved.origins.of("pid").to_string(), "default");
    for (keywords, expected) in [
        (
            r#"{"wrokers": 2}"#,
            "wrokers (from serve(wrokers=…)): unknown setting; did you mean workers?",
        ),
        (
            r#"{"threads": -1}"#,
            "threads = -1 (from serve(threads=…)): must be at least 1, or \"auto\"",
        ),
    ] {
        assert_eq!(errors(evaluated(&["a:b"], "", Some(keywords))), expected);
    }
}

#[test]
fn a_configuration_in_python_brings_gunicorns_log_lines_unless_they_are_chosen() {
    use crate::LogTimezone::{Local, LocalIfKnown, Utc};
    use crate::LogWording::{Gunicorn, Lockgate};
    let cases: &[(&[&str], _, _)] = &[
        (&["a:b"], Gunicorn, LocalIfKnown),
        (&["a:b", "--log-style", "lockgate"], Lockgate, Utc),
        (&["a:b", "--log-timezone", "utc"], Gunicorn, Utc),
        (&["a:b", "--log-timezone", "local"], Gunicorn, Local),
    ];
    for (arguments, wording, timezone) in cases {
        let style = evaluated(arguments, "", None)
            .expect("taken")
            .config
            .log_style;
        assert_eq!((style.wording, style.timezone), (*wording, *timezone));
    }
    let toml = super::given(&["a:b"], &[], Some("workers = 2")).expect("taken");
    assert_eq!(toml.config.log_style, crate::LogStyle::default());
}

#[test]
fn the_types_that_real_configurations_use_are_read() {
    let cases = [
        ("bind", r#""0.0.0.0:80""#, r#"["0.0.0.0:80"]"#),
        (
            "bind",
            r#"["unix:/run/x.sock", ":81"]"#,
            r#"["unix:/run/x.sock", "0.0.0.0:81"]"#,
        ),
        ("workers", r#""3""#, "3"),
        ("timeout", "0", "0"),
        ("timeout", "90.0", "90"),
        ("keepalive", "5", "5"),
        ("graceful_timeout", r#""30""#, "30"),
        ("limit_request_line", "0", "\"64KiB\""),
        ("limit_request_field_size", "0", "\"64KiB\""),
        ("limit_request_fields", "0", "32768"),
        ("umask", "18", "\"0022\""),
        ("umask", r#""0o022""#, "\"0022\""),
        ("user", "1000", "\"1000\""),
        ("user", r#""www-data""#, "\"www-data\""),
        ("group", "null", "\"\""),
        ("raw_env", r#"["A=1", "B=x y,z"]"#, r#"["A=1", "B=x y,z"]"#),
        ("raw_env", r#""A=1""#, r#"["A=1"]"#),
        ("raw_env", "null", "[]"),
        (
            "secure_scheme_headers",
            r#"{"X-FORWARDED-PROTO": "https"}"#,
            r#"["X-FORWARDED-PROTO=https"]"#,
        ),
        ("secure_scheme_headers", "{}", "[]"),
        ("forwarded_allow_ips", r#""*""#, r#"["*"]"#),
        (
            "forwarded_allow_ips",
            r#""10.0.0.1, 10.0.0.2""#,
            r#"["10.0.0.1", "10.0.0.2"]"#,
        ),
        ("pythonpath", r#""/a,/b""#, r#"["/a", "/b"]"#),
        ("pythonpath", "null", "[]"),
        ("proxy_protocol", "true", "\"auto\""),
        ("proxy_protocol", "false", "\"off\""),
        ("proxy_protocol", r#""v2""#, "\"v2\""),
        ("sendfile", "null", "true"),
        ("sendfile", "false", "false"),
        ("preload_app", r#""True""#, "true"),
        ("loglevel", r#""INFO""#, "\"info\""),
        ("loglevel", r#""warn""#, "\"warning\""),
        ("accesslog", "null", "\"none\""),
        ("accesslog", r#""-""#, "\"-\""),
        ("errorlog", "null", "\"-\""),
        ("proc_name", r#""shop""#, "\"shop\""),
        ("pidfile", "null", "\"\""),
        ("cert_reqs", "0", "\"none\""),
        ("http_protocols", r#"["h2", "h1"]"#, "true"),
        ("chdir", r#""/srv""#, "\"/srv\""),
        ("request_timeout", "30", "30"),
    ];
    for (name, value, expected) in cases {
        let resolved = evaluated(&["a:b"], &bound(name, value), None);
        let resolved = resolved.unwrap_or_else(|mistakes| panic!("{name} = {value}: {mistakes:?}"));
        let setting = crate::settings()
            .find(|setting| setting.gunicorn.contains(&name) || setting.name == name);
        let line = format!("{} = {expected} ", setting.expect("a setting").name);
        assert!(
            resolved
                .print()
                .lines()
                .any(|printed| printed.starts_with(&line)),
            "{name} = {value}: {line}"
        );
    }
}

#[test]
fn what_a_configuration_of_gunicorns_means_here_is_said() {
    let threads = "threads = 1, as in gunicorn, because gunicorn.conf.py is a configuration of gunicorn's and threads is not set";
    let cases: [(&str, &str, &[&str]); 12] = [
        ("workers", "2", &[threads]),
        ("threads", "2", &[]),
        (
            "worker_class",
            r#""sync""#,
            &["because worker_class is sync"],
        ),
        (
            "worker_class",
            r#""gthread""#,
            &["because worker_class is gthread"],
        ),
        (
            "worker_class",
            r#""gevent""#,
            &["worker_class = \"gevent\" (from gunicorn.conf.py line 1): Lockgate has one"],
        ),
        (
            "worker_tmp_dir",
            r#""/dev/shm""#,
            &[
                "worker_tmp_dir = \"/dev/shm\" (from gunicorn.conf.py line 1) has no effect: there are no heartbeat files",
                threads,
            ],
        ),
        ("worker_tmp_dir", "null", &[threads]),
        ("reload", "false", &[threads]),
        (
            "MAX_REQUESTS",
            "1000",
            &[
                "MAX_REQUESTS (from gunicorn.conf.py line 1) is no setting and has no effect; did you mean max_requests?",
                threads,
            ],
        ),
        (
            "log_level",
            r#""info""#,
            &["did you mean loglevel?", threads],
        ),
        ("domain", r#""shop.example""#, &[threads]),
        ("dirty_timeout", "5", &["dirty_timeout = 5 (from", threads]),
    ];
    for (name, value, expected) in cases {
        let found = notes(evaluated(&["a:b"], &bound(name, value), None));
        assert_eq!(found.len(), expected.len(), "{name} = {value}: {found:?}");
        for (note, part) in found.iter().zip(expected) {
            assert!(note.contains(part), "{name} = {value}: {note}");
        }
    }
    // A helper variable beside the setting is no mistake.
    let both = [
        bound("TIMEOUT", "3"),
        bound("timeout", "3"),
        bound("threads", "1"),
    ]
    .join(",");
    assert_eq!(
        notes(evaluated(&["a:b"], &both, None)),
        Vec::<String>::new()
    );
}

#[test]
fn what_would_change_behaviour_is_refused_with_advice() {
    let cases = [
        (
            bound("syslog", "true"),
            "syslog (from gunicorn.conf.py line 1): Lockgate does not support this setting yet: log to standard error",
        ),
        (
            bound("daemon", "true"),
            "daemon (from gunicorn.conf.py line 1): Lockgate does not support this setting: run it under",
        ),
        (bound("dirty_apps", r#"["a:B"]"#), "dirty_apps (from"),
        (
            bound("logconfig_dict", "null"),
            "logconfig_dict (from gunicorn.conf.py line 1): must be a dictionary",
        ),
        (
            bound("check_config", "true"),
            "on the command line only: --check-config",
        ),
        (
            function("ssl_context", 2),
            "ssl_context (from gunicorn.conf.py line 1): ",
        ),
        (
            bound("worker_class", r#""uvicorn.workers.UvicornWorker""#),
            "worker_class = \"uvicorn.workers.UvicornWorker\" (from gunicorn.conf.py line 1): is not supported; remove it for a WSGI",
        ),
        (
            r#"{"name": "worker_class", "line": 1, "object": "<class 'x.W'>", "path": "x.W"}"#
                .to_owned(),
            "worker_class = \"x.W\" (from",
        ),
        (
            bound("header_map", r#""dangerous""#),
            "header_map = \"dangerous\" (from gunicorn.conf.py line 1)",
        ),
    ];
    for (names, expected) in cases {
        let found = errors(evaluated(&["a:b"], &names, None));
        assert!(found.contains(expected), "{names}: {found}");
    }
}

#[test]
fn gunicorn_cmd_args_is_between_the_file_and_the_command_line() {
    let variable = "GUNICORN_CMD_ARGS";
    let file = Some("workers = 2\nthreads = 2\nbacklog = 2");
    let resolved = given(
        &["a:b", "--threads", "4"],
        &[
            (variable, "other:app --workers 3 --threads=3 --name 'a b'"),
            ("LOCKGATE_WORKERS", "9"),
        ],
        file,
    )
    .expect("taken");
    let origins = ["app", "workers", "threads", "backlog", "name"]
        .map(|name| resolved.origins.of(name).to_string());
    assert_eq!(
        origins,
        [
            "the command line",
            "--workers in GUNICORN_CMD_ARGS",
            "--threads",
            "lockgate.toml line 3",
            "--name in GUNICORN_CMD_ARGS"
        ]
    );
    let checks = |value| {
        given(&["a:b"], &[(variable, value)], None)
            .expect("taken")
            .invocation
    };
    assert_eq!(checks("--check-config"), crate::Invocation::CheckConfig);
    assert_eq!(checks(""), crate::Invocation::Serve);
    for (value, expected) in [
        (
            "--wrokers 3",
            "GUNICORN_CMD_ARGS: --wrokers: unknown flag; did you mean --workers?",
        ),
        ("-w", "GUNICORN_CMD_ARGS: --workers: requires a value"),
        (
            "-n 'shop",
            "GUNICORN_CMD_ARGS: has a quotation mark that is not closed",
        ),
        (
            "-n shop\\",
            "GUNICORN_CMD_ARGS: ends with a backslash that escapes nothing",
        ),
        (
            "--help",
            "GUNICORN_CMD_ARGS: --help and --version are available on the command line only",
        ),
        (
            "-w 0",
            "workers = 0 (from --workers in GUNICORN_CMD_ARGS): must be at least 1, or \"auto\"",
        ),
        (
            "--log-syslog",
            "--log-syslog (from --log-syslog in GUNICORN_CMD_ARGS): Lockgate does not",
        ),
    ] {
        let found = errors(given(&["a:b"], &[(variable, value)], None));
        assert!(found.starts_with(expected), "{value}: {found}");
    }
    let found = notes(given(
        &["a:b"],
        &[(variable, "--worker-tmp-dir /dev/shm")],
        None,
    ));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "worker_tmp_dir = \"/dev/shm\" (from --worker-tmp-dir in GUNICORN_CMD_ARGS)"
        )
    );
}
