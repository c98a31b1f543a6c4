//! Tests of messages: each says what is wrong, with which value, where, and what to do.

use super::{Arguments, File, Variables, given, refused};
use crate::settings;

#[test]
fn messages_are_whole_sentences_of_what_where_and_what_to_do() {
    let cases: &[(Arguments, Variables, File, &str)] = &[
        (
            &["a:b"],
            &[],
            Some("\n\nworkers = 0"),
            "workers = 0 (from lockgate.toml line 3): must be at least 1, or \"auto\"",
        ),
        (
            &["a:b", "-w", "0"],
            &[],
            None,
            "workers = 0 (from --workers): must be at least 1, or \"auto\"",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_WORKERS", "x")],
            None,
            "workers = \"x\" (from LOCKGATE_WORKERS): must be a whole number, or \"auto\"",
        ),
        (
            &["a:b"],
            &[("WEB_CONCURRENCY", "many")],
            None,
            "workers = \"many\" (from WEB_CONCURRENCY): must be a whole number, or \"auto\"",
        ),
        (
            &["a:b"],
            &[("PORT", "http")],
            None,
            "bind = \"0.0.0.0:http\" (from PORT): the port must be a number from 0 to 65535",
        ),
        (
            &["a:b", "--max-worker-memory", "1GiB"],
            &[("LOCKGATE_MAX_WORKER_MEMORY_HARD", "4%")],
            None,
            "max_worker_memory_hard = \"4%\" (from LOCKGATE_MAX_WORKER_MEMORY_HARD): must be greater than max_worker_memory = \"1GiB\", so that a worker is replaced before it is stopped",
        ),
        (
            &["a:b", "--max-worker-memory", "0.05%"],
            &[],
            None,
            "max_worker_memory = \"0.05%\" (from --max-worker-memory): must be at least 16MiB on this host, but is 12MiB of the host's memory of 24.0 GiB",
        ),
        // A value that a stronger source overrides is checked too.
        (
            &["a:b", "-w", "3"],
            &[],
            Some("workers = 0"),
            "workers = 0 (from lockgate.toml line 1): must be at least 1, or \"auto\"",
        ),
        (
            &["a:b", "--wrokers", "3"],
            &[],
            None,
            "--wrokers: unknown flag; did you mean --workers?",
        ),
        (
            &["a:b", "--keepalive=3"],
            &[],
            None,
            "--keepalive: unknown flag; did you mean --keep-alive?",
        ),
        (
            &["a:b", "--no-sendfil"],
            &[],
            None,
            "--no-sendfil: unknown flag; did you mean --no-sendfile?",
        ),
        (
            &["a:b", "--print"],
            &[],
            None,
            "--print: unknown flag; did you mean --print-config?",
        ),
        (
            &["a:b", "--processes", "3"],
            &[],
            None,
            "--processes: unknown flag; did you mean --workers?",
        ),
        (
            &["a:b", "--max-req", "9"],
            &[],
            None,
            "--max-req: unknown flag; did you mean --max-requests?",
        ),
        (
            &["a:b", "--admin-bind", "127.0.0.1:8000"],
            &[],
            None,
            "admin_bind = \"127.0.0.1:8000\" (from --admin-bind): cannot be used beside 127.0.0.1:8000 (setting: bind): \
             choose another port or path",
        ),
        (
            &["a:b", "-b", ":80,localhost:80,[::]:80,127.0.0.1:80"],
            &[],
            None,
            "bind = \"127.0.0.1:80\" (from --bind): cannot be used beside 0.0.0.0:80 (setting: bind): choose another \
             port or path",
        ),
        (
            &["a:b", "--port", "8000"],
            &[],
            None,
            "--port: unknown flag; did you mean --bind 127.0.0.1:8000?",
        ),
        (
            &["a:b", "--listen", "0.0.0.0:80"],
            &[],
            None,
            "--listen: unknown flag; did you mean --bind 127.0.0.1:8000, or --backlog?",
        ),
        (
            &["a:b", "--cert", "adhoc"],
            &[],
            None,
            "--cert: unknown flag; did you mean --certfile FILE, or --domain localhost?",
        ),
        (
            &["a:b", "--debug"],
            &[],
            None,
            "--debug: unknown flag; did you mean lockgate dev?",
        ),
        (
            &["a:b", "--colour"],
            &[],
            None,
            "--colour: unknown flag; see lockgate --help",
        ),
        (
            &["a:b", "-x"],
            &[],
            None,
            "-x: unknown flag; see lockgate --help",
        ),
        (&["a:b", "--bind"], &[], None, "--bind: requires a value"),
        (&["a:b", "-b"], &[], None, "--bind: requires a value"),
        (
            &["a:b", "--reuse-port=yes"],
            &[],
            None,
            "--reuse-port: does not take a value",
        ),
        (
            &["a:b", "--https-redirect=443"],
            &[],
            None,
            "--https-redirect: does not take a value; write the port in lockgate.toml (https_redirect = 443) or in \
             LOCKGATE_HTTPS_REDIRECT",
        ),
        (
            &["a:b", "c:d"],
            &[],
            None,
            "c:d: only one application can be served, and a:b is already given",
        ),
        (
            &["app", ":", "app"],
            &[],
            None,
            "app : app: an application has no spaces; write app:app",
        ),
        (
            &["shop.wsgi:", "app", "-w3"],
            &[],
            None,
            "shop.wsgi: app: an application has no spaces; write shop.wsgi:app",
        ),
        (
            &["run", "app:app"],
            &[],
            None,
            "run: unknown command; to serve, write lockgate app:app; lockgate -h lists the commands",
        ),
        (
            &["a:b", "-k", "tornado"],
            &[],
            None,
            "worker_class = \"tornado\" (from --worker-class): is not supported; remove it for a WSGI application; run a Tornado application with Tornado's own server",
        ),
        (
            &["a:b", "--log-syslog"],
            &[],
            None,
            "--log-syslog: Lockgate does not support this setting yet: log to standard error, which systemd's journal or logger(1) forwards to syslog",
        ),
        (
            &["a:b", "-D"],
            &[],
            None,
            "--daemon: Lockgate does not support this setting: run it under systemd or another service manager",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_SSL_VERSION", "x")],
            None,
            "LOCKGATE_SSL_VERSION: Lockgate does not support this setting: use tls_min_version",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_WROKERS", "3")],
            None,
            "LOCKGATE_WROKERS (from the environment): unknown setting; did you mean LOCKGATE_WORKERS?",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_PIDFILE", "x")],
            None,
            "LOCKGATE_PIDFILE (from the environment): unknown setting; did you mean LOCKGATE_PID?",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_COLOUR", "3")],
            None,
            "LOCKGATE_COLOUR (from the environment): unknown setting; unset it; names that begin with LOCKGATE_ are reserved for the server",
        ),
        (
            &[],
            &[],
            None,
            "no application is given; write lockgate module:attribute, or app = \"module:attribute\" in lockgate.toml, which lockgate init writes for the application that it finds",
        ),
        (
            &["converts", "uwsgi.ini"],
            &[],
            None,
            "converts: unknown command; did you mean convert?",
        ),
        (
            &["-w", "2", "ctl", "status"],
            &[],
            None,
            "ctl status: a command is the first argument, and settings are none of it; write lockgate ctl status",
        ),
        (
            &["my-app:app"],
            &[],
            None,
            "app = \"my-app:app\" (from the command line): my-app is not a module name: Python names have no hyphen; did you mean my_app?",
        ),
    ];
    for (arguments, variables, file, expected) in cases {
        assert_eq!(refused(arguments, variables, *file), *expected);
    }
}

