//! The environment as a source of settings: `LOCKGATE_*` and the variables of platforms. The caller passes the
//! variables.
//!
//! Every empty variable counts as unset.

use std::ffi::OsString;

use crate::assignment::Assignment;
use crate::raw_value::RawValue;
use crate::settings::named;
use crate::{ConfigError, Origin, Setting, settings, suggestions, unsupported};

/// gunicorn's name for `root_path`.
pub(crate) const SCRIPT_NAME: &str = "SCRIPT_NAME";

/// Names the configuration file; not a setting, because the file cannot name itself.
pub(crate) const CONFIG: &str = "LOCKGATE_CONFIG";

/// What `lockgate dev` tells its workers (`lockgate.dev.options`).
const DEV: &str = "LOCKGATE_DEV";

const PREFIX: &str = "LOCKGATE_";

/// The settings in `LOCKGATE_*` variables, in the order of the environment, and the errors in the others.
pub(crate) fn read(environment: &[(OsString, OsString)]) -> (Vec<Assignment>, Vec<ConfigError>) {
    let (mut assignments, mut mistakes) = (Vec::new(), Vec::new());
    for (name, value) in environment {
        // A name that is not UTF-8 cannot name a setting.
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX) && ![CONFIG, DEV].contains(name))
        else {
            continue;
        };
        if value.to_string_lossy().trim().is_empty() {
            continue;
        }
        let origin = Origin::Variable(name.to_owned());
        let is_it = |setting: &&Setting| setting.variable().as_deref() == Some(name);
        let Some(setting) = settings().find(is_it) else {
            if !is_service_link(name, &value.to_string_lossy()) {
                mistakes.push(unknown(name, origin));
            }
            continue;
        };
        match value.to_str() {
            Some(text) => assignments.push(Assignment {
                setting,
                value: RawValue::Text(text.to_owned()),
                origin,
            }),
            None => mistakes.push(ConfigError::NotText { origin }),
        }
    }
    (assignments, mistakes)
}

/// Whether Kubernetes or Docker links set this variable in every container, for a service whose name is `lockgate` or
/// begins with `lockgate-`: `LOCKGATE_SERVICE_HOST`, `LOCKGATE_PORT=tcp://10.0.0.1:80`,
/// `LOCKGATE_STAGING_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').skip(1).collect();
    let has_scheme = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let is_number =
        |word: &str| !word.is_empty() && word.bytes().all(|digit| digit.is_ascii_digit());
    // The words before are the rest of the service's name.
    (0..words.len()).any(|at| match &words[at..] {
        ["SERVICE", "HOST"] => true,
        // A port may have a name: SERVICE_PORT_HTTP.
        ["SERVICE", "PORT", ..] => is_number(value),
        ["PORT"] => has_scheme,
        ["PORT", number, "TCP" | "UDP" | "SCTP", rest @ ..] if is_number(number) => match rest {
            [] => has_scheme,
            ["PROTO" | "PORT" | "ADDR"] => true,
            _ => false,
        },
        _ => false,
    })
}

/// The variables that platforms set under their own names, as Heroku, Cloud Run and systemd do, and one of gunicorn's.
/// They are weaker than any source of Lockgate's own; an empty one counts as unset. `LISTEN_FDS` must be present only
/// if it is meant for this process (`LISTEN_PID`).
pub(crate) fn platform(environment: &[(OsString, OsString)]) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    let mut give = |setting: Option<&'static Setting>, variable: &str, value: String| {
        if let Some(setting) = setting {
            let origin = Origin::Variable(variable.to_owned());
            assignments.push(Assignment {
                setting,
                value: RawValue::Text(value),
                origin,
            });
        }
    };
    if let Some(workers) = value_of(environment, "WEB_CONCURRENCY") {
        give(named("workers"), "WEB_CONCURRENCY", workers);
    }
    // A socket is passed to one process on purpose, while a port may be set for every process on a platform.
    let passed = value_of(environment, "LISTEN_FDS").and_then(|count| count.parse::<u32>().ok());
    if passed.is_some_and(|count| count > 0) {
        give(named("bind"), "LISTEN_FDS", "systemd".to_owned());
    } else if let Some(port) = value_of(environment, "PORT") {
        give(named("bind"), "PORT", format!("0.0.0.0:{port}"));
    }
    if let Some(addresses) = value_of(environment, "FORWARDED_ALLOW_IPS") {
        give(
            named("forwarded_allow_ips"),
            "FORWARDED_ALLOW_IPS",
            addresses,
        );
    }
    if let Some((variable, path)) = state(environment) {
        give(named("acme_dir"), variable, format!("{path}/acme"));
    }
    // Scripts use that name for other purposes, so only a path counts.
    if let Some(path) = value_of(environment, SCRIPT_NAME).filter(|path| path.starts_with('/')) {
        give(named("root_path"), SCRIPT_NAME, path);
    }
    assignments
}

/// The directory in which the platform keeps the server's state.
pub(crate) fn state_directory(environment: &[(OsString, OsString)]) -> Option<String> {
    state(environment).map(|(_, path)| path)
}

/// The variable, and the directory.
fn state(environment: &[(OsString, OsString)]) -> Option<(&'static str, String)> {
    if let Some(paths) = value_of(environment, "STATE_DIRECTORY") {
        // systemd lists several directories with a colon between them.
        let first = paths.split(':').next()?;
        return Some(("STATE_DIRECTORY", first.to_owned()));
    }
    let data = value_of(environment, "XDG_DATA_HOME")?;
    Some(("XDG_DATA_HOME", format!("{data}/lockgate")))
}

/// The value of a variable, unless it is empty. Bytes that are not UTF-8 are replaced, and fail where they are parsed.
pub(crate) fn value_of(environment: &[(OsString, OsString)], name: &str) -> Option<String> {
    let (_, value) = environment.iter().find(|(key, _)| key == name)?;
    let value = value.to_string_lossy();
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn unknown(name: &str, origin: Origin) -> ConfigError {
    let key = name.trim_start_matches(PREFIX).to_ascii_lowercase();
    if let Some(unsupported) = unsupported::by_name(&key) {
        return ConfigError::UnsupportedSetting {
            name: name.to_owned(),
            origin,
            advice: unsupported.message(),
        };
    }
    if let Some(advice) = named(&key).and_then(Setting::file_only) {
        return ConfigError::UnsupportedSetting {
            name: name.to_owned(),
            origin,
            advice,
        };
    }
    let mut candidates = vec![("config".to_owned(), CONFIG.to_owned())];
    for setting in settings() {
        let Some(variable) = setting.variable() else {
            continue;
        };
        let names = setting
            .gunicorn
            .iter()
            .chain(setting.uwsgi)
            .chain([&setting.name]);
        candidates.extend(names.map(|name| ((*name).to_owned(), variable.clone())));
    }
    let suggestion = suggestions::suggest(&key, &candidates).map(str::to_owned);
    ConfigError::UnknownVariable {
        name: name.to_owned(),
        suggestion,
    }
}
