//! The module `uwsgi` of the application: its Python part is `lockgate.uwsgi`, and this is what it needs from the
//! server: shared caches and locks, numbers of the workers, requests to the supervisor, the log.

mod services;

use std::sync::Arc;

use lockgate_config::Config;
use lockgate_observe::{CacheView, Level, Scoreboard};
use lockgate_shm::Store;
use lockgate_supervisor::WorkerContext;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::interpreter::exceptions;
use services::Services;

const MODULE: &str = "lockgate.uwsgi.install";

/// What processes share, and in a process with the module its services.
#[derive(Default)]
pub(crate) struct UwsgiModule {
    store: Option<Arc<Store>>,
    scoreboard: Option<Scoreboard>,
    services: Option<Py<Services>>,
}

impl UwsgiModule {
    /// Before the first fork.
    pub(crate) fn share(&mut self, store: Option<Arc<Store>>, scoreboard: Option<Scoreboard>) {
        self.store = store;
        self.scoreboard = scoreboard;
    }

    /// The memory of caches and locks, if the settings ask for it.
    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }

    /// Before the import of the application, if the settings ask for the module.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn install(
        &mut self,
        py: Python<'_>,
        config: &Config,
        generation: u64,
        log: &Arc<ErrorLog>,
    ) -> Result<(), String> {
        if !config.uwsgi.module {
            return Ok(());
        }
        self.try_install(py, config, generation, log)
            .map_err(|error| problem(py, &error))
    }

    fn try_install(
        &mut self,
        py: Python<'_>,
        config: &Config,
        generation: u64,
        log: &Arc<ErrorLog>,
    ) -> PyResult<()> {
        let services = Services::new(self.store.clone(), self.scoreboard, Arc::clone(log));
        let services = Py::new(py, services)?;
        let facts = PyDict::new(py);
        let supervisor = self.scoreboard.map_or(0, |board| board.supervisor().0);
        facts.set_item("supervisor", supervisor)?;
        facts.set_item("version", env!("CARGO_PKG_VERSION"))?;
        facts.set_item("workers", config.workers)?;
        facts.set_item("threads", config.max_threads())?;
        facts.set_item("buffer_size", config.limits.request_head)?;
        facts.set_item("generation", generation)?;
        facts.set_item("options", config.uwsgi.options.clone())?;
        let is_installed = py
            .import(MODULE)?
            .call_method1("install", (&services, facts))?
            .extract::<bool>()?;
        match is_installed {
            true => self.services = Some(services),
            false => log.write(
                Level::Warning,
                "uwsgi_module: a module uwsgi was imported before the application, and stays",
            ),
        }
        Ok(())
    }

    /// In a worker, after the import: runs the functions that applications have registered with `@postfork`.
    ///
    /// # Errors
    /// When Python raises an exception that is not theirs.
    pub(crate) fn become_worker(
        &self,
        py: Python<'_>,
        context: &WorkerContext,
        log: &Arc<ErrorLog>,
    ) -> Result<(), String> {
        let Some(services) = &self.services else {
            return Ok(());
        };
        services
            .get()
            .set_server_request(Box::new(context.server_request()));
        let module = py.import(MODULE).map_err(|error| problem(py, &error))?;
        if let Err(error) = module.call_method1("become_worker", (context.slot + 1,)) {
            // uWSGI goes on, too.
            let traceback = exceptions::traceback(py, &error);
            let message = format!("a function of @postfork has failed\n{traceback}");
            log.write(Level::Error, &message);
        }
        Ok(())
    }

    /// The application as it is to be called.
    ///
    /// # Errors
    /// When it cannot be wrapped.
    pub(crate) fn wrap(&self, py: Python<'_>, application: Py<PyAny>) -> Result<Py<PyAny>, String> {
        if self.services.is_none() {
            return Ok(application);
        }
        (py.import(MODULE))
            .and_then(|module| module.call_method1("wrap", (application,)))
            .map(Bound::unbind)
            .map_err(|error| problem(py, &error))
    }

    /// The object whose attribute `environ` is that of the request that a thread runs.
    pub(crate) fn current_request(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.services.as_ref()?;
        let requests = py.import("lockgate.uwsgi.requests").ok()?;
        requests.getattr("current").ok().map(Bound::unbind)
    }
}

/// The shared caches, as the stats server shows them.
pub(crate) fn cache_views(store: Option<&Store>) -> Vec<CacheView> {
    let caches = store.into_iter().flat_map(Store::caches);
    caches
        .map(|(name, cache)| {
            let (plan, counts) = (cache.plan(), cache.counts());
            CacheView {
                name: name.to_owned(),
                key_size: plan.key_size as u64,
                max_items: plan.items as u64,
                blocks: plan.blocks as u64,
                block_size: plan.block_size as u64,
                items: counts.items,
                hits: counts.hits,
                misses: counts.misses,
                full: counts.full,
            }
        })
        .collect()
}

fn problem(py: Python<'_>, error: &PyErr) -> String {
    format!("uwsgi_module: {}", exceptions::traceback(py, error))
}
