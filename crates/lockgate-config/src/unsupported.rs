//! gunicorn's settings that Lockgate does not support, each with advice.
//!
//! One that would change what the server does is refused: a server that accepts `syslog` and logs elsewhere misleads
//! its operator. The others are ignored with a note. gunicorn's default is accepted silently.

use Support::{CommandLine, Ignored, Never, NotYet};
use Takes::{List, Nothing, Switch, Value};

/// A gunicorn setting that Lockgate does not support.
pub(crate) struct Unsupported {
    /// gunicorn's name for it in Python.
    pub(crate) name: &'static str,
    /// Its flags without dashes, if they differ from the name with hyphens.
    flags: &'static [&'static str],
    /// Its one-letter flag.
    pub(crate) short: Option<char>,
    pub(crate) takes: Takes,
    /// gunicorn's default, in JSON.
    pub(crate) default: &'static str,
    pub(crate) support: Support,
    /// What to do instead; may be empty.
    pub(crate) advice: &'static str,
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// No value.
    Switch,
    /// One value.
    Value,
    /// One value each time.
    List,
    /// There is no flag: the setting exists in the configuration file only.
    Nothing,
}

/// Why a setting is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    NotYet,
    Never,
    /// It is accepted with a note: without it the server serves no differently, or more strictly.
    Ignored,
    CommandLine,
}

impl Unsupported {
    /// The message for the operator.
    pub(crate) fn message(&self) -> String {
        let start = match self.support {
            NotYet => "Lockgate does not support this setting yet",
            Never | Ignored => "Lockgate does not support this setting",
            CommandLine => "this is available on the command line only",
        };
        if self.advice.is_empty() {
            start.to_owned()
        } else {
            format!("{start}: {}", self.advice)
        }
    }