#[test]
fn a_file_that_is_not_toml_hides_whether_it_names_an_application() {
    let mistakes = given(&["-w", "0"], &[], Some("bind = [\napp = 'a:b'\n")).expect_err("not TOML");
    let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("lockgate.toml line "), "{texts:?}");
    assert!(texts[1].starts_with("workers = 0 "), "{texts:?}");
}

#[test]
fn an_unknown_topic_of_help_is_the_only_mistake() {
    let mistakes = given(&["help", "qqqq"], &[("LOCKGATE_X", "1")], Some("bind = ["));
    assert_eq!(
        mistakes.expect_err("no such topic"),
        [crate::ConfigError::UnknownTopic {
            topic: "qqqq".to_owned(),
            suggestion: None,
        }]
    );
}

#[test]
fn every_mistake_is_named_at_once() {
    let cases: &[(Arguments, Variables, File, &[&str])] = &[
        (
            &["my-app:app", "--wrokers", "3", "-x", "--colour=red", "-w0"],
            &[("LOCKGATE_TREADS", "2"), ("LOCKGATE_TIMEOUT", "soon")],
            Some("wrokers = 2\n\nbind = 127.0.0.1:1\nthreads = 0\nssl_version = 'x'\n"),
            &[
                "--wrokers: unknown flag; did you mean --workers?",
                "-x: unknown flag; see lockgate --help",
                "--colour: unknown flag; see lockgate --help",
                "LOCKGATE_TREADS (from the environment): unknown setting; did you mean LOCKGATE_THREADS?",
                "lockgate.toml line 3: 127.0.0.1:1 is not a TOML value: text must be quoted; write bind = \"127.0.0.1:1\"",
                "wrokers (from lockgate.toml line 1): unknown setting; did you mean workers?",
                "ssl_version (from lockgate.toml line 5): Lockgate does not support this setting: use tls_min_version",
                "timeout = \"soon\" (from LOCKGATE_TIMEOUT): must be a time, such as 30, 1.5, 500ms, 30s, 2m, 1h or 7d",
                "threads = 0 (from lockgate.toml line 4): must be at least 1, or \"auto\"",
                "app = \"my-app:app\" (from the command line): my-app is not a module name: Python names have no hyphen; did you mean my_app?",
                "workers = 0 (from --workers): must be at least 1, or \"auto\"",
            ],
        ),
        // The word after an unknown flag is its value or the application, and is not checked.
        (
            &["--colour", "a:b"],
            &[],
            None,
            &["--colour: unknown flag; see lockgate --help"],
        ),
        (
            &["--colour", "3", "a:b", "c:d"],
            &[],
            None,
            &[
                "--colour: unknown flag; see lockgate --help",
                "c:d: only one application can be served, and a:b is already given",
            ],
        ),
        (
            &["--reuse-port=yes", "a:b", "--timeout", "--bind"],
            &[],
            None,
            &[
                "--reuse-port: does not take a value",
                "--timeout: requires a value",
                "--bind: requires a value",
            ],
        ),
        (
            &["-w", "x"],
            &[],
            None,
            &[
                "workers = \"x\" (from --workers): must be a whole number, or \"auto\"",
                "no application is given; write lockgate module:attribute, or app = \"module:attribute\" in lockgate.toml, which lockgate init writes for the application that it finds",
            ],
        ),
    ];
    for (arguments, variables, file, expected) in cases {
        let reported = refused(arguments, variables, *file);
        let mut reported: Vec<&str> = reported.lines().collect();
        let mut expected = expected.to_vec();
        reported.sort_unstable();
        expected.sort_unstable();
        assert_eq!(reported, expected, "{arguments:?}");
    }
}

