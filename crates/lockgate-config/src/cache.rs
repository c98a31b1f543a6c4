//! The response cache: its settings, and what these require of each other.

use std::time::Duration;

use crate::notation::{size_text, size_words};
use crate::{Config, ConfigError, Origin, Origins, RedisAddress, StaticSources};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of memory that all workers share; 0: there is no cache.
    pub memory: usize,
    /// Bytes of the largest response that is stored, with its head.
    pub entry_limit: usize,
    /// How long a request waits for the response to another one with the same key; then it is passed on.
    pub lock_timeout: Duration,
    /// Patterns of the names of query parameters that are not part of the key: `*` and `?`.
    pub ignore_query: Vec<String>,
    /// The Redis server through which several hosts pass on what is purged.
    pub redis: Option<RedisAddress>,
}

/// What `true` means.
pub(crate) const DEFAULT_MEMORY: usize = 64 * 1024 * 1024;

/// One response must not replace most of the others.
const ENTRIES_PER_CACHE: usize = 4;

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory: 0,
            entry_limit: 1024 * 1024,
            lock_timeout: Duration::from_secs(5),
            ignore_query: Vec::new(),
            redis: None,
        }
    }
}

impl CacheConfig {
    /// Whether there is a cache.
    pub fn is_enabled(&self) -> bool {
        self.memory > 0
    }
}

/// Checks the settings of static files, compression and the cache together; returns notes for the operator.
pub(crate) fn check(config: &Config, origins: &Origins) -> Result<Vec<String>, ConfigError> {
    let cache = &config.cache;
    let most = cache.memory / ENTRIES_PER_CACHE;
    if cache.is_enabled() && cache.entry_limit > most {
        let requirement = format!(
            "must be at most {}, a quarter of cache = {}",
            size_words(most as u64),
            size_words(cache.memory as u64)
        );
        return Err(ConfigError::BadValue {
            name: "cache_entry_limit",
            value: size_text(cache.entry_limit as u64),
            origin: origins.of("cache_entry_limit").clone(),
            requirement,
        });
    }
    let dependent = [
        (
            config.static_files.sources == StaticSources::Off,
            "static",
            ["static_open_files", "static_memory", "static_valid", ""],
        ),
        (
            !config.compress.is_enabled,
            "compress = true",
            ["compress_types", "compress_min_size", "compress_jitter", ""],
        ),
        (
            !cache.is_enabled(),
            "cache",
            [
                "cache_entry_limit",
                "cache_lock_timeout",
                "cache_ignore_query",
                "cache_redis",
            ],
        ),
    ];
    let mut notes = Vec::new();
    for (is_off, needed, names) in dependent {
        let given = names
            .iter()
            .filter(|name| is_off && *origins.of(name) != Origin::Default);
        notes.extend(given.map(|name| format!("{name} has no effect without {needed}")));
    }
    Ok(notes)
}
