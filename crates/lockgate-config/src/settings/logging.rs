//! Settings: the logs.

use std::path::{Path, PathBuf};

use crate::kind::Kind;
use crate::notation::quoted;
use crate::raw_value::ValueError;
use crate::setting::{Section, Setting, Shape};
use crate::{ErrorLogFormat, LogLevel, LogTarget, LogTimezone, LogWording};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "access_logfile",
        section: Section::Logging,
        short: None,
        flags: &["access-logfile"],
        shape: Shape::Value,
        kind: Kind::LogTarget { optional: true },
        doc: "File of the access log. `-` is standard output, `/dev/stderr` standard error; `none` or an empty value \
              disables the log; any other value is a file, to which lines are appended.",
        gunicorn: &["accesslog"],
        uwsgi: &["req-logger", "logto"],
        read: |builder, value| {
            builder.config.access_log = target(&value.text()?, LogTarget::Stdout);
            Ok(())
        },
        show: |builder| match &builder.config.access_log {
            None => quoted("none"),
            Some(LogTarget::Stdout) => quoted("-"),
            Some(LogTarget::Stderr) => quoted(STDERR),
            Some(LogTarget::File(path)) => quoted(&path.display().to_string()),
        },
    },
    Setting {
        name: "access_logformat",
        section: Section::Logging,
        short: None,
        flags: &["access-logformat"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Format of the access log. `combined`, `common`, `json`, `development`, or a format with gunicorn's \
              atoms, as in `%(h)s %(r)s %(s)s`; `%(R)s` is the reason why the server refused the request. \
              `development` is the short line of `lockgate dev`, with `colour` and `slow=SECONDS` as options \
              behind the word.",
        gunicorn: &["access_log_format"],
        uwsgi: &["log-format", "logformat"],
        read: |builder, value| {
            builder.config.access_log_format = value.optional_text()?.ok_or_else(|| {
                ValueError::from(
                    "must not be empty; to disable the log, set access_logfile to none",
                )
            })?;
            Ok(())
        },
        show: |builder| quoted(&builder.config.access_log_format),
    },
    Setting {
        name: "error_logfile",
        section: Section::Logging,
        short: None,
        flags: &["error-logfile", "log-file"],
        shape: Shape::Value,
        kind: Kind::LogTarget { optional: false },
        doc: "File of the error log. `-` is standard error, `/dev/stdout` standard output; any other value is a \
              file, to which messages are appended. The error log cannot be disabled; see `log_level`.",
        gunicorn: &["errorlog"],
        uwsgi: &["logger", "logto2"],
        read: |builder, value| {
            builder.config.error_log =
                target(&value.text()?, LogTarget::Stderr).ok_or_else(|| {
                    ValueError::from(
                        "must be - or a file; for fewer messages, set log_level to critical",
                    )
                })?;
            Ok(())
        },
        show: |builder| match &builder.config.error_log {
            LogTarget::Stderr => quoted("-"),
            LogTarget::Stdout => quoted(STDOUT),
            LogTarget::File(path) => quoted(&path.display().to_string()),
        },
    },
    Setting {
        name: "log_level",
        section: Section::Logging,
        short: None,
        flags: &["log-level"],
        shape: Shape::Value,
        kind: Kind::Word(&["critical", "error", "warning", "info", "debug"]),
        doc: "Minimum severity of messages in the error log.",
        gunicorn: &["loglevel"],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.log_level = LogLevel::ALL
                .into_iter()
                .find(|level| {
                    level.name() == word || (word == "warn" && *level == LogLevel::Warning)
                })
                .ok_or_else(|| {
                    ValueError::from("must be critical, error, warning, info or debug")
                })?;
            Ok(())
        },
        show: |builder| quoted(builder.config.log_level.name()),
    },
    Setting {
        name: "error_logformat",
        section: Section::Logging,
        short: None,
        flags: &["error-logformat"],
        shape: Shape::Value,
        kind: Kind::Word(&["text", "json"]),
        doc: "Format of the error log. `json` is one object per line, with the keys `time`, `level`, `pid`, `logger` \
              and `message`; text that the application writes to `wsgi.errors` becomes such objects too.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.log_style.error_format = ErrorLogFormat::ALL
                .into_iter()
                .find(|format| format.name() == word)
                .ok_or_else(|| ValueError::from("must be text or json"))?;
            Ok(())
        },
        show: |builder| quoted(builder.config.log_style.error_format.name()),
    },
    Setting {
        name: "log_style",
        section: Section::Logging,
        short: None,
        flags: &["log-style"],
        shape: Shape::Value,
        kind: Kind::Word(&["lockgate", "gunicorn"]),
        doc: "Whose messages the error log has. `gunicorn` writes gunicorn's lines where it logs the same event, such \
              as `WORKER TIMEOUT (pid:42)`, for alerts that match them, and local time unless `log_timezone` is set. \
              It is the default with a gunicorn.conf.py.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.log_style.wording = LogWording::ALL
                .into_iter()
                .find(|wording| wording.name() == word)
                .ok_or_else(|| ValueError::from("must be lockgate or gunicorn"))?;
            Ok(())
        },
        show: |builder| quoted(builder.config.log_style.wording.name()),
    },
    Setting {
        name: "log_timezone",
        section: Section::Logging,
        short: None,
        flags: &["log-timezone"],
        shape: Shape::Value,
        kind: Kind::Word(&["utc", "local"]),
        doc: "Time zone of both logs. `local` is the time zone of the host, or of the variable TZ; each time \
              includes its offset from UTC. gunicorn logs local time.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let word = value.text()?.trim().to_ascii_lowercase();
            builder.config.log_style.timezone = LogTimezone::ALL
                .into_iter()
                .find(|zone| zone.name() == word)
                .ok_or_else(|| ValueError::from("must be utc or local"))?;
            Ok(())
        },
        show: |builder| quoted(builder.config.log_style.timezone.name()),
    },
    Setting {
        name: "capture_output",
        section: Section::Logging,
        short: None,
        flags: &["capture-output"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Write standard output and standard error to the file of the error log. What the application prints then \
              follows the file when it is reopened (`SIGUSR1`). Without effect if `error_logfile` is not a file.",
        gunicorn: &["capture_output"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.log_style.captures_output = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.log_style.captures_output.to_string(),
    },
    Setting {
        name: "log_query",
        section: Section::Logging,
        short: None,
        flags: &["log-query"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Show query strings in the error log, and in the admin listener if `admin_show` says so. Disable it if they \
              contain secrets; targets then end at the `?`. The access log depends on `access_logformat` only.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.log_style.shows_queries = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.log_style.shows_queries.to_string(),
    },
    Setting {
        name: "logger_class",
        section: Section::Logging,
        short: None,
        flags: &["logger-class"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "Class that logs requests in the workers, as `module.Class`. It is a subclass of \
              `gunicorn.glogging.Logger`. Requests that reach the application are then logged by its method `access`, \
              and not by the server. `none` is no class. docs/gunicorn-hooks.md has details.",
        gunicorn: &["logger_class"],
        uwsgi: &[],
        read: |builder, value| {
            let path =
                (value.optional_text()?).filter(|path| !LOGGERS_OF_SERVER.contains(&path.as_str()));
            if path.as_ref().is_some_and(|path| !path.contains('.')) {
                return Err(ValueError::from("must be module.Class"));
            }
            builder.config.gunicorn.logger_class = path;
            Ok(())
        },
        show: |builder| {
            quoted(
                builder
                    .config
                    .gunicorn
                    .logger_class
                    .as_deref()
                    .unwrap_or("none"),
            )
        },
    },
    Setting {
        name: "log_config",
        section: Section::Logging,
        short: None,
        flags: &["log-config"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "File with which each worker configures Python's logging. It has the format of `logging.config.fileConfig`. \
              Requests that reach the application are then logged by Python's logger `gunicorn.access`, and not by the \
              server. `none` is no file.",
        gunicorn: &["logconfig"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.gunicorn.logconfig = file(value.optional_text()?);
            Ok(())
        },
        show: |builder| shown_file(builder.config.gunicorn.logconfig.as_deref()),
    },
    Setting {
        name: "log_config_json",
        section: Section::Logging,
        short: None,
        flags: &["log-config-json"],
        shape: Shape::Value,
        kind: Kind::Path,
        doc: "JSON file with which each worker configures Python's logging. It is passed to `logging.config.dictConfig`. \
              It overrides `log_config`, and has the same effect on the access log. `none` is no file.",
        gunicorn: &["logconfig_json"],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.gunicorn.logconfig_json = file(value.optional_text()?);
            Ok(())
        },
        show: |builder| shown_file(builder.config.gunicorn.logconfig_json.as_deref()),
    },
];

/// Names of gunicorn's own class of loggers, and what means none.
const LOGGERS_OF_SERVER: [&str; 4] = ["none", "None", "simple", "gunicorn.glogging.Logger"];

fn file(text: Option<String>) -> Option<PathBuf> {
    text.filter(|text| text != "none" && text != "None")
        .map(PathBuf::from)
}

fn shown_file(path: Option<&Path>) -> String {
    quoted(&path.map_or_else(|| "none".to_owned(), |path| path.display().to_string()))
}

// Opening these by path fails if the stream is a socket, as under systemd. So they mean the streams.
const STDOUT: &str = "/dev/stdout";
const STDERR: &str = "/dev/stderr";

fn target(text: &str, dash: LogTarget) -> Option<LogTarget> {
    match text.trim() {
        "" | "none" | "None" => None,
        "-" => Some(dash),
        STDOUT => Some(LogTarget::Stdout),
        STDERR => Some(LogTarget::Stderr),
        path => Some(LogTarget::File(PathBuf::from(path))),
    }
}
