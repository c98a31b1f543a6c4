//! The configuration file: TOML, settings at the top level, each with its line. Is given the text and opens nothing. Judges no value.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::resolve::Assignment;
use crate::written::Written;
use crate::{ConfigError, Origin, Setting, absent, nearest, settings};

/// The settings that the file gives, in the order of its lines.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Assignment>, ConfigError> {
    // Editors on other systems put one there, and TOML has no word for it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let origin = |at: usize| Origin::File {
        path: path.to_owned(),
        line: line_of(text, at),
    };
    let table = DeTable::parse(text).map_err(|error| ConfigError::MalformedFile {
        origin: origin(error.span().map_or(0, |span| span.start)),
        problem: error.message().trim_end_matches('.').replace('\n', "; "),
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut assignments: Vec<Assignment> = Vec::new();
    for (key, value) in entries {
        let origin = origin(key.span().start);
        let key = key.get_ref().as_ref();
        let Some(setting) = by_key(key) else {
            return Err(unknown(key, value.get_ref(), origin));
        };
        let earlier = assignments
            .iter()
            .find(|earlier| earlier.setting.name == setting.name);
        if let Some(Origin::File { line, .. }) = earlier.map(|earlier| &earlier.origin) {
            return Err(ConfigError::RepeatedKey {
                key: key.to_owned(),
                origin,
                first_line: *line,
            });
        }
        assignments.push(Assignment {
            setting,
            written: written(value.get_ref()),
            origin,
        });
    }
    Ok(assignments)
}

fn by_key(key: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == key || setting.gunicorn.contains(&key))
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => Written::Integer {
                value,
                radix: integer.radix(),
            },
            // Beyond 64 bits: as text it is still a number, and still beyond every bound.
            Err(_) => Written::Text(integer.as_str().to_owned()),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(value) => Written::Float(value),
            Err(_) => Written::Text(float.as_str().to_owned()),
        },
        DeValue::Boolean(value) => Written::Boolean(*value),
        DeValue::Datetime(date) => Written::Date(date.to_string()),
        DeValue::Array(items) => {
            Written::List(items.iter().map(|item| written(item.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let pairs = entries
                .into_iter()
                .map(|(key, value)| (key.get_ref().to_string(), written(value.get_ref())));
            Written::Table(pairs.collect())
        }
    }
}

/// The line, from 1, that the byte `at` stands on.
fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn unknown(key: &str, value: &DeValue<'_>, origin: Origin) -> ConfigError {
    if let Some(absent) = absent::by_name(key) {
        return ConfigError::AbsentSetting {
            written: key.to_owned(),
            origin,
            advice: absent.message(),
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
    // A table is somebody's section, not a setting with a typing error.
    let suggestion = match value {
        DeValue::Table(_) => None,
        _ => nearest::nearest(key, &candidates).map(str::to_owned),
    };
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
        let read = read("x.toml".as_ref(), text).unwrap();
        let found: Vec<_> = read
            .iter()
            .map(|assignment| {
                (
                    assignment.setting.name,
                    assignment.origin.to_string(),
                    assignment.written.to_string(),
                )
            })
            .map(|(name, origin, written)| format!("{name} | {origin} | {written}"))
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
                "keep_alive (from x.toml line 3): was given before on line 1",
            ),
            (
                "\nwrokers = 2\n",
                "wrokers (from x.toml line 2): there is no such setting; is it workers?",
            ),
            ("graceful-timeout = 2\n", "is it graceful_timeout?"),
            ("processes = 2\n", "is it workers?"),
            ("harakiri = 2\n", "is it request_timeout?"),
            ("[server]\nworkers = 2\n", "without sections"),
            (
                "statsd_host = 2\n",
                "statsd_host (from x.toml line 1): Lockgate does not have this setting yet",
            ),
            ("certfile = \"x\"\n", "yet: terminate TLS in front"),
            (
                "check_config = true\n",
                "only be asked for on the command line: --check-config",
            ),
            ("name = 'a\n", "x.toml line 1: "),
        ];
        for (text, part) in cases {
            let error = read("x.toml".as_ref(), text)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
