//! The configuration file as a source of settings: TOML, settings at the top level, each with its line. The caller
//! passes the text.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::assignment::Assignment;
use crate::notation::quoted;
use crate::raw_value::{Entry, RawValue};
use crate::{ConfigError, HookName, Origin, Setting, settings, suggestions, unsupported};

/// The settings in the file, in the order of its lines, and the errors in the other lines.
pub(crate) fn read(path: &Path, text: &str) -> (Vec<Assignment>, Vec<ConfigError>) {
    // Editors on other systems put a byte order mark here; TOML has none.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = |line| Origin::File {
        path: path.to_owned(),
        line,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut bad_lines: Vec<usize> = Vec::new();
    let mut mistakes = Vec::new();
    for error in &errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        // Further errors of the parser on the same line are consequences of the first.
        if bad_lines.contains(&line) {
            continue;
        }
        bad_lines.push(line);
        let source = text.lines().nth(line - 1).unwrap_or_default();
        let problem = unquoted(source)
            .unwrap_or_else(|| error.message().trim_end_matches('.').replace('\n', "; "));
        mistakes.push(ConfigError::MalformedFile {
            origin: origin(line),
            problem,
        });
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut assignments: Vec<Assignment> = Vec::new();
    for (key, value) in entries {
        let line = line_of(text, key.span().start);
        let last_line = line_of(text, value.span().end.saturating_sub(1));
        if bad_lines.iter().any(|bad| (line..=last_line).contains(bad)) {
            continue;
        }
        let key = key.get_ref().as_ref();
        let Some(setting) = by_key(key) else {
            // A table is meant as a section, not as a misspelled setting.
            mistakes.push(match (unknown(key, origin(line)), value.get_ref()) {
                (ConfigError::UnknownKey { key, origin, .. }, DeValue::Table(_)) => {
                    ConfigError::UnknownKey {
                        key,
                        origin,
                        suggestion: None,
                    }
                }
                (mistake, _) => mistake,
            });
            continue;
        };
        let earlier = assignments
            .iter()
            .find(|earlier| earlier.setting.name == setting.name);
        if let Some(Origin::File { line: first, .. }) = earlier.map(|earlier| &earlier.origin) {
            mistakes.push(ConfigError::RepeatedKey {
                key: key.to_owned(),
                first_line: *first,
                origin: origin(line),
            });
            continue;
        }
        assignments.push(Assignment {
            setting,
            value: raw_value(text, value.get_ref()),
            origin: origin(line),
        });
    }
    (assignments, mistakes)
}

/// What to write instead of a line whose value lacks its quotes, or is a Python literal.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split(" #").next()?.trim());
    // A line that is valid by itself has another mistake, such as a second value for its key.
    let is_bare = !value.is_empty()
        && !value.contains(['"', '\\', '[', '{', '='])
        && DeTable::parse(line).is_err();
    let cure = match value {
        "True" | "False" => format!("{key} = {}", value.to_ascii_lowercase()),
        _ => format!("{key} = {}", quoted(value)),
    };
    (is_bare && DeTable::parse(&cure).is_ok())
        .then(|| format!("{value} is not a TOML value: text must be quoted; write {cure}"))
}

fn by_key(key: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == key || setting.gunicorn.contains(&key))
}

/// A value, with the lines of what is in its tables.
fn raw_value(text: &str, value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(string) => RawValue::Text(string.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => RawValue::Integer {
                value,
                radix: integer.radix(),
            },
            // Beyond 64 bits: as text it is still a number, and still exceeds every bound.
            Err(_) => RawValue::Text(integer.as_str().to_owned()),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(value) => RawValue::Float(value),
            Err(_) => RawValue::Text(float.as_str().to_owned()),
        },
        DeValue::Boolean(value) => RawValue::Boolean(*value),
        DeValue::Datetime(date) => RawValue::Date(date.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| raw_value(text, item.get_ref()));
            RawValue::List(items.collect())
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let entries = entries.into_iter().map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                value: raw_value(text, value.get_ref()),
                line: Some(line_of(text, key.span().start)),
            });
            RawValue::Table(entries.collect())
        }
    }
}

