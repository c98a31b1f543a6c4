//! An evaluated configuration in Python as a source of settings: the names that it binds, as JSON.
//!
//! gunicorn ignores names that it does not know, because a file has variables of its own.

use serde_json::{Map, Value};

use super::foreign::Foreign;
use super::nearest::nearest;
use super::{ConfSource, HookName};
use crate::assignment::Assignment;
use crate::kind::Kind;
use crate::raw_value::{Entry, RawValue};
use crate::{ConfigError, Origin, Setting, settings, unsupported};

/// What a configuration in Python contains.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) hooks: Vec<HookName>,
    pub(crate) has_logconfig_dict: bool,
    pub(crate) text: Option<String>,
    /// Values of gunicorn's settings that Lockgate does not have.
    pub(crate) foreign: Vec<Foreign>,
    pub(crate) mistakes: Vec<ConfigError>,
    pub(crate) notes: Vec<String>,
    /// Settings whose values in weaker sources do not count: keyword arguments that are null.
    pub(crate) unset: Vec<&'static str>,
}

/// Reads what `lockgate.gunicorn.evaluate` has written about `source`.
pub(crate) fn read(source: &ConfSource, evaluated: &str) -> Conf {
    let mut conf = Conf::default();
    let unreadable = |problem: String| ConfigError::UnreadableConf {
        source: source.clone(),
        problem,
    };
    let object: Map<String, Value> = match serde_json::from_str(evaluated) {
        Ok(object) => object,
        Err(error) => {
            conf.mistakes.push(unreadable(error.to_string()));
            return conf;
        }
    };
    if let Some(Value::String(traceback)) = object.get("error") {
        conf.mistakes
            .push(unreadable(traceback.trim_end().to_owned()));
        return conf;
    }
    conf.text = (object.get("text").and_then(Value::as_str)).map(str::to_owned);
    let entries = object.get("names").and_then(Value::as_array);
    let entries = entries.map(Vec::as_slice).unwrap_or_default().iter();
    let entries = entries.filter_map(|entry| Some((entry.get("name")?.as_str()?, entry)));
    let names: Vec<&str> = entries.clone().map(|(name, _)| name).collect();
    for (name, entry) in entries {
        let line = entry.get("line").and_then(Value::as_u64);
        let origin = Origin::Conf {
            source: source.clone(),
            line: line.and_then(|line| usize::try_from(line).ok()),
        };
        conf.read_name(name, &names, entry, origin);
    }
    conf.hooks.sort_unstable();
    conf
}

impl Conf {
    /// Reads one of the `names` in the file.
    fn read_name(&mut self, name: &str, names: &[&str], entry: &Value, origin: Origin) {
        if let Some(hook) = HookName::named(name) {
            self.read_hook(hook, entry, origin);
        } else if name == "logconfig_dict" {
            match entry.get("value") {
                Some(Value::Object(dictionary)) => self.has_logconfig_dict = !dictionary.is_empty(),
                None if entry.get("object").is_some() => self.has_logconfig_dict = true,
                _ => self.mistakes.push(ConfigError::UnsupportedSetting {
                    name: name.to_owned(),
                    origin,
                    advice: "must be a dictionary".to_owned(),
                }),
            }
        } else if let Some(setting) = by_name(name) {
            let value = match raw_value(setting, entry) {
                RawValue::Null if setting.name == "app" => return,
                // gunicorn's default for what is no number is None.
                RawValue::Null if !is_number(&setting.kind) => default_of(setting),
                value => value,
            };
            self.assignments.push(Assignment {
                setting,
                value,
                origin,
            });
        } else if let Some(setting) = unsupported::by_name(name) {
            self.foreign.push(Foreign {
                setting,
                value: shown(entry),
                origin,
            });
        } else if entry.get("value").is_some()
            && let Some(meant) = nearest(name).filter(|meant| !names.contains(meant))
        {
            self.notes.push(format!(
                "{name} (from {origin}) is no setting and has no effect; did you mean {meant}?"
            ));
        }
    }

