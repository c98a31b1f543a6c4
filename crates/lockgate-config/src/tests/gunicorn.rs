//! Tests of configurations in Python and of keyword arguments.

use super::{MACHINE, command};
use crate::{ConfSource, ConfigError, Inputs, Resolved, SettingsFile, resolve};

/// Resolves the names of a gunicorn.conf.py, as JSON, and keyword arguments.
fn evaluated(
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

fn errors(resolved: Result<Resolved, Vec<ConfigError>>) -> String {
    let mistakes = resolved.err().unwrap_or_default();
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
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
    let names = r#"{"name": "workers", "line": 3, "value": 4}"#;
    let keywords = r#"{"workers": 2, "keepalive": 5, "pidfile": null}"#;
    let resolved = evaluated(&["a:b", "-w", "3"], names, Some(keywords)).expect("taken");
    assert_eq!(resolved.config.workers, 2);
    assert_eq!(
        resolved.origins.of("workers").to_string(),
        "serve(workers=…)"
    );
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
