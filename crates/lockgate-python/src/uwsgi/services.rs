//! The services of the module `uwsgi`, as an object of Python.
//!
//! An operation on a cache takes microseconds and keeps the GIL, unless another thread or process uses the cache: then it
//! runs without the GIL, and while it holds the lock it never waits for the GIL.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lockgate_observe::{Level, Scoreboard, write_uwsgi};
use lockgate_shm::{Cache, Guard, Lock, LockError, Operation, Store, Table};
use lockgate_supervisor::{Request, process_memory};
use lockgate_worker::log::ErrorLog;
use lockgate_worker::monotonic_nanos;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::cache_views;

/// Passes a request to the supervisor.
pub(super) type ServerRequest = Box<dyn Fn(Request) -> io::Result<()> + Send + Sync>;

/// See the module.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct Services {
    store: Option<Arc<Store>>,
    scoreboard: Option<Scoreboard>,
    log: Arc<ErrorLog>,
    /// In a worker.
    server_request: Mutex<Option<ServerRequest>>,
    has_warned_of_cache: AtomicBool,
}

impl Services {
    pub(super) fn new(
        store: Option<Arc<Store>>,
        scoreboard: Option<Scoreboard>,
        log: Arc<ErrorLog>,
    ) -> Self {
        Self {
            store,
            scoreboard,
            log,
            server_request: Mutex::default(),
            has_warned_of_cache: AtomicBool::new(false),
        }
    }

    pub(super) fn set_server_request(&self, request: ServerRequest) {
        let place = self.server_request.lock();
        *place.unwrap_or_else(PoisonError::into_inner) = Some(request);
    }

    /// The cache of this name; without a name the first one.
    fn cache(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Option<Cache>> {
        let name = name.unwrap_or_default();
        if name.contains('@') {
            let message = format!(
                "the cache {name} is on another host: caches are local, use Redis or Memcached"
            );
            return Err(PyValueError::new_err(message));
        }
        let store = self.store.as_ref();
        let cache = store.and_then(|store| match name {
            "" => store.first_cache(),
            name => store.cache(name),
        });
        if cache.is_none() && !self.has_warned_of_cache.swap(true, Ordering::Relaxed) {
            let named = match name {
                "" => String::new(),
                name => format!(" named {name}"),
            };
            let message = format!(
                "the application uses a shared cache{named}, and there is none (setting: uwsgi_cache); \
                 it reads and writes nothing"
            );
            py.detach(|| self.log.write(Level::Warning, &message));
        }
        Ok(cache)
    }

    /// Runs an operation on a cache; `None` when there is no such cache. `operate` gets the time in milliseconds.
    fn use_cache<R: Send>(
        &self,
        py: Python<'_>,
        name: Option<&str>,
        operate: impl Fn(&Table, u64) -> R + Send + Sync,
    ) -> PyResult<Option<R>> {
        let Some(cache) = self.cache(py, name)? else {
            return Ok(None);
        };
        let now = monotonic_nanos() / 1_000_000;
        if let Some(table) = cache.try_lock() {
            return Ok(Some(operate(&table, now)));
        }
        let outcome = py.detach(|| cache.lock().map(|table| operate(&table, now)));
        outcome.map(Some).map_err(lock_error)
    }

    fn numbered_lock(&self, number: usize) -> PyResult<Lock> {
        let Some(store) = &self.store else {
            return Err(PyRuntimeError::new_err("there is no memory for locks"));
        };
        store.lock(number).ok_or_else(|| {
            let message = format!("Invalid lock number {number} (setting: uwsgi_locks)");
            PyValueError::new_err(message)
        })
    }

    fn request(&self, py: Python<'_>, request: Request, name: &str) -> PyResult<()> {
        let message = format!("the application requests it: uwsgi.{name}()");
        py.detach(|| {
            let place = self.server_request.lock();
            let place = place.unwrap_or_else(PoisonError::into_inner);
            let Some(send) = &*place else {
                return Err(PyRuntimeError::new_err("only a worker can request this"));
            };
            self.log.write(Level::Info, &message);
            send(request).map_err(PyErr::from)
        })
    }
}

#[pymethods]
impl Services {
    fn cache_get<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        cache: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let found = self.use_cache(py, cache, |table, now| table.get(key, now))?;
        Ok(found.flatten().map(|entry| PyBytes::new(py, &entry.value)))
    }