    fn read_hook(&mut self, hook: HookName, entry: &Value, origin: Origin) {
        let parameters = entry.get("function").and_then(Value::as_array);
        let is_path = entry.get("value").is_some_and(Value::is_string);
        if is_path || parameters.is_some_and(|names| hook.takes(names.len())) {
            self.hooks.push(hook);
            return;
        }
        let found = match parameters {
            Some(names) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                format!("a function with the parameters ({})", names.join(", "))
            }
            None => shown(entry).to_string(),
        };
        self.mistakes.push(ConfigError::WrongHook {
            hook,
            found,
            origin,
        });
    }
}

/// The keyword arguments of `lockgate.serve` as a source of settings.
pub(crate) fn read_keywords(keywords: &str) -> Conf {
    let mut given = Conf::default();
    let object: Map<String, Value> = match serde_json::from_str(keywords) {
        Ok(object) => object,
        Err(error) => {
            let problem = format!("the keyword arguments are no JSON object: {error}");
            given.mistakes.push(ConfigError::BadUsage { problem });
            return given;
        }
    };
    for (name, value) in object {
        let origin = Origin::Keyword(name.clone());
        let known = settings()
            .find(|setting| setting.name == name || setting.gunicorn.contains(&name.as_str()));
        if let Some(setting) = known {
            match from_json(&setting.kind, &value) {
                RawValue::Null => given.unset.push(setting.name),
                value => given.assignments.push(Assignment {
                    setting,
                    value,
                    origin,
                }),
            }
        } else if let Some(setting) = unsupported::by_name(&name) {
            given.foreign.push(Foreign {
                setting,
                value: from_json(&Kind::Text, &value),
                origin,
            });
        } else {
            given.mistakes.push(crate::file::unknown(&name, origin));
        }
    }
    given
}

/// The setting that a name in gunicorn's file means: gunicorn's name, or Lockgate's where gunicorn has none. Names of
/// one word that gunicorn does not know (`app`, `domain`) are more likely to be variables of the file.
fn by_name(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| {
        let is_own = setting.gunicorn.is_empty() && setting.name == name && name.contains('_');
        is_own || setting.gunicorn.contains(&name)
    })
}

fn raw_value(setting: &Setting, entry: &Value) -> RawValue {
    // A class is given by itself or by its path.
    if ["worker_class", "logger_class"].contains(&setting.name)
        && let Some(path) = entry.get("path").and_then(Value::as_str)
    {
        return RawValue::Text(path.to_owned());
    }
    match entry.get("value") {
        Some(value) => from_json(&setting.kind, value),
        None => shown(entry),
    }
}

/// A value that is no data, as messages show it.
fn shown(entry: &Value) -> RawValue {
    if let Some(value) = entry.get("value") {
        return from_json(&Kind::Text, value);
    }
    let object = entry.get("object").and_then(Value::as_str);
    RawValue::Object(object.unwrap_or("a function").to_owned())
}

fn is_number(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Number { .. } | Kind::Duration { .. } | Kind::Interval { .. } | Kind::Size { .. }
    )
}

/// A value of JSON for a setting of this kind.
pub(super) fn from_json(kind: &Kind, value: &Value) -> RawValue {
    match value {
        Value::Null => RawValue::Null,
        Value::Bool(value) => RawValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => RawValue::Integer {
                value,
                // A number in Python is what it is, however it was written.
                radix: if *kind == Kind::Mode { 8 } else { 10 },
            },
            (None, Some(value)) if number.is_f64() => RawValue::Float(value),
            _ => RawValue::Text(number.to_string()),
        },
        Value::String(text) => RawValue::Text(text.clone()),
        Value::Array(items) => {
            RawValue::List(items.iter().map(|item| from_json(kind, item)).collect())
        }
        Value::Object(entries) => RawValue::Table(
            entries
                .iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    value: from_json(kind, value),
                    line: None,
                })
                .collect(),
        ),
    }
}

/// The default of a setting as a value.
fn default_of(setting: &'static Setting) -> RawValue {
    let text = format!("{} = {}", setting.name, setting.default_text());
    let (mut assignments, _) = crate::file::read("default".as_ref(), &text);
    assignments
        .pop()
        .map_or(RawValue::Null, |default| default.value)
}
