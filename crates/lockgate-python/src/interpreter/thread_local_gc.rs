//! Collects garbage of ended threads. A thread-local object is often part of a reference cycle (a database connection
//! of Django is), so it stays until the garbage collector runs, and an idle worker allocates too little for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockgate_observe::Level;
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use super::gc::IdleGc;
use super::{exceptions, threads};

/// Threads started by a burst end at about the same time: one collection is enough for them.
const DELAY: Duration = Duration::from_secs(2);

/// Runs the collector once after threads have ended.
pub(crate) struct ThreadLocalGc {
    /// With `gc = "idle"`: collects in place of Python.
    collector: Option<Arc<IdleGc>>,
    is_pending: AtomicBool,
    log: Arc<ErrorLog>,
}

impl ThreadLocalGc {
    pub(crate) fn new(collector: Option<Arc<IdleGc>>, log: Arc<ErrorLog>) -> Arc<Self> {
        Arc::new(Self {
            collector,
            is_pending: AtomicBool::new(false),
            log,
        })
    }

    /// Schedules a collection; the calling thread is about to end.
    pub(crate) fn on_thread_end(self: &Arc<Self>, py: Python<'_>) {
        if self.is_pending.swap(true, Ordering::Relaxed) {
            return;
        }
        let gc = Arc::clone(self);
        // On a separate thread: the ending one cannot free its thread-locals itself, and a collection on the main
        // thread would delay the supervisor's messages.
        let spawned = threads::spawn(
            "lockgate-thread-gc".to_owned(),
            Box::new(move || Python::attach(|py| gc.run(py))),
        );
        if let Err(error) = spawned {
            self.is_pending.store(false, Ordering::Relaxed);
            let message = format!(
                "cannot start the thread that collects garbage of ended threads: {error}; \
                 their database connections stay open until Python collects by itself"
            );
            py.detach(|| self.log.write(Level::Warning, &message));
        }
    }

    fn run(&self, py: Python<'_>) {
        py.detach(|| thread::sleep(DELAY));
        // Before the collection: a thread that ends during the collection needs another one.
        self.is_pending.store(false, Ordering::Relaxed);
        if let Err(error) = self.collect(py) {
            let problem = exceptions::summary(py, &error);
            let message = format!("cannot collect garbage of ended threads: {problem}");
            py.detach(|| self.log.write(Level::Warning, &message));
        }
    }

    fn collect(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(collector) = &self.collector
            && collector.collect_soon()
        {
            return Ok(());
        }
        let gc = py.import("gc")?;
        // If `gc` or the application has turned collection off, the server does not collect either.
        if gc.call_method0("isenabled")?.is_truthy()? {
            gc.call_method0("collect")?;
        }
        Ok(())
    }
}