    fn cache_write(
        &self,
        py: Python<'_>,
        key: &[u8],
        value: &[u8],
        expires: u64,
        cache: Option<&str>,
        replaces: bool,
    ) -> PyResult<bool> {
        let written = self.use_cache(py, cache, |table, now| {
            let until = moment(expires, now);
            match replaces {
                true => table.replace(key, value, until, now),
                false => table.insert(key, value, until, now),
            }
        })?;
        Ok(written.is_some_and(|written| written.is_ok()))
    }

    fn cache_calculate(
        &self,
        py: Python<'_>,
        key: &[u8],
        operation: char,
        operand: i64,
        expires: u64,
        cache: Option<&str>,
    ) -> PyResult<bool> {
        let operation = match operation {
            '+' => Operation::Add,
            '-' => Operation::Subtract,
            '*' => Operation::Multiply,
            _ => Operation::Divide,
        };
        let result = self.use_cache(py, cache, |table, now| {
            table.calculate(key, (operation, operand), moment(expires, now), now)
        })?;
        Ok(result.is_some_and(|result| result.is_ok()))
    }

    fn cache_remove(&self, py: Python<'_>, key: &[u8], cache: Option<&str>) -> PyResult<bool> {
        let removed = self.use_cache(py, cache, |table, now| table.remove(key, now))?;
        Ok(removed.unwrap_or(false))
    }

    fn cache_contains(&self, py: Python<'_>, key: &[u8], cache: Option<&str>) -> PyResult<bool> {
        let found = self.use_cache(py, cache, |table, now| table.contains(key, now))?;
        Ok(found.unwrap_or(false))
    }

    fn cache_clear(&self, py: Python<'_>, cache: Option<&str>) -> PyResult<bool> {
        let cleared = self.use_cache(py, cache, |table, _| table.clear())?;
        Ok(cleared.is_some())
    }

    fn cache_keys<'py>(
        &self,
        py: Python<'py>,
        cache: Option<&str>,
    ) -> PyResult<Option<Vec<Bound<'py, PyBytes>>>> {
        let keys = self.use_cache(py, cache, |table, now| table.keys(now))?;
        Ok(keys.map(|keys| keys.iter().map(|key| PyBytes::new(py, key)).collect()))
    }

    /// Takes a lock. Waits without the GIL.
    fn lock(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        let lock = self.numbered_lock(number)?;
        if let Some(guard) = lock.try_lock() {
            guard.keep();
            return Ok(());
        }
        py.detach(|| lock.lock().map(Guard::keep))
            .map_err(lock_error)
    }

    /// Releases a lock, if this thread holds it.
    fn unlock(&self, number: usize) -> PyResult<()> {
        let _is_held = self.numbered_lock(number)?.unlock();
        Ok(())
    }

    fn is_locked(&self, number: usize) -> PyResult<bool> {
        Ok(self.numbered_lock(number)?.is_locked())
    }

    /// The document of uWSGI's stats server.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let Some(scoreboard) = self.scoreboard else {
            return Err(PyRuntimeError::new_err("there is no scoreboard"));
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let moment = (monotonic_nanos(), wall.map_or(0, |wall| wall.as_secs()));
        let mut document = Vec::new();
        let version = env!("CARGO_PKG_VERSION");
        let caches = cache_views(self.store.as_deref());
        let shown = (scoreboard, &caches[..]);
        py.detach(|| write_uwsgi(&mut document, shown, version, moment, process_memory));
        Ok(PyBytes::new(py, &document))
    }

    /// Resident memory and address space of this process.
    fn memory(&self) -> (u64, u64) {
        let memory = process_memory(std::process::id().into());
        (memory.resident, memory.address_space)
    }

    fn log(&self, py: Python<'_>, line: &str, is_warning: bool) {
        let level = match is_warning {
            true => Level::Warning,
            false => Level::Info,
        };
        py.detach(|| self.log.write(level, line));
    }

    fn reload(&self, py: Python<'_>) -> PyResult<()> {
        self.request(py, Request::Reload, "reload")
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.request(py, Request::Terminate, "stop")
    }
}

/// The moment of expiry after this many seconds, in milliseconds; 0: never.
fn moment(seconds: u64, now: u64) -> u64 {
    match seconds {
        0 => 0,
        seconds => now.saturating_add(seconds.saturating_mul(1000)),
    }
}

fn lock_error(error: LockError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