    /// Its long flags without dashes, the preferred one first.
    pub(crate) fn long_flags(&self) -> Vec<String> {
        match (self.takes, self.flags) {
            (Nothing, _) => Vec::new(),
            (_, []) => vec![self.name.replace('_', "-")],
            (_, flags) => flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    const fn flags(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// The unsupported setting with this name in gunicorn's configuration file.
pub(crate) fn by_name(name: &str) -> Option<&'static Unsupported> {
    UNSUPPORTED
        .iter()
        .find(|unsupported| unsupported.name == name)
}

/// Those that have a flag.
pub(crate) fn with_flags() -> impl Iterator<Item = &'static Unsupported> {
    UNSUPPORTED
        .iter()
        .filter(|unsupported| unsupported.takes != Nothing && unsupported.support != CommandLine)
}

const fn unsupported(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    support: Support,
    advice: &'static str,
) -> Unsupported {
    Unsupported {
        name,
        flags: &[],
        short: None,
        takes,
        default,
        support,
        advice,
    }
}

const fn switch(name: &'static str, support: Support, advice: &'static str) -> Unsupported {
    unsupported(name, Switch, "false", support, advice)
}

const fn value(
    name: &'static str,
    default: &'static str,
    support: Support,
    advice: &'static str,
) -> Unsupported {
    unsupported(name, Value, default, support, advice)
}

const fn list(name: &'static str, support: Support, advice: &'static str) -> Unsupported {
    unsupported(name, List, "[]", support, advice)
}

const fn file_only(
    name: &'static str,
    default: &'static str,
    support: Support,
    advice: &'static str,
) -> Unsupported {
    unsupported(name, Nothing, default, support, advice)
}

const ASGI: &str = "Lockgate serves WSGI only";
const STRICT: &str = "requests that violate HTTP are refused";
const SYSLOG: &str =
    "log to standard error, which systemd's journal or logger(1) forwards to syslog";
const WITH_SYSLOG: &str = "it has no effect without syslog; remove it";
const DIRTY: &str = "use a task queue or a separate process";
const CONTROL: &str = "use admin_bind and lockgate ctl, or send signals";

/// Every name of gunicorn 27 that is neither a setting here nor a hook.
pub(crate) const UNSUPPORTED: &[Unsupported] = &[
    value("config", "\"./gunicorn.conf.py\"", CommandLine, "-c/--config, or LOCKGATE_CONFIG in the environment"),
    switch("check_config", CommandLine, "--check-config"),
    switch("print_config", CommandLine, "--print-config"),
    value("http_parser", "\"auto\"", Ignored, "there is one parser; remove it"),
    value("asgi_loop", "\"auto\"", Ignored, ASGI),
    value("asgi_lifespan", "\"auto\"", Ignored, ASGI),
    value("asgi_disconnect_grace_period", "3", Ignored, ASGI),
    value("websocket_max_message_size", "16777216", Ignored, ASGI),
    value("reload_engine", "\"auto\"", Ignored, "reload uses the system's notifications, and looks at files twice a second where it has none; remove it"),
    switch("spew", Ignored, "use a tracer, such as python -m trace"),
    switch("daemon", Never, "run it under systemd or another service manager").short('D'),
    value("worker_tmp_dir", "null", Ignored, "there are no heartbeat files; remove it"),
    switch("initgroups", Ignored, "workers always get the supplementary groups of their user; remove it"),
    file_only("tmp_upload_dir", "null", Ignored, "use spool_dir"),
    switch("permit_obsolete_folding", Ignored, STRICT),
    switch("strip_header_spaces", Ignored, STRICT),
    switch("permit_unconventional_http_method", Ignored, STRICT),
    switch("permit_unconventional_http_version", Ignored, STRICT),
    switch("casefold_http_method", Ignored, STRICT),
    switch("syslog", NotYet, SYSLOG).flags(&["log-syslog"]),
    value("syslog_addr", "\"udp://localhost:514\"", Ignored, WITH_SYSLOG).flags(&["log-syslog-to"]),
    value("syslog_prefix", "null", Ignored, WITH_SYSLOG).flags(&["log-syslog-prefix"]),
    value("syslog_facility", "\"user\"", Ignored, WITH_SYSLOG).flags(&["log-syslog-facility"]),
    switch("disable_redirect_access_to_syslog", Ignored, WITH_SYSLOG),
    switch("enable_stdio_inheritance", Ignored, "streams are always inherited; remove it").short('R'),
    file_only("default_proc_name", "\"gunicorn\"", Ignored, "use proc_name"),
    value("ssl_version", "2", Ignored, "use tls_min_version"),
    switch("suppress_ragged_eofs", Ignored, "a connection that ends without close_notify is closed quietly, and a body cut off by it is never complete; remove it").default("true"),
    switch("do_handshake_on_connect", Ignored, "handshakes occupy no thread and are limited by tls_handshake_timeout; remove it"),
    file_only("ssl_context", "null", Never, "use certificates, keyfile_password_file, tls_min_version and ciphers"),
    value("http2_cleartext", "\"off\"", Ignored, "HTTP/2 without TLS is spoken by prior knowledge if http2 is true; remove it"),
    value("http2_initial_window_size", "65535", Ignored, "the server chooses its windows; remove it"),
    value("http2_max_frame_size", "16384", Ignored, "frames have at most 16 KiB; remove it"),
    value("http2_max_header_list_size", "65536", Ignored, "use limit_request_head"),
    value("control_socket", "null", Ignored, CONTROL),
    value("control_socket_mode", "384", Ignored, CONTROL),
    switch("control_socket_disable", Ignored, "there is no control socket; remove it").flags(&["no-control-socket"]),
    list("dirty_apps", Never, DIRTY).flags(&["dirty-app"]),
    value("dirty_workers", "0", Never, DIRTY),
    value("dirty_timeout", "300", Ignored, DIRTY),
    value("dirty_threads", "1", Ignored, DIRTY),
    value("dirty_graceful_timeout", "30", Ignored, DIRTY),
    file_only("on_dirty_starting", "null", Ignored, DIRTY),
    file_only("dirty_post_fork", "null", Ignored, DIRTY),
    file_only("dirty_worker_init", "null", Ignored, DIRTY),
    file_only("dirty_worker_exit", "null", Ignored, DIRTY),
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
        }
    }

    #[test]
    fn every_default_is_json() {
        for unsupported in UNSUPPORTED {
            let parsed = serde_json::from_str::<serde_json::Value>(unsupported.default);
            assert!(parsed.is_ok(), "{}", unsupported.name);
        }
    }
}
