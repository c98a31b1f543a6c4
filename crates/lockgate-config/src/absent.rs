//! gunicorn's settings that Lockgate does not support, each with advice.
//!
//! They are refused and never ignored: a server that accepts `reload` and watches no file misleads its operator.

use Absence::{CommandLine, Never, NotYet};

/// A gunicorn setting that Lockgate does not support.
pub(crate) struct Absent {
    /// gunicorn's name for it in Python.
    pub(crate) name: &'static str,
    /// Its flags without dashes, if they differ from the name with hyphens.
    pub(crate) flags: &'static [&'static str],
    pub(crate) absence: Absence,
    /// What to do instead; may be empty.
    pub(crate) advice: &'static str,
}

/// Why a setting is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    NotYet,
    Never,
    CommandLine,
}

impl Absent {
    /// The message for the operator.
    pub(crate) fn message(&self) -> String {
        let start = match self.absence {
            NotYet => "Lockgate does not have this setting yet",
            Never => "Lockgate does not have this setting",
            CommandLine => "this can only be asked for on the command line",
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

/// The absent setting with this flag, written with its dashes and perhaps `=value`.
pub(crate) fn by_flag(flag: &str) -> Option<&'static Absent> {
    let flag = flag
        .split('=')
        .next()
        .unwrap_or(flag)
        .trim_start_matches('-');
    ABSENT
        .iter()
        .filter(|absent| absent.absence != CommandLine)
        .find(|absent| absent.has_flag(flag))
}

/// The absent setting with this name in gunicorn's configuration file.
pub(crate) fn by_name(name: &str) -> Option<&'static Absent> {
    ABSENT.iter().find(|absent| absent.name == name)
}

const fn absent(
    name: &'static str,
    flags: &'static [&'static str],
    absence: Absence,
    advice: &'static str,
) -> Absent {
    Absent {
        name,
        flags,
        absence,
        advice,
    }
}

const ASGI: &str = "Lockgate serves WSGI only";
const STRICT: &str = "requests that break the rules of HTTP are refused";
const SYSLOG: &str = "log to standard error, and let the service manager pass it on";
const LOGGING: &str = "configure Python's logging in the application";
const PASTE: &str = "write a module that calls paste.deploy.loadapp, and name its attribute";
const TLS: &str = "terminate TLS in front";
const HTTP1: &str = "it speaks HTTP/1.1";
const DIRTY: &str = "use a task queue, or a process of your own";
const HOOK: &str = "hooks are functions, and lockgate.toml is not Python";
const RELOAD: &str = "restart the server after a change";
const CONTROL: &str = "use admin_bind and lockgate ctl, or send signals";