#[test]
fn an_empty_variable_is_unset() {
    let names = settings()
        .filter_map(|setting| setting.variable())
        .chain(
            [
                "LOCKGATE_CONFIG",
                "LOCKGATE_COLOUR",
                "PORT",
                "WEB_CONCURRENCY",
                "LISTEN_FDS",
                "FORWARDED_ALLOW_IPS",
                "GUNICORN_CMD_ARGS",
            ]
            .map(str::to_owned),
        )
        .collect::<Vec<_>>();
    let unset = given(&["a:b"], &[], None).expect("taken");
    for value in ["", " "] {
        let variables: Vec<_> = names.iter().map(|name| (name.as_str(), value)).collect();
        let empty = given(&["a:b"], &variables, None).expect("taken");
        assert_eq!((empty.print(), empty.notes), (unset.print(), Vec::new()));
    }
}

#[test]
fn variables_of_a_service_called_lockgate_are_not_settings() {
    let links: Variables = &[
        ("LOCKGATE_DEV", "{}"),
        ("LOCKGATE_SERVICE_HOST", "10.96.1.7"),
        ("LOCKGATE_SERVICE_PORT", "80"),
        ("LOCKGATE_SERVICE_PORT_HTTP", "80"),
        ("LOCKGATE_SERVICE_PORT_HTTP_ALT", "81"),
        ("LOCKGATE_PORT", "tcp://10.96.1.7:80"),
        ("LOCKGATE_PORT_80_TCP", "tcp://10.96.1.7:80"),
        ("LOCKGATE_PORT_80_TCP_PROTO", "tcp"),
        ("LOCKGATE_PORT_80_TCP_PORT", "80"),
        ("LOCKGATE_PORT_80_TCP_ADDR", "10.96.1.7"),
        ("LOCKGATE_PORT_53_UDP", "udp://10.96.1.7:53"),
        ("LOCKGATE_PORT_53_UDP_ADDR", "10.96.1.7"),
        ("LOCKGATE_PORT_36412_SCTP_PROTO", "sctp"),
        ("LOCKGATE_STAGING_SERVICE_HOST", "10.96.1.8"),
        ("LOCKGATE_STAGING_PORT", "tcp://10.96.1.8:80"),
        ("LOCKGATE_STAGING_PORT_80_TCP", "tcp://10.96.1.8:80"),
        ("LOCKGATE_STAGING_2_PORT_80_TCP_ADDR", "10.96.1.8"),
    ];
    let with = given(&["a:b"], links, None).expect("taken");
    assert_eq!(
        with.print(),
        given(&["a:b"], &[], None).expect("taken").print()
    );
    let mistakes: Variables = &[
        ("LOCKGATE_PORT", "8000"),
        ("LOCKGATE_SERVICE_PORT", "http"),
        ("LOCKGATE_SERVICE", "x"),
        ("LOCKGATE_HOST", "10.96.1.7"),
        ("LOCKGATE_PORT_80", "tcp://10.96.1.7:80"),
        ("LOCKGATE_PORT_TCP", "tcp://10.96.1.7:80"),
        ("LOCKGATE_PORT_80_TCP", "80"),
        ("LOCKGATE_PORT_80_TCP_HOST", "10.96.1.7"),
        ("LOCKGATE_PORT_80_HTTP", "tcp://10.96.1.7:80"),
        ("LOCKGATE_STAGING", "tcp://10.96.1.7:80"),
    ];
    for mistake in mistakes {
        let reported = refused(&["a:b"], &[*mistake], None);
        let start = format!("{} (from the environment): unknown setting", mistake.0);
        assert!(reported.starts_with(&start), "{reported}");
    }
}

