//! gunicorn's `cfg`: its settings with the values that are in effect here, for hooks and classes of loggers.

use std::time::Duration;

use serde_json::{Map, Number, Value, json};

use super::names::NAMES;
use crate::builder::ConfigBuilder;
use crate::kind::Kind;
use crate::memory::MemoryBound;
use crate::raw_value::{RawValue, ValueReader};
use crate::{
    AppSpec, ClientCertificates, Config, HookName, Setting, Threads, settings, unsupported,
};

/// A JSON object with each of gunicorn's names: the value in effect where Lockgate has the setting, else gunicorn's
/// default. Hooks are null.
pub fn cfg(config: &Config) -> String {
    let builder = ConfigBuilder {
        app: Some(config.app.clone()),
        paste: Some(config.app.clone()).filter(|app| matches!(app, AppSpec::Paste { .. })),
        workers: std::num::NonZeroUsize::new(config.workers).map_or(Threads::Auto, Threads::Count),
        max_worker_memory: MemoryBound::Bytes(config.max_worker_memory),
        max_worker_memory_hard: MemoryBound::Bytes(config.max_worker_memory_hard),
        config: config.clone(),
        ..ConfigBuilder::new()
    };
    let values = NAMES.map(|name| (name.to_owned(), value(name, &builder)));
    Value::Object(Map::from_iter(values)).to_string()
}

fn value(name: &str, builder: &ConfigBuilder) -> Value {
    let config = &builder.config;
    if HookName::named(name).is_some() {
        return Value::Null;
    }
    // What gunicorn writes in another way than the file.
    match name {
        "config" => {
            return (config.gunicorn.conf.as_ref())
                .map_or(Value::Null, |conf| json!(conf.to_string()));
        }
        // Only the process that has executed the file has its content.
        "logconfig_dict" => return json!({}),
        "threads" => return json!(config.max_threads()),
        "worker_class" => return json!(worker_class(config)),
        "default_proc_name" => return json!(config.app.to_string()),
        "cert_reqs" => return json!(certificate_requirement(config.tls.client_certificates)),
        "http_protocols" if config.http2.is_enabled => return json!(["h2", "h1"]),
        "http_protocols" => return json!(["h1"]),
        "secure_scheme_headers" => {
            let pairs = config.proxies.scheme_headers.iter().cloned();
            return Value::Object(pairs.map(|(name, value)| (name, json!(value))).collect());
        }
        "pythonpath" => {
            let paths = config
                .pythonpath
                .iter()
                .map(|path| path.display().to_string());
            let paths: Vec<String> = paths.collect();
            return if paths.is_empty() {
                Value::Null
            } else {
                json!(paths.join(","))
            };
        }
        _ => {}
    }
    match settings().find(|setting| setting.gunicorn.contains(&name)) {
        Some(setting) => in_effect(setting, builder),
        None => unsupported::by_name(name)
            .and_then(|setting| serde_json::from_str(setting.default).ok())
            .unwrap_or_default(),
    }
}

/// gunicorn's own choice: threads make `sync` a `gthread`.
fn worker_class(config: &Config) -> &'static str {
    match config.gunicorn.worker_class {
        Some(class @ super::WorkerClass::Gevent) => class.name(),
        _ if config.max_threads() > 1 => "gthread",
        _ => "sync",
    }
}

fn certificate_requirement(choice: ClientCertificates) -> u8 {
    match choice {
        ClientCertificates::None => 0,
        ClientCertificates::Optional => 1,
        ClientCertificates::Required => 2,
    }
}

fn in_effect(setting: &'static Setting, builder: &ConfigBuilder) -> Value {
    let text = format!("{} = {}", setting.name, (setting.show)(builder));
    let (mut assignments, _) = crate::file::read("cfg".as_ref(), &text);
    let Some(raw) = assignments.pop().map(|assignment| assignment.value) else {
        return Value::Null;
    };
    let reader = ValueReader {
        kind: &setting.kind,
        raw: &raw,
    };
    match &setting.kind {
        Kind::Duration { .. } => reader.duration().map_or(Value::Null, seconds),
        Kind::Size { .. } => reader.size::<u64>().map_or(Value::Null, |size| json!(size)),
        Kind::Mode => json!(builder.config.umask.unwrap_or_default()),
        Kind::LogTarget { .. } => match &raw {
            RawValue::Text(text) if text == "none" => Value::Null,
            raw => plain(raw),
        },
        Kind::Application | Kind::Path => match &raw {
            RawValue::Text(text) if text.is_empty() || text == "none" => Value::Null,
            raw => plain(raw),
        },
        Kind::Text if !EMPTY_TEXTS.contains(&setting.name) => match &raw {
            RawValue::Text(text) if text.is_empty() || text == "none" => Value::Null,
            raw => plain(raw),
        },
        _ => plain(&raw),
    }
}

/// Texts that are empty in gunicorn by default, and not None.
const EMPTY_TEXTS: [&str; 3] = ["root_path", "statsd_prefix", "dogstatsd_tags"];

fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        json!(duration.as_secs())
    } else {
        json!(duration.as_secs_f64())
    }
}

fn plain(raw: &RawValue) -> Value {
    match raw {
        RawValue::Text(text) | RawValue::Date(text) | RawValue::Object(text) => json!(text),
        RawValue::Integer { value, .. } => json!(value),
        RawValue::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
        RawValue::Boolean(value) => json!(value),
        RawValue::List(items) => items.iter().map(plain).collect(),
        RawValue::Table(entries) => {
            let pairs = entries
                .iter()
                .map(|entry| (entry.key.clone(), plain(&entry.value)));
            Value::Object(pairs.collect())
        }
        RawValue::Null => Value::Null,
    }
}
