//! An evaluated configuration in Python as a source of settings: the names that it binds, as JSON.
//!
//! gunicorn ignores names that it does not know, because a file has variables of its own.

use serde_json::{Map, Value};

use super::{ConfSource, HookName};
use crate::assignment::Assignment;
use crate::kind::Kind;
use crate::raw_value::RawValue;
use crate::{ConfigError, Origin, Setting, settings, unsupported};

/// What a configuration in Python contains.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) hooks: Vec<HookName>,
    pub(crate) has_logconfig_dict: bool,
    pub(crate) mistakes: Vec<ConfigError>,
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
    let names = object.get("names").and_then(Value::as_array);
    for entry in names.map(Vec::as_slice).unwrap_or_default() {
        if let Some(name) = entry.get("name").and_then(Value::as_str) {
            let line = entry.get("line").and_then(Value::as_u64);
            let origin = Origin::Conf {
                source: source.clone(),
                line: line.and_then(|line| usize::try_from(line).ok()),
            };
            conf.read_name(name, entry, origin);
        }
    }
    conf.hooks.sort_unstable();
    conf
}

impl Conf {
    fn read_name(&mut self, name: &str, entry: &Value, origin: Origin) {
        if let Some(hook) = HookName::named(name) {
            self.read_hook(hook, entry, origin);
        } else if name == "logconfig_dict" {
            let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
            self.has_logconfig_dict = !entry.get("value").is_some_and(is_empty);
        } else if let Some(setting) = by_name(name) {
            let value = match raw_value(setting, entry) {
                // gunicorn's default for what is no number is None.
                RawValue::Null if !is_number(&setting.kind) => default_of(setting),
                value => value,
            };
            self.assignments.push(Assignment {
                setting,
                value,
                origin,
            });
        } else if let Some(unsupported) = unsupported::by_name(name) {
            self.mistakes.push(ConfigError::UnsupportedSetting {
                name: name.to_owned(),
                origin,
                advice: unsupported.message(),
            });
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
pub(crate) fn read_keywords(keywords: &str) -> (Vec<Assignment>, Vec<ConfigError>) {
    let (mut assignments, mut mistakes) = (Vec::new(), Vec::new());
    let object: Map<String, Value> = match serde_json::from_str(keywords) {
        Ok(object) => object,
        Err(error) => {
            let problem = format!("the keyword arguments are no JSON object: {error}");
            return (assignments, vec![ConfigError::BadUsage { problem }]);
        }
    };
    for (name, value) in object {
        let origin = Origin::Keyword(name.clone());
        let known = settings()
            .find(|setting| setting.name == name || setting.gunicorn.contains(&name.as_str()));
        let Some(setting) = known else {
            mistakes.push(crate::file::unknown(&name, origin));
            continue;
        };
        let value = match from_json(&setting.kind, &value) {
            RawValue::Null => default_of(setting),
            value => value,
        };
        assignments.push(Assignment {
            setting,
            value,
            origin,
        });
    }
    (assignments, mistakes)
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

fn from_json(kind: &Kind, value: &Value) -> RawValue {
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
                .map(|(key, value)| (key.clone(), from_json(kind, value)))
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
