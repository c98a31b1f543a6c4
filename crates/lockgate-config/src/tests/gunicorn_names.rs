//! Tests that every name and flag of gunicorn 27 is accounted for.

use super::given;
use super::gunicorn::{errors, evaluated, function, notes};
use crate::{Config, HookName, cfg, gunicorn_page};

/// gunicorn's names, their flags, what a flag takes, and their defaults in JSON (null where they depend on the host).
const SETTINGS: [(&str, &str, &str, &str); 120] = [
    ("config", "-c --config", "value", r#""./gunicorn.conf.py""#),
    ("wsgi_app", "", "", r#"null"#),
    ("bind", "-b --bind", "list", r#"["127.0.0.1:8000"]"#),
    ("backlog", "--backlog", "value", r#"2048"#),
    ("workers", "-w --workers", "value", r#"1"#),
    ("worker_class", "-k --worker-class", "value", r#""sync""#),
    ("threads", "--threads", "value", r#"1"#),
    (
        "worker_connections",
        "--worker-connections",
        "value",
        r#"1000"#,
    ),
    ("max_requests", "--max-requests", "value", r#"0"#),
    (
        "max_requests_jitter",
        "--max-requests-jitter",
        "value",
        r#"0"#,
    ),
    ("timeout", "-t --timeout", "value", r#"30"#),
    ("graceful_timeout", "--graceful-timeout", "value", r#"30"#),
    ("keepalive", "--keep-alive", "value", r#"2"#),
    (
        "limit_request_line",
        "--limit-request-line",
        "value",
        r#"4094"#,
    ),
    (
        "limit_request_fields",
        "--limit-request-fields",
        "value",
        r#"100"#,
    ),
    (
        "limit_request_field_size",
        "--limit-request-field_size",
        "value",
        r#"8190"#,
    ),
    ("reload", "--reload", "switch", r#"false"#),
    ("reload_engine", "--reload-engine", "value", r#""auto""#),
    ("reload_extra_files", "--reload-extra-file", "list", r#"[]"#),
    ("spew", "--spew", "switch", r#"false"#),
    ("check_config", "--check-config", "switch", r#"false"#),
    ("print_config", "--print-config", "switch", r#"false"#),
    ("preload_app", "--preload", "switch", r#"false"#),
    ("sendfile", "--no-sendfile", "switch", r#"null"#),
    ("reuse_port", "--reuse-port", "switch", r#"false"#),
    ("chdir", "--chdir", "value", r#"null"#),
    ("daemon", "-D --daemon", "switch", r#"false"#),
    ("raw_env", "-e --env", "list", r#"[]"#),
    ("pidfile", "-p --pid", "value", r#"null"#),
    ("worker_tmp_dir", "--worker-tmp-dir", "value", r#"null"#),
    ("user", "-u --user", "value", r#"null"#),
    ("group", "-g --group", "value", r#"null"#),
    ("umask", "-m --umask", "value", r#"0"#),
    ("initgroups", "--initgroups", "switch", r#"false"#),
    ("tmp_upload_dir", "", "", r#"null"#),
    (
        "secure_scheme_headers",
        "",
        "",
        r#"{"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}"#,
    ),
    (
        "forwarded_allow_ips",
        "--forwarded-allow-ips",
        "value",
        r#""127.0.0.1,::1""#,
    ),
    ("accesslog", "--access-logfile", "value", r#"null"#),
    (
        "disable_redirect_access_to_syslog",
        "--disable-redirect-access-to-syslog",
        "switch",
        r#"false"#,
    ),
    (
        "access_log_format",
        "--access-logformat",
        "value",
        r#""%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"""#,
    ),
    ("errorlog", "--error-logfile --log-file", "value", r#""-""#),
    ("loglevel", "--log-level", "value", r#""info""#),
    ("capture_output", "--capture-output", "switch", r#"false"#),
    (
        "logger_class",
        "--logger-class",
        "value",
        r#""gunicorn.glogging.Logger""#,
    ),
    ("logconfig", "--log-config", "value", r#"null"#),
    ("logconfig_dict", "", "", r#"{}"#),
    ("logconfig_json", "--log-config-json", "value", r#"null"#),
    (
        "syslog_addr",
        "--log-syslog-to",
        "value",
        r#""udp://localhost:514""#,
    ),
    ("syslog", "--log-syslog", "switch", r#"false"#),
    ("syslog_prefix", "--log-syslog-prefix", "value", r#"null"#),
    (
        "syslog_facility",
        "--log-syslog-facility",
        "value",
        r#""user""#,
    ),
    (
        "enable_stdio_inheritance",
        "-R --enable-stdio-inheritance",
        "switch",
        r#"false"#,
    ),
    ("statsd_host", "--statsd-host", "value", r#"null"#),
    ("dogstatsd_tags", "--dogstatsd-tags", "value", r#""""#),
    ("statsd_prefix", "--statsd-prefix", "value", r#""""#),
    (
        "enable_backlog_metric",
        "--enable-backlog-metric",
        "switch",
        r#"false"#,
    ),
    ("proc_name", "-n --name", "value", r#"null"#),
    ("default_proc_name", "", "", r#""gunicorn""#),
    ("pythonpath", "--pythonpath", "value", r#"null"#),
    ("paste", "--paste --paster", "value", r#"null"#),
    ("on_starting", "", "", r#"null"#),
    ("on_reload", "", "", r#"null"#),
    ("when_ready", "", "", r#"null"#),
    ("pre_fork", "", "", r#"null"#),
    ("post_fork", "", "", r#"null"#),
    ("post_worker_init", "", "", r#"null"#),
    ("worker_int", "", "", r#"null"#),
    ("worker_abort", "", "", r#"null"#),
    ("pre_exec", "", "", r#"null"#),
    ("pre_request", "", "", r#"null"#),
    ("post_request", "", "", r#"null"#),
    ("child_exit", "", "", r#"null"#),
    ("worker_exit", "", "", r#"null"#),
    ("nworkers_changed", "", "", r#"null"#),
    ("on_exit", "", "", r#"null"#),
    ("ssl_context", "", "", r#"null"#),
    ("proxy_protocol", "--proxy-protocol", "optional", r#""off""#),
    (
        "proxy_allow_ips",
        "--proxy-allow-from",
        "value",
        r#""127.0.0.1,::1""#,
    ),
    ("protocol", "--protocol", "value", r#""http""#),
    (
        "uwsgi_allow_ips",
        "--uwsgi-allow-from",
        "value",
        r#""127.0.0.1,::1""#,
    ),
    ("keyfile", "--keyfile", "value", r#"null"#),
    ("certfile", "--certfile", "value", r#"null"#),
    ("ssl_version", "--ssl-version", "value", r#"2"#),
    ("cert_reqs", "--cert-reqs", "value", r#"0"#),
    ("ca_certs", "--ca-certs", "value", r#"null"#),
    (
        "suppress_ragged_eofs",
        "--suppress-ragged-eofs",
        "switch",
        r#"true"#,
    ),
    (
        "do_handshake_on_connect",
        "--do-handshake-on-connect",
        "switch",
        r#"false"#,
    ),
    ("ciphers", "--ciphers", "value", r#"null"#),
    ("http_protocols", "--http-protocols", "value", r#""h1""#),
    ("http2_cleartext", "--http2-cleartext", "value", r#""off""#),
    (
        "http2_max_concurrent_streams",
        "--http2-max-concurrent-streams",
        "value",
        r#"100"#,
    ),
    (
        "http2_initial_window_size",
        "--http2-initial-window-size",
        "value",
        r#"65535"#,
    ),
    (
        "http2_max_frame_size",
        "--http2-max-frame-size",
        "value",
        r#"16384"#,
    ),
    (
        "http2_max_header_list_size",
        "--http2-max-header-list-size",
        "value",
        r#"65536"#,
    ),
    ("raw_paste_global_conf", "--paste-global", "list", r#"[]"#),
    (
        "permit_obsolete_folding",
        "--permit-obsolete-folding",
        "switch",
        r#"false"#,
    ),
    (
        "strip_header_spaces",
        "--strip-header-spaces",
        "switch",
        r#"false"#,
    ),
    (
        "permit_unconventional_http_method",
        "--permit-unconventional-http-method",
        "switch",
        r#"false"#,
    ),
    (
        "permit_unconventional_http_version",
        "--permit-unconventional-http-version",
        "switch",
        r#"false"#,
    ),
    (
        "casefold_http_method",
        "--casefold-http-method",
        "switch",
        r#"false"#,
    ),
    (
        "forwarder_headers",
        "--forwarder-headers",
        "value",
        r#""SCRIPT_NAME,PATH_INFO""#,
    ),
    ("header_map", "--header-map", "value", r#""drop""#),
    ("asgi_loop", "--asgi-loop", "value", r#""auto""#),
    ("asgi_lifespan", "--asgi-lifespan", "value", r#""auto""#),
    (
        "asgi_disconnect_grace_period",
        "--asgi-disconnect-grace-period",
        "value",
        r#"3"#,
    ),
    (
        "websocket_max_message_size",
        "--websocket-max-message-size",
        "value",
        r#"16777216"#,
    ),
    ("http_parser", "--http-parser", "value", r#""auto""#),
    ("root_path", "--root-path", "value", r#""""#),
    ("dirty_apps", "--dirty-app", "list", r#"[]"#),
    ("dirty_workers", "--dirty-workers", "value", r#"0"#),
    ("dirty_timeout", "--dirty-timeout", "value", r#"300"#),
    ("dirty_threads", "--dirty-threads", "value", r#"1"#),
    (
        "dirty_graceful_timeout",
        "--dirty-graceful-timeout",
        "value",
        r#"30"#,
    ),
    ("on_dirty_starting", "", "", r#"null"#),
    ("dirty_post_fork", "", "", r#"null"#),
    ("dirty_worker_init", "", "", r#"null"#),
    ("dirty_worker_exit", "", "", r#"null"#),
    ("control_socket", "--control-socket", "value", r#"null"#),
    (
        "control_socket_mode",
        "--control-socket-mode",
        "value",
        r#"384"#,
    ),
    (
        "control_socket_disable",
        "--no-control-socket",
        "switch",
        r#"false"#,
    ),
];

#[test]
fn every_flag_is_understood() {
    for (name, flags, takes, default) in SETTINGS {
        for flag in flags.split_whitespace() {
            let value = match default {
                "null" | "[]" => "1".to_owned(),
                text => text.trim_matches(['"', '[', ']']).replace("\\\"", "\""),
            };
            let arguments = match takes {
                "switch" => vec!["a:b", flag],
                _ => vec!["a:b", flag, &value],
            };
            let found = errors(given(&arguments, &[], None));
            for wrong in [
                "unknown flag",
                "requires a value",
                "not take a value",
                "only one application",
            ] {
                assert!(!found.contains(wrong), "{name} {flag}: {found}");
            }
            let is_default = takes != "switch" && !["null", "[]"].contains(&default);
            assert!(
                found.is_empty() || !is_default,
                "{name} {flag} {value}: {found}"
            );
        }
    }
}

#[test]
fn every_default_is_accepted_silently() {
    let names = SETTINGS
        .iter()
        .filter(|(name, ..)| HookName::named(name).is_none())
        .map(|(name, _, _, default)| {
            format!(r#"{{"name": "{name}", "line": 1, "value": {default}}}"#)
        });
    let names: Vec<String> = names.collect();
    let resolved = evaluated(&["a:b"], &names.join(","), None);
    assert_eq!(errors(resolved.clone()), "");
    assert_eq!(notes(resolved), Vec::<String>::new());
}

#[test]
fn no_name_is_ignored_silently() {
    for (name, ..) in SETTINGS {
        let object = format!(r#"{{"name": "{name}", "line": 1, "object": "<x>", "path": null}}"#);
        let resolved = evaluated(&["a:b", "--threads", "1"], &object, None);
        let config = resolved
            .as_ref()
            .ok()
            .map(|resolved| resolved.config.clone());
        let said = [vec![errors(resolved.clone())], notes(resolved)]
            .concat()
            .join("\n");
        let has_dictionary = config.is_some_and(|config| config.gunicorn.has_logconfig_dict);
        assert!(
            said.contains("conf.py line 1)") || has_dictionary,
            "{name}: {said:?}"
        );
        assert!(!said.contains("did you mean"), "{name}: {said}");
    }
}

#[test]
fn every_hook_is_taken_with_its_parameters_and_no_others() {
    for hook in HookName::ALL {
        let most = hook.parameters().len();
        for count in 0..=5 {
            let resolved = evaluated(&["a:b"], &function(hook.name(), count), None);
            let is_right =
                count == most || (hook == HookName::PostRequest && (2..=4).contains(&count));
            let taken = resolved.map(|resolved| resolved.config.gunicorn.hooks);
            assert_eq!(taken.ok(), is_right.then(|| vec![hook]), "{hook:?} {count}");
        }
    }
}

#[test]
fn the_page_and_the_object_have_every_name() {
    let page = gunicorn_page();
    let config = Config::with_defaults(crate::AppSpec::parse("a:b").expect("an application"));
    let object: serde_json::Value = serde_json::from_str(&cfg(&config)).expect("JSON");
    assert_eq!(
        object.as_object().map(serde_json::Map::len),
        Some(SETTINGS.len())
    );
    for (name, flags, ..) in SETTINGS {
        assert!(object.get(name).is_some(), "{name}");
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        assert!(!row.ends_with("|  |"), "{row}");
        for flag in flags
            .split_whitespace()
            .filter(|_| !["config", "check_config", "print_config"].contains(&name))
        {
            assert!(row.contains(&format!("`{flag}`")), "{flag}: {row}");
        }
    }
}

#[test]
fn the_object_has_gunicorns_types() {
    let resolved = given(
        &[
            "shop:app",
            "-w",
            "3",
            "--threads",
            "4",
            "-b",
            ":80",
            "--keep-alive",
            "1500ms",
            "--umask",
            "022",
            "--pythonpath",
            "/a,/b",
            "--limit-request-line",
            "0",
            "-e",
            "A=1",
            "--log-level",
            "WARN",
        ],
        &[],
        None,
    );
    let config = resolved.expect("taken").config;
    let object: serde_json::Value = serde_json::from_str(&cfg(&config)).expect("JSON");
    let cases = [
        ("workers", "3"),
        ("threads", "4"),
        ("worker_class", "\"gthread\""),
        ("bind", "[\"0.0.0.0:80\"]"),
        ("keepalive", "1.5"),
        ("timeout", "30"),
        ("umask", "18"),
        ("pythonpath", "\"/a,/b\""),
        ("limit_request_line", "65536"),
        ("raw_env", "[\"A=1\"]"),
        ("accesslog", "null"),
        ("errorlog", "\"-\""),
        ("loglevel", "\"warning\""),
        ("pidfile", "null"),
        ("preload_app", "false"),
        ("sendfile", "true"),
        ("wsgi_app", "\"shop:app\""),
        ("default_proc_name", "\"shop:app\""),
        ("proc_name", "null"),
        ("forwarded_allow_ips", "[\"127.0.0.1\",\"::1\"]"),
        (
            "secure_scheme_headers",
            r#"{"X-FORWARDED-PROTO":"https","X-FORWARDED-PROTOCOL":"ssl","X-FORWARDED-SSL":"on"}"#,
        ),
        ("cert_reqs", "0"),
        ("http_protocols", "[\"h2\",\"h1\"]"),
        ("root_path", "\"\""),
        ("reload", "false"),
        ("worker_tmp_dir", "null"),
        ("post_fork", "null"),
    ];
    for (name, expected) in cases {
        assert_eq!(object[name].to_string(), expected, "{name}");
    }
}
