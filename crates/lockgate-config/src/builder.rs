//! A configuration under construction: what the settings write into.

use crate::config::{Config, Threads};
use crate::memory::MemoryBound;
use crate::{AppSpec, OtlpConfig};

/// A configuration under construction, with the values that [`Config`] cannot express yet.
#[derive(Clone)]
pub(crate) struct ConfigBuilder {
    pub(crate) config: Config,
    pub(crate) app: Option<AppSpec>,
    /// Takes the place of `app`.
    pub(crate) paste: Option<AppSpec>,
    pub(crate) workers: Threads,
    pub(crate) max_worker_memory: MemoryBound,
    pub(crate) max_worker_memory_hard: MemoryBound,
    /// Where spans are sent, and what is said about them; without a host they are not.
    pub(crate) otlp: OtlpConfig,
}

impl ConfigBuilder {
    pub(crate) fn new() -> Self {
        let nothing = AppSpec::Module {
            module: String::new(),
            attribute: None,
        };
        Self {
            config: Config::with_defaults(nothing),
            app: None,
            paste: None,
            workers: Threads::Auto,
            max_worker_memory: MemoryBound::Bytes(0),
            max_worker_memory_hard: MemoryBound::Bytes(0),
            otlp: OtlpConfig::default(),
        }
    }
}
