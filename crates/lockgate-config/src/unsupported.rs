//! gunicorn's settings that Lockgate does not support, each with advice.
//!
//! They are refused and never ignored: a server that accepts `reload` and watches no file misleads its operator.

use Support::{CommandLine, Never, NotYet};

/// A gunicorn setting that Lockgate does not support.
pub(crate) struct Unsupported {
    /// gunicorn's name for it in Python.
    pub(crate) name: &'static str,
    /// Its flags without dashes, if they differ from the name with hyphens.
    pub(crate) flags: &'static [&'static str],
    pub(crate) support: Support,
    /// What to do instead; may be empty.
    pub(crate) advice: &'static str,
}

/// Why a setting is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    NotYet,
    Never,
    CommandLine,
}

impl Unsupported {
    /// The message for the operator.
    pub(crate) fn message(&self) -> String {
        let start = match self.support {
            NotYet => "Lockgate does not support this setting yet",
            Never => "Lockgate does not support this setting",
            CommandLine => "this is available on the command line only",
        };
        if self.advice.is_empty() {
            start.to_owned()
        } else {
            format!("{start}: {}", self.advice)
        }
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.flags.contains(&flag) || (self.flags.is_empty() && self.name.replace('_', "-") == flag)
    }
}

/// The unsupported setting with this flag, written with its dashes and perhaps `=value`.
pub(crate) fn by_flag(flag: &str) -> Option<&'static Unsupported> {
    let flag = flag
        .split('=')
        .next()
        .unwrap_or(flag)
        .trim_start_matches('-');
    UNSUPPORTED
        .iter()
        .filter(|unsupported| unsupported.support != CommandLine)
        .find(|unsupported| unsupported.has_flag(flag))
}

/// The unsupported setting with this name in gunicorn's configuration file.
pub(crate) fn by_name(name: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED
        .iter()
        .find(|unsupported| unsupported.name == name)
}

const fn unsupported(
    name: &'static str,
    flags: &'static [&'static str],
    support: Support,
    advice: &'static str,
) -> Unsupported {
    Unsupported {
        name,
        flags,
        support,
        advice,
    }
}

const ASGI: &str = "Lockgate serves WSGI only";
const STRICT: &str = "requests that violate HTTP are refused";
const SYSLOG: &str = "log to standard error, which the service manager forwards";
const LOGGING: &str = "configure Python's logging in the application";
const PASTE: &str = "write a module that calls paste.deploy.loadapp, and name its attribute";
const DIRTY: &str = "use a task queue or a separate process";
const HOOK: &str = "hooks are functions, and lockgate.toml is not Python";
const RELOAD: &str = "restart the server after a change";
const CONTROL: &str = "use admin_bind and lockgate ctl, or send signals";