#[test]
fn only_a_command_line_that_cannot_be_understood_is_a_matter_of_usage() {
    let cases: &[(Arguments, Variables, File, bool)] = &[
        (&["a:b", "--nothing"], &[], None, true),
        (&["a:b", "-w"], &[], None, true),
        (&["a:b", "-w0"], &[], None, true),
        (&["a:b", "-k", "asgi"], &[], None, true),
        (&["a:b", "--log-syslog"], &[], None, true),
        (&["a:b"], &[("GUNICORN_CMD_ARGS", "-w0")], None, false),
        (&["a:b", "c:d"], &[], None, true),
        (&["a-b"], &[], None, true),
        (&[], &[], None, false),
        (&["a:b"], &[], Some("workers = 0"), false),
        (&["a:b"], &[], Some("workers ="), false),
        (&["a:b"], &[], Some("syslog = true"), false),
        (&["a:b"], &[("LOCKGATE_WORKERS", "0")], None, false),
    ];
    for (arguments, variables, file, expected) in cases {
        let mistakes = given(arguments, variables, *file).expect_err("refused");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].is_usage(), *expected, "{mistakes:?}");
    }
}

#[test]
fn notes_tell_what_is_allowed_but_hardly_meant() {
    let cases: &[(Arguments, Variables, &str)] = &[
        (
            &["-w", "193"],
            &[],
            "workers = 193 may need more memory than there is; auto would give 2 (auto: 2 CPUs by affinity, cgroup quota 2.0, memory 24.0 GiB allows 192)",
        ),
        (
            &[
                "--limit-request-head",
                "4K",
                "--limit-request-field-size",
                "1K",
            ],
            &[],
            "limit_request_line = 8190 never comes to bear: limit_request_head = 4096 is smaller",
        ),
        (&["-w", "192"], &[("GUNICORN_CMD_ARGS", "")], ""),
    ];
    for (arguments, variables, expected) in cases {
        let arguments = [&["a:b"], *arguments].concat();
        let resolved = given(&arguments, variables, None).expect("taken");
        assert_eq!(resolved.notes.join("|"), *expected);
    }
}
