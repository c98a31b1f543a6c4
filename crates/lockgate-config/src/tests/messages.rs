//! Errors say what, with which value, where, and what to do.

use super::{Arguments, File, Variables, given, refused};

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
            "max_worker_memory_hard = \"4%\" (from LOCKGATE_MAX_WORKER_MEMORY_HARD): must be more than max_worker_memory = \"1GiB\": a worker is to be replaced before it is ended",
        ),
        (
            &["a:b", "--max-worker-memory", "0.05%"],
            &[],
            None,
            "max_worker_memory = \"0.05%\" (from --max-worker-memory): must come to at least 16MiB here, and is 12MiB of the machine's memory of 24.0 GiB",
        ),
        // A value that a stronger one hides is checked too.
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
            "--wrokers: there is no such flag; is it --workers?",
        ),
        (
            &["a:b", "--keepalive=3"],
            &[],
            None,
            "--keepalive: there is no such flag; is it --keep-alive?",
        ),
        (
            &["a:b", "--no-sendfil"],
            &[],
            None,
            "--no-sendfil: there is no such flag; is it --no-sendfile?",
        ),
        (
            &["a:b", "--print"],
            &[],
            None,
            "--print: there is no such flag; is it --print-config?",
        ),
        (
            &["a:b", "--processes", "3"],
            &[],
            None,
            "--processes: there is no such flag; is it --workers?",
        ),
        (
            &["a:b", "--colour"],
            &[],
            None,
            "--colour: there is no such flag; see lockgate --help",
        ),
        (
            &["a:b", "-x"],
            &[],
            None,
            "-x: there is no such flag; see lockgate --help",
        ),
        (&["a:b", "--bind"], &[], None, "--bind: a value must follow"),
        (&["a:b", "-b"], &[], None, "--bind: a value must follow"),
        (
            &["a:b", "--reuse-port=yes"],
            &[],
            None,
            "--reuse-port: takes no value; write it alone",
        ),
        (
            &["a:b", "c:d"],
            &[],
            None,
            "c:d: only one application can be served, and one was named before",
        ),
        (
            &["a:b", "-k", "gthread"],
            &[],
            None,
            "-k: Lockgate does not have this setting: Lockgate has one engine: use --threads",
        ),
        (
            &["a:b", "--worker-class=gthread"],
            &[],
            None,
            "--worker-class: Lockgate does not have this setting: Lockgate has one engine: use --threads",
        ),
        (
            &["a:b", "--statsd-host", "9"],
            &[],
            None,
            "--statsd-host: Lockgate does not have this setting yet",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_CERTFILE", "x")],
            None,
            "LOCKGATE_CERTFILE: Lockgate does not have this setting yet: terminate TLS in front",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_WROKERS", "3")],
            None,
            "LOCKGATE_WROKERS (from the environment): there is no such setting; is it LOCKGATE_WORKERS?",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_PIDFILE", "x")],
            None,
            "LOCKGATE_PIDFILE (from the environment): there is no such setting; is it LOCKGATE_PID?",
        ),
        (
            &["a:b"],
            &[("LOCKGATE_COLOUR", "3")],
            None,
            "LOCKGATE_COLOUR (from the environment): there is no such setting; unset it; names that begin with LOCKGATE_ are the server's",
        ),
        (
            &[],
            &[],
            None,
            "no application is named; write lockgate module:attribute, or app = \"module:attribute\" in lockgate.toml",
        ),
        (
            &["a:b", "-c", "gunicorn.conf.py"],
            &[],
            None,
            "gunicorn.conf.py: a configuration in Python cannot be read; write its settings into lockgate.toml, under the same names",
        ),
        (
            &["my-app:app"],
            &[],
            None,
            "app = \"my-app:app\" (from the command line): my-app is not a module name: Python's names have no hyphen; is it my_app?",
        ),
    ];
    for (arguments, variables, file, expected) in cases {
        assert_eq!(refused(arguments, variables, *file), *expected);
    }
}

#[test]
fn only_a_command_line_that_cannot_be_understood_is_a_matter_of_usage() {
    let cases: &[(Arguments, Variables, File, bool)] = &[
        (&["a:b", "--nothing"], &[], None, true),
        (&["a:b", "-w"], &[], None, true),
        (&["a:b", "-w0"], &[], None, true),
        (&["a:b", "-k", "sync"], &[], None, true),
        (&["a:b", "c:d"], &[], None, true),
        (&["a-b"], &[], None, true),
        (&[], &[], None, false),
        (&["a:b"], &[], Some("workers = 0"), false),
        (&["a:b"], &[], Some("workers ="), false),
        (&["a:b"], &[], Some("reload = true"), false),
        (&["a:b"], &[("LOCKGATE_WORKERS", "0")], None, false),
    ];
    for (arguments, variables, file, expected) in cases {
        let error = given(arguments, variables, *file).expect_err("refused");
        assert_eq!(error.is_usage(), *expected, "{error}");
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
        (
            &[],
            &[("GUNICORN_CMD_ARGS", "--workers 3")],
            "GUNICORN_CMD_ARGS is set and not read: write the settings into lockgate.toml or LOCKGATE_*",
        ),
        (&["-w", "192"], &[("GUNICORN_CMD_ARGS", "")], ""),
    ];
    for (arguments, variables, expected) in cases {
        let arguments = [&["a:b"], *arguments].concat();
        let resolved = given(&arguments, variables, None).expect("taken");
        assert_eq!(resolved.notes.join("|"), *expected);
    }
}