/// Every name of gunicorn 27 that is not a setting here.
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    unsupported(
        "config",
        &[],
        CommandLine,
        "-c/--config, or LOCKGATE_CONFIG in the environment",
    ),
    unsupported("check_config", &[], CommandLine, "--check-config"),
    unsupported("print_config", &[], CommandLine, "--print-config"),
    unsupported(
        "worker_class",
        &["worker-class", "k"],
        Never,
        "there is one kind of worker: use --threads",
    ),
    unsupported("http_parser", &[], Never, "there is one parser; remove it"),
    unsupported("asgi_loop", &[], Never, ASGI),
    unsupported("asgi_lifespan", &[], Never, ASGI),
    unsupported("asgi_disconnect_grace_period", &[], Never, ASGI),
    unsupported("websocket_max_message_size", &[], Never, ASGI),
    unsupported("reload", &[], NotYet, RELOAD),
    unsupported("reload_engine", &[], NotYet, RELOAD),
    unsupported("reload_extra_files", &["reload-extra-file"], NotYet, RELOAD),
    unsupported("spew", &[], Never, "use a tracer, such as python -m trace"),
    unsupported(
        "daemon",
        &["daemon", "D"],
        Never,
        "run it under systemd or another service manager",
    ),
    unsupported(
        "worker_tmp_dir",
        &[],
        Never,
        "there are no heartbeat files; remove it",
    ),
    unsupported("initgroups", &[], NotYet, ""),
    unsupported("tmp_upload_dir", &[], Never, "use spool_dir"),
    unsupported("paste", &["paste", "paster"], NotYet, PASTE),
    unsupported("raw_paste_global_conf", &["paste-global"], NotYet, PASTE),
    unsupported("permit_obsolete_folding", &[], Never, STRICT),
    unsupported("strip_header_spaces", &[], Never, STRICT),
    unsupported("permit_unconventional_http_method", &[], Never, STRICT),
    unsupported("permit_unconventional_http_version", &[], Never, STRICT),
    unsupported("casefold_http_method", &[], Never, STRICT),
    unsupported(
        "logger_class",
        &[],
        NotYet,
        "set access_logformat, and configure Python's logging in the application",
    ),
    unsupported("logconfig", &["log-config"], NotYet, LOGGING),
    unsupported("logconfig_json", &["log-config-json"], NotYet, LOGGING),
    unsupported("logconfig_dict", &[], NotYet, LOGGING),
    unsupported("syslog", &["log-syslog"], NotYet, SYSLOG),
    unsupported("syslog_addr", &["log-syslog-to"], NotYet, SYSLOG),
    unsupported("syslog_prefix", &["log-syslog-prefix"], NotYet, SYSLOG),
    unsupported("syslog_facility", &["log-syslog-facility"], NotYet, SYSLOG),
    unsupported("disable_redirect_access_to_syslog", &[], NotYet, SYSLOG),
    unsupported(
        "enable_stdio_inheritance",
        &["enable-stdio-inheritance", "R"],
        Never,
        "streams are always inherited; remove it",
    ),
    unsupported("default_proc_name", &[], Never, "use name"),
    unsupported("ssl_version", &[], Never, "use tls_min_version"),
    unsupported(
        "suppress_ragged_eofs",
        &[],
        Never,
        "a connection that ends without close_notify is closed quietly, and a body cut off by it is never complete; remove it",
    ),
    unsupported(
        "do_handshake_on_connect",
        &[],
        Never,
        "handshakes occupy no thread and are limited by tls_handshake_timeout; remove it",
    ),
    unsupported(
        "ssl_context",
        &[],
        Never,
        "use certificates, keyfile_password_file, tls_min_version and ciphers",
    ),
    unsupported(
        "http2_cleartext",
        &[],
        Never,
        "HTTP/2 without TLS is spoken by prior knowledge if http2 is true; remove it",
    ),
    unsupported(
        "http2_initial_window_size",
        &[],
        Never,
        "the server chooses its windows; remove it",
    ),
    unsupported(
        "http2_max_frame_size",
        &[],
        Never,
        "frames have at most 16 KiB; remove it",
    ),
    unsupported(
        "http2_max_header_list_size",
        &[],
        Never,
        "use limit_request_head",
    ),
    unsupported("control_socket", &[], NotYet, CONTROL),
    unsupported("control_socket_mode", &[], NotYet, CONTROL),
    unsupported(
        "control_socket_disable",
        &["no-control-socket"],
        Never,
        "there is no control socket; remove it",
    ),
    unsupported("dirty_apps", &["dirty-app"], Never, DIRTY),
    unsupported("dirty_workers", &[], Never, DIRTY),
    unsupported("dirty_timeout", &[], Never, DIRTY),
    unsupported("dirty_threads", &[], Never, DIRTY),
    unsupported("dirty_graceful_timeout", &[], Never, DIRTY),
    unsupported("on_starting", &[], NotYet, HOOK),
    unsupported("on_reload", &[], NotYet, HOOK),
    unsupported("when_ready", &[], NotYet, HOOK),
    unsupported("pre_fork", &[], NotYet, HOOK),
    unsupported("post_fork", &[], NotYet, HOOK),
    unsupported("post_worker_init", &[], NotYet, HOOK),
    unsupported("worker_int", &[], NotYet, HOOK),
    unsupported("worker_abort", &[], NotYet, HOOK),
    unsupported("pre_exec", &[], NotYet, HOOK),
    unsupported("pre_request", &[], NotYet, HOOK),
    unsupported("post_request", &[], NotYet, HOOK),
    unsupported("child_exit", &[], NotYet, HOOK),
    unsupported("worker_exit", &[], NotYet, HOOK),
    unsupported("nworkers_changed", &[], NotYet, HOOK),
    unsupported("on_exit", &[], NotYet, HOOK),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn nothing_that_exists_is_called_absent() {
        for setting in settings() {
            for name in setting.gunicorn.iter().chain([&setting.name]) {
                assert!(by_name(name).is_none(), "{name}");
            }
            for spelling in setting.spellings() {
                assert!(by_flag(&spelling).is_none(), "{spelling}");
            }
        }
    }

    #[test]
    fn flags_are_found_in_every_spelling() {
        for flag in [
            "-k",
            "--worker-class",
            "--worker-class=gthread",
            "-D",
            "-R",
            "--paster",
            "--paste-global",
            "--no-control-socket",
        ] {
            assert!(by_flag(flag).is_some(), "{flag}");
        }
        assert!(by_flag("--check-config").is_none());
        assert!(by_flag("--preload").is_none());
    }
}