/// Every name of gunicorn 27 that is not a setting here.
pub(crate) const ABSENT: &[Absent] = &[
    absent(
        "config",
        &[],
        CommandLine,
        "-c/--config, or LOCKGATE_CONFIG in the environment",
    ),
    absent("check_config", &[], CommandLine, "--check-config"),
    absent("print_config", &[], CommandLine, "--print-config"),
    absent(
        "worker_class",
        &["worker-class", "k"],
        Never,
        "Lockgate has one engine: use --threads",
    ),
    absent("http_parser", &[], Never, "there is one parser; remove it"),
    absent("asgi_loop", &[], Never, ASGI),
    absent("asgi_lifespan", &[], Never, ASGI),
    absent("asgi_disconnect_grace_period", &[], Never, ASGI),
    absent("websocket_max_message_size", &[], Never, ASGI),
    absent("reload", &[], NotYet, RELOAD),
    absent("reload_engine", &[], NotYet, RELOAD),
    absent("reload_extra_files", &["reload-extra-file"], NotYet, RELOAD),
    absent("spew", &[], Never, "use a tracer, such as python -m trace"),
    absent(
        "daemon",
        &["daemon", "D"],
        Never,
        "let systemd or another service manager run it",
    ),
    absent(
        "worker_tmp_dir",
        &[],
        Never,
        "there are no heartbeat files; remove it",
    ),
    absent("initgroups", &[], NotYet, ""),
    absent("tmp_upload_dir", &[], Never, "use spool_dir"),
    absent("protocol", &[], NotYet, HTTP1),
    absent("uwsgi_allow_ips", &["uwsgi-allow-from"], NotYet, HTTP1),
    absent("paste", &["paste", "paster"], NotYet, PASTE),
    absent("raw_paste_global_conf", &["paste-global"], NotYet, PASTE),
    absent("permit_obsolete_folding", &[], Never, STRICT),
    absent("strip_header_spaces", &[], Never, STRICT),
    absent("permit_unconventional_http_method", &[], Never, STRICT),
    absent("permit_unconventional_http_version", &[], Never, STRICT),
    absent("casefold_http_method", &[], Never, STRICT),
    absent(
        "capture_output",
        &[],
        NotYet,
        "redirect the server's streams where you start it",
    ),
    absent(
        "logger_class",
        &[],
        NotYet,
        "set access_logformat, and configure Python's logging in the application",
    ),
    absent("logconfig", &["log-config"], NotYet, LOGGING),
    absent("logconfig_json", &["log-config-json"], NotYet, LOGGING),
    absent("logconfig_dict", &[], NotYet, LOGGING),
    absent("syslog", &["log-syslog"], NotYet, SYSLOG),
    absent("syslog_addr", &["log-syslog-to"], NotYet, SYSLOG),
    absent("syslog_prefix", &["log-syslog-prefix"], NotYet, SYSLOG),
    absent("syslog_facility", &["log-syslog-facility"], NotYet, SYSLOG),
    absent("disable_redirect_access_to_syslog", &[], NotYet, SYSLOG),
    absent(
        "enable_stdio_inheritance",
        &["enable-stdio-inheritance", "R"],
        Never,
        "streams are always inherited; remove it",
    ),
    absent("statsd_host", &[], NotYet, ""),
    absent("statsd_prefix", &[], NotYet, ""),
    absent("dogstatsd_tags", &[], NotYet, ""),
    absent("enable_backlog_metric", &[], NotYet, ""),
    absent("default_proc_name", &[], Never, "use name"),
    absent("keyfile", &[], NotYet, TLS),
    absent("certfile", &[], NotYet, TLS),
    absent("ca_certs", &[], NotYet, TLS),
    absent("cert_reqs", &[], NotYet, TLS),
    absent("ciphers", &[], NotYet, TLS),
    absent("ssl_version", &[], NotYet, TLS),
    absent("suppress_ragged_eofs", &[], NotYet, TLS),
    absent("do_handshake_on_connect", &[], NotYet, TLS),
    absent("ssl_context", &[], NotYet, TLS),
    absent("http_protocols", &[], NotYet, HTTP1),
    absent("http2_cleartext", &[], NotYet, HTTP1),
    absent("http2_max_concurrent_streams", &[], NotYet, HTTP1),
    absent("http2_initial_window_size", &[], NotYet, HTTP1),
    absent("http2_max_frame_size", &[], NotYet, HTTP1),
    absent("http2_max_header_list_size", &[], NotYet, HTTP1),
    absent("control_socket", &[], NotYet, CONTROL),
    absent("control_socket_mode", &[], NotYet, CONTROL),
    absent(
        "control_socket_disable",
        &["no-control-socket"],
        Never,
        "there is no control socket; remove it",
    ),
    absent("dirty_apps", &["dirty-app"], Never, DIRTY),
    absent("dirty_workers", &[], Never, DIRTY),
    absent("dirty_timeout", &[], Never, DIRTY),
    absent("dirty_threads", &[], Never, DIRTY),
    absent("dirty_graceful_timeout", &[], Never, DIRTY),
    absent("on_starting", &[], NotYet, HOOK),
    absent("on_reload", &[], NotYet, HOOK),
    absent("when_ready", &[], NotYet, HOOK),
    absent("pre_fork", &[], NotYet, HOOK),
    absent("post_fork", &[], NotYet, HOOK),
    absent("post_worker_init", &[], NotYet, HOOK),
    absent("worker_int", &[], NotYet, HOOK),
    absent("worker_abort", &[], NotYet, HOOK),
    absent("pre_exec", &[], NotYet, HOOK),
    absent("pre_request", &[], NotYet, HOOK),
    absent("post_request", &[], NotYet, HOOK),
    absent("child_exit", &[], NotYet, HOOK),
    absent("worker_exit", &[], NotYet, HOOK),
    absent("nworkers_changed", &[], NotYet, HOOK),
    absent("on_exit", &[], NotYet, HOOK),
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