/// The line, from 1, of the byte `at`.
fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// The error about a name that is no setting, in the file or in a keyword argument.
pub(crate) fn unknown(key: &str, origin: Origin) -> ConfigError {
    if HookName::named(key).is_some() {
        return ConfigError::UnsupportedSetting {
            name: key.to_owned(),
            origin,
            advice: "is a hook, which is a function; define it in gunicorn.conf.py".to_owned(),
        };
    }
    if let Some(unsupported) = unsupported::by_name(key) {
        return ConfigError::UnsupportedSetting {
            name: key.to_owned(),
            origin,
            advice: unsupported.message(),
        };
    }
    let mut candidates = Vec::new();
    for setting in settings() {
        let names = setting
            .gunicorn
            .iter()
            .chain(setting.uwsgi)
            .chain([&setting.name]);
        candidates.extend(names.map(|name| ((*name).to_owned(), setting.name.to_owned())));
    }
    let suggestion = suggestions::suggest(key, &candidates).map(str::to_owned);
    ConfigError::UnknownKey {
        key: key.to_owned(),
        origin,
        suggestion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let text = "\u{feff}# a comment\n\nworkers = 2\r\nbind = [\n  \"a:1\",\n  \"b:2\",\n]\n[env]\nA = \"1\"\nB = 2\n";
        let (read, mistakes) = read("x.toml".as_ref(), text);
        assert_eq!(mistakes, []);
        let found: Vec<_> = read
            .iter()
            .map(|assignment| {
                (
                    assignment.setting.name,
                    assignment.origin.to_string(),
                    assignment.value.to_string(),
                )
            })
            .map(|(name, origin, value)| format!("{name} | {origin} | {value}"))
            .collect();
        assert_eq!(
            found,
            [
                "workers | x.toml line 3 | 2",
                "bind | x.toml line 4 | [\"a:1\", \"b:2\"]",
                "env | x.toml line 8 | { … }",
            ]
        );
    }

    #[test]
    fn what_is_no_file_of_settings_is_refused_with_its_line() {
        let cases = [
            ("workers = 2\nworkers 3\n", "x.toml line 2: "),
            (
                "workers = 2\n\nworkers = 3\n",
                "x.toml line 3: duplicate key",
            ),
            (
                "keepalive = 2\n\nkeep_alive = 3\n",
                "keep_alive (from x.toml line 3): is already set on line 1",
            ),
            (
                "\nwrokers = 2\n",
                "wrokers (from x.toml line 2): unknown setting; did you mean workers?",
            ),
            ("graceful-timeout = 2\n", "did you mean graceful_timeout?"),
            ("processes = 2\n", "did you mean workers?"),
            ("harakiri = 2\n", "did you mean request_timeout?"),
            ("[server]\nworkers = 2\n", "without sections"),
            (
                "syslog = 2\n",
                "syslog (from x.toml line 1): Lockgate does not support this setting yet",
            ),
            ("ssl_version = 5\n", "this setting: use tls_min_version"),
            (
                "check_config = true\n",
                "is available on the command line only: --check-config",
            ),
            ("name = 'a\n", "x.toml line 1: "),
            (
                "bind = 127.0.0.1:1\n",
                "x.toml line 1: 127.0.0.1:1 is not a TOML value: text must be quoted; write bind = \"127.0.0.1:1\"",
            ),
            (
                "app = shop.wsgi:app # the shop\n",
                "text must be quoted; write app = \"shop.wsgi:app\"",
            ),
            ("timeout = 30s\n", "write timeout = \"30s\""),
            ("chdir = /srv/x\n", "write chdir = \"/srv/x\""),
            ("preload = True\n", "write preload = true"),
        ];
        for (text, part) in cases {
            let (_, mistakes) = read("x.toml".as_ref(), text);
            assert_eq!(mistakes.len(), 1, "{text:?}: {mistakes:?}");
            let error = mistakes[0].to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
