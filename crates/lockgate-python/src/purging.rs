//! Purges of the response cache: what `lockgate.cache.purge` and the admin listener do, and what the relay does with
//! those of other servers.

use std::error::Error;
use std::fmt;

use lockgate_cache::Purge;
use lockgate_config::CacheConfig;
use lockgate_relay::Purges;
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{AppendError, LockError, Log};
use lockgate_worker::{monotonic_nanos, purge_url};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

const MODULE: &str = "lockgate.cache";
/// The log of purges has one channel.
const CHANNEL: &[u8] = b"purge";

/// Purges this server's cache, and asks the other servers to purge theirs. What is purged is gone for all workers when a
/// call returns.
#[derive(Clone)]
pub(crate) struct CachePurger {
    store: ResponseStore,
    ignore_query: Vec<String>,
    /// What the relay sends to other servers; `None`: there are none.
    log: Option<Log>,
}

/// Why a purge has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PurgeFailure {
    /// The cache cannot be changed.
    Cache(LockError),
    /// This server's cache is purged, and the other servers are not asked.
    Others(AppendError),
}

impl CachePurger {
    /// `None` where there is no cache.
    pub(crate) fn new(
        store: Option<ResponseStore>,
        log: Option<Log>,
        config: &CacheConfig,
    ) -> Option<Self> {
        Some(Self {
            store: store?,
            ignore_query: config.ignore_query.clone(),
            log: log.filter(|_| config.redis.is_some()),
        })
    }

    /// Purges here and on the other servers; returns the number of entries that were removed here.
    ///
    /// # Errors
    /// When the cache or the log cannot be changed.
    pub(crate) fn purge(&self, purges: &[Purge]) -> Result<u64, PurgeFailure> {
        let mut count = 0;
        for purge in purges {
            count += self.purge_here(purge).map_err(PurgeFailure::Cache)?;
            self.tell_others(purge).map_err(PurgeFailure::Others)?;
        }
        Ok(count)
    }

    fn purge_here(&self, purge: &Purge) -> Result<u64, LockError> {
        match purge {
            Purge::Url(url) => purge_url(&self.store, &url.key(&self.ignore_query)),
            Purge::Tag(tag) => self.store.purge_tag(tag),
            Purge::All => self.store.purge_all(),
        }
    }

    fn tell_others(&self, purge: &Purge) -> Result<(), AppendError> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        log.append(CHANNEL, b"", &purge.encode(), monotonic_nanos())
            .map(drop)
    }
}

impl Purges for CachePurger {
    fn apply(&self, record: &[u8]) -> Result<(), String> {
        let purges = Purge::parse(record).map_err(|error| error.to_string())?;
        for purge in purges {
            self.purge_here(&purge).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn purge_all(&self) {
        // The lock is that of a process that has died or of one that will give it back: the next purge takes it.
        let _unlocked = self.store.purge_all();
    }

    fn ask_others_to_purge_all(&self) {
        let _appended = self.tell_others(&Purge::All);
    }
}

impl fmt::Display for PurgeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(error) => write!(f, "the cache cannot be changed: {error}"),
            Self::Others(error) => write!(
                f,
                "the cache of this server is purged, and those of other servers are not: {error}"
            ),
        }
    }
}

impl Error for PurgeFailure {}

/// Purges from Python.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Purger {
    purger: CachePurger,
}

#[pymethods]
impl Purger {
    /// Each purge is a kind (`url`, `tag` or `all`) and a text. Raises ValueError before anything is purged.
    fn purge(&self, py: Python<'_>, purges: Vec<(String, String)>) -> PyResult<u64> {
        let purges = purges.iter().map(|(kind, text)| match kind.as_str() {
            "url" => Purge::url(text),
            "tag" => Purge::tag(text),
            _ => Ok(Purge::All),
        });
        let purges = purges
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.detach(|| self.purger.purge(&purges))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

/// Makes `lockgate.cache.purge` work in this process and its later forks. Without a cache it removes nothing.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn install(py: Python<'_>, purger: Option<CachePurger>) -> PyResult<()> {
    let purger = purger.map(|purger| Purger { purger });
    py.import(MODULE)?
        .call_method1("install", (purger,))
        .map(drop)
}
