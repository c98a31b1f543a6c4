//! Settings: the response cache.

use super::limits::MIB;
use crate::RedisAddress;
use crate::cache::DEFAULT_MEMORY;
use crate::kind::Kind;
use crate::notation::{duration_text, quoted, quoted_list, size_text};
use crate::raw_value::{ValueError, ValueReader};
use crate::setting::{Section, Setting, Shape};

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "cache",
        section: Section::Cache,
        short: None,
        flags: &["cache"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 4 * MIB,
            most: 64 * 1024 * MIB,
            zero: Ok("there is no cache"),
        },
        doc: "Size of the response cache. It is memory that all workers share; it lives over reloads. Responses that \
              RFC 9111 allows a shared cache to store are answered from there, without the application. `true` \
              means 64MiB. A change takes effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.cache.memory = match value.switch() {
                Ok(true) => DEFAULT_MEMORY,
                Ok(false) => 0,
                Err(_) => value.size()?,
            };
            Ok(())
        },
        show: |builder| size_text(builder.config.cache.memory as u64),
    },
    Setting {
        name: "cache_entry_limit",
        section: Section::Cache,
        short: None,
        flags: &["cache-entry-limit"],
        shape: Shape::Value,
        kind: Kind::Size {
            least: 1024,
            most: 1024 * MIB,
            zero: Err("to store nothing, write cache = 0"),
        },
        doc: "Maximum size of a response that is stored, with its head. At most a quarter of `cache`. A change takes \
              effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.cache.entry_limit = value.size()?;
            Ok(())
        },
        show: |builder| size_text(builder.config.cache.entry_limit as u64),
    },
    Setting {
        name: "cache_lock_timeout",
        section: Section::Cache,
        short: None,
        flags: &["cache-lock-timeout"],
        shape: Shape::Value,
        kind: Kind::Duration {
            zero: Ok("no request waits"),
        },
        doc: "Longest time that a request waits for the response to another request with the same key. While one \
              request fills the cache, the others wait for its response in the event loops of all workers. After \
              this time they are passed to the application.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.cache.lock_timeout = value.duration()?;
            Ok(())
        },
        show: |builder| duration_text(builder.config.cache.lock_timeout),
    },
    Setting {
        name: "cache_ignore_query",
        section: Section::Cache,
        short: None,
        flags: &["cache-ignore-query"],
        shape: Shape::List,
        kind: Kind::Text,
        doc: "Names of query parameters that are not part of a response's key, such as `utm_*`. `*` stands for any \
              characters, `?` for one; `*` alone ignores the whole query. The application still gets them, so it \
              must not use them.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            builder.config.cache.ignore_query = parameter_names(value)?;
            Ok(())
        },
        show: |builder| quoted_list(&builder.config.cache.ignore_query),
    },
    Setting {
        name: "cache_redis",
        section: Section::Cache,
        short: None,
        flags: &["cache-redis"],
        shape: Shape::Value,
        kind: Kind::Text,
        doc: "URL of a Redis server, through which a purge reaches the caches of several hosts. It is written as in \
              `push_redis`, and may be the same server. Empty: a purge is for this host only. The password is shown \
              as `***`. In a flag other users of the host can read it; use the file or the variable. A change takes \
              effect at the next start.",
        gunicorn: &[],
        uwsgi: &[],
        read: |builder, value| {
            let text = value.optional_text()?;
            let parsed = text.map(|text| RedisAddress::parse(&text));
            builder.config.cache.redis = parsed.transpose()?;
            Ok(())
        },
        show: |builder| {
            let address = builder.config.cache.redis.as_ref();
            quoted(&address.map(ToString::to_string).unwrap_or_default())
        },
    },
];

fn parameter_names(value: ValueReader<'_>) -> Result<Vec<String>, ValueError> {
    let names = value.items(',')?;
    let is_name = |name: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"&=#".contains(&byte);
        name.bytes().all(is_allowed)
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(ValueError {
            line: None,
            piece: Some(quoted(name)),
            requirement: "must be the name of a parameter as it is in the query: no space, &, =, # or non-ASCII \
                          character; encode those as %XX"
                .to_owned(),
        }),
        None => Ok(names),
    }
}
