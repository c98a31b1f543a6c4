//! Names in a configuration of gunicorn's that are probably misspelled settings.

use strsim::osa_distance;

use crate::unsupported::UNSUPPORTED;
use crate::{HookName, settings};

/// The name to write in gunicorn's file instead of `wrong`, which is none: one that differs only in case, hyphens or
/// underscores from it or from a flag, else one that a typing error or two turn into it. Short names have too many
/// neighbours among the variables of a file.
pub(super) fn nearest(wrong: &str) -> Option<&'static str> {
    let wrong = folded(wrong);
    let names = known_names();
    if let Some((_, meant)) = names.iter().find(|(name, _)| *name == wrong) {
        return Some(meant);
    }
    let most = match wrong.len() {
        0..=5 => 0,
        6..=9 => 1,
        _ => 2,
    };
    names
        .iter()
        .map(|(name, meant)| (osa_distance(&wrong, name), *meant))
        .filter(|(errors, _)| (1..=most).contains(errors))
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, meant)| meant)
}

/// Every name and flag, folded, with the name that counts in the file.
fn known_names() -> Vec<(String, &'static str)> {
    let mut names = Vec::new();
    for setting in settings() {
        let meant = match setting.gunicorn.first() {
            Some(name) => *name,
            // A name of one word that gunicorn does not know is a variable of the file.
            None if setting.name.contains('_') => setting.name,
            None => continue,
        };
        // Short flags are common words: `name`, `env`, `pid`.
        let own = setting.flags.iter().chain([&setting.name]);
        let own = own.filter(|name| name.len() > 4);
        names.extend(
            own.chain(setting.gunicorn)
                .map(|name| (folded(name), meant)),
        );
    }
    for setting in UNSUPPORTED {
        let flags = setting.long_flags();
        names.extend(flags.iter().map(|flag| (folded(flag), setting.name)));
        names.push((folded(setting.name), setting.name));
    }
    names.extend(HookName::ALL.map(|hook| (folded(hook.name()), hook.name())));
    names
}

fn folded(name: &str) -> String {
    name.chars()
        .filter(|character| !matches!(character, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_setting_is_recognised_and_a_variable_is_not() {
        let cases = [
            ("MAX_REQUESTS", Some("max_requests")),
            ("maxRequests", Some("max_requests")),
            ("log_level", Some("loglevel")),
            ("access_logfile", Some("accesslog")),
            ("log_file", Some("errorlog")),
            ("keep_alive", Some("keepalive")),
            ("preload", Some("preload_app")),
            ("name", None),
            ("env", None),
            ("BIND", Some("bind")),
            ("wrokers", Some("workers")),
            ("worker", Some("workers")),
            ("worker_connection", Some("worker_connections")),
            ("graceful_timeuot", Some("graceful_timeout")),
            ("request_timeuot", Some("request_timeout")),
            ("RELOAD", Some("reload")),
            ("reload_extra_file", Some("reload_extra_files")),
            ("host", None),
            ("port", None),
            ("cores", None),
            ("workers_per_core", None),
            ("web_concurrency", None),
            ("max_workers", None),
            ("domain", None),
            ("use_loglevel", None),
            ("logs_dir", None),
            ("project_name", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name), expected, "{name}");
        }
    }
}
