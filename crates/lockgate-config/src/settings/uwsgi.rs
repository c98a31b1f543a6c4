//! Settings: what applications and operators of uWSGI find again.

use std::path::PathBuf;

use super::sockets::admin_address;
use crate::BindAddress;
use crate::kind::Kind;
use crate::notation::{quoted, quoted_list};
use crate::raw_value::{Entry, RawValue, ValueError, ValueReader, one_line};
use crate::setting::{Section, Setting, Shape};
use crate::uwsgi::UwsgiCacheConfig;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "uwsgi_module",
        section: Section::Uwsgi,
        short: None,
        flags: &["uwsgi-module"],
        shape: Shape::Switch,
        kind: Kind::Switch,
        doc: "Let the application import the modules `uwsgi` and `uwsgidecorators`. They have uWSGI's functions for \
              workers, caches, locks and the log; docs/uwsgi-module.md lists them. Off by default, because \
              applications detect uWSGI by this import.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.uwsgi.module = value.switch()?;
            Ok(())
        },
        show: |builder| builder.config.uwsgi.module.to_string(),
    },
    Setting {
        name: "uwsgi_opt",
        section: Section::Uwsgi,
        short: None,
        flags: &["uwsgi-opt"],
        shape: Shape::List,
        kind: Kind::Assignment,
        doc: "Contents of the dictionary `uwsgi.opt`, each as `KEY=VALUE`. `KEY` alone is a switch, and a repeated \
              key a list. The file also accepts a table, and the variable LOCKGATE_UWSGI_OPT contains one per line. They \
              have no effect on the server.",
        gunicorn: &[],
        uwsgi: &["set", "set-placeholder"],
        read: |builder, value| {
            builder.config.uwsgi.options = options(value)?;
            Ok(())
        },
        show: |builder| {
            let options = builder.config.uwsgi.options.iter();
            quoted_list(options.map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            }))
        },
    },
    Setting {
        name: "uwsgi_cache",
        section: Section::Uwsgi,
        short: None,
        flags: &["uwsgi-cache"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Shared caches, each as in uWSGI: `name=pages,items=1000,blocksize=65536`. All workers share their \
              memory, which lives over reloads and upgrades. Other keys are `blocks`, `keysize`, `bitmap`, \
              `purge_lru`, `clear_on_full` and `math_initial`. The file also accepts tables; the variable \
              LOCKGATE_UWSGI_CACHE contains one per line. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &["cache2", "cache"],
        read: |builder, value| {
            builder.config.uwsgi.caches = caches(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.uwsgi.caches),
    },
    Setting {
        name: "uwsgi_locks",
        section: Section::Uwsgi,
        short: None,
        flags: &["uwsgi-locks"],
        shape: Shape::Value,
        kind: Kind::Number {
            least: 0,
            most: 1000,
            auto: false,
        },
        doc: "Highest number of a lock that `uwsgi.lock(N)` takes; lock 0 always exists. A change takes effect at the \
              next start.",
        gunicorn: &[],
        uwsgi: &["locks"],
        read: |builder, value| {
            builder.config.uwsgi.locks = value.number()?;
            Ok(())
        },
        show: |builder| builder.config.uwsgi.locks.to_string(),
    },
    Setting {
        name: "master_fifo",
        section: Section::Uwsgi,
        short: None,
        flags: &["master-fifo"],
        shape: Shape::List,
        kind: Kind::Path,
        doc: "Named pipes from which the supervisor reads uWSGI's one-letter commands (`echo r > PATH`). They are \
              created with mode 600 for the user of the supervisor and removed at the end. The commands are in \
              docs/uwsgi-module.md. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &["master-fifo"],
        read: |builder, value| {
            builder.config.uwsgi.fifos = value.items(',')?.into_iter().map(PathBuf::from).collect();
            Ok(())
        },
        show: |builder| {
            let fifos = builder.config.uwsgi.fifos.iter();
            quoted_list(fifos.map(|path| path.display()))
        },
    },
    Setting {
        name: "uwsgi_stats",
        section: Section::Uwsgi,
        short: None,
        flags: &["uwsgi-stats"],
        shape: Shape::Value,
        kind: Kind::AdminAddress,
        doc: "Address of a stats server as in uWSGI. It sends one JSON document to each connection and closes it, for \
              uwsgitop and exporters. The admin listener has the same document at `/uwsgi`. Only a unix socket or a \
              loopback address is accepted. `none` disables it. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &["stats", "stats-server"],
        read: |builder, value| {
            let text = value.text()?;
            let text = text.trim();
            let address = match text.starts_with(['/', '@']) {
                true => admin_address(&format!("unix:{text}"))?,
                false => admin_address(text)?,
            };
            if matches!(address, Some(BindAddress::Systemd(_) | BindAddress::Fd(_))) {
                return Err("must be a path, unix:PATH, or a loopback address and a port".into());
            }
            builder.config.uwsgi.stats = address;
            Ok(())
        },
        show: |builder| match &builder.config.uwsgi.stats {
            None => quoted("none"),
            Some(address) => quoted(&address.to_string()),
        },
    },
];

fn options(value: ValueReader<'_>) -> Result<Vec<(String, Option<String>)>, ValueError> {
    let mut options = Vec::new();
    match value.raw {
        RawValue::Table(table) => {
            for Entry { key, value, .. } in table {
                match value {
                    RawValue::List(values) => {
                        for value in values {
                            options.push((key.clone(), Some(plain(value)?)));
                        }
                    }
                    RawValue::Boolean(true) => options.push((key.clone(), None)),
                    RawValue::Boolean(false) => {}
                    value => options.push((key.clone(), Some(plain(value)?))),
                }
            }
        }
        raw => {
            for text in entries(raw)? {
                options.push(match text.split_once('=') {
                    Some((key, value)) => (key.trim().to_owned(), Some(value.to_owned())),
                    None => (text.trim().to_owned(), None),
                });
            }
        }
    }
    match options.iter().any(|(key, _)| key.is_empty()) {
        true => Err("must have a name before each \"=\"".into()),
        false => Ok(options),
    }
}

fn caches(value: ValueReader<'_>) -> Result<Vec<UwsgiCacheConfig>, ValueError> {
    let mut caches: Vec<UwsgiCacheConfig> = Vec::new();
    let definitions = match value.raw {
        RawValue::List(list) if list.iter().any(|entry| matches!(entry, RawValue::Table(_))) => {
            list.iter()
                .map(|entry| (entry.to_string(), cache(entry)))
                .collect()
        }
        raw => {
            let entries = entries(raw)?.into_iter();
            let parsed = entries.map(|text| (quoted(&text), UwsgiCacheConfig::parse(&text)));
            parsed.collect::<Vec<_>>()
        }
    };
    for (text, cache) in definitions {
        let refuse = |requirement: String| ValueError {
            line: None,
            piece: Some(text.clone()),
            requirement,
        };
        let cache = cache.map_err(refuse)?;
        if caches.iter().any(|other| other.name == cache.name) {
            return Err(refuse(format!("defines the cache {} twice", cache.name)));
        }
        caches.push(cache);
    }
    Ok(caches)
}

/// A cache as a table of the file.
fn cache(entry: &RawValue) -> Result<UwsgiCacheConfig, String> {
    let RawValue::Table(table) = entry else {
        return Err("must be a table, as the others".to_owned());
    };
    let mut pairs = Vec::new();
    for Entry { key, value, .. } in table {
        match value {
            RawValue::Boolean(false) => {}
            RawValue::Boolean(true) => pairs.push((key.as_str(), "1".to_owned())),
            value => {
                let text = plain(value).map_err(|error| error.requirement)?;
                pairs.push((key.as_str(), text));
            }
        }
    }
    UwsgiCacheConfig::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())))
}

/// Text, or a number as it is written.
fn plain(value: &RawValue) -> Result<String, ValueError> {
    match value {
        RawValue::Text(_) | RawValue::Integer { .. } => one_line(value),
        other => Err(ValueError {
            line: None,
            piece: Some(other.to_string()),
            requirement: "must be text or a whole number".to_owned(),
        }),
    }
}

/// The entries of a list: a definition may contain commas, so only in a variable do line feeds separate them.
fn entries(raw: &RawValue) -> Result<Vec<String>, ValueError> {
    match raw {
        RawValue::List(list) => list.iter().map(one_line).collect(),
        RawValue::Text(text) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines
                .map(|line| one_line(&RawValue::Text(line.to_owned())))
                .collect()
        }
        _ => Err("must be a list of texts".into()),
    }
}
