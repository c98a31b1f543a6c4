//! gunicorn's configuration in a worker (`lockgate.gunicorn.worker`): when its hooks are called there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lockgate_config::{Config, Endpoint, Threads};
use lockgate_observe::Level;
use lockgate_supervisor::{LoadFailure, WorkerContext};
use lockgate_worker::log::ErrorLog;
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::interpreter::exceptions;
use crate::wsgi::RequestHooks;

/// gunicorn's exit code of a worker that cannot boot.
const WORKER_BOOT_ERROR: i32 = 3;
/// How long the hooks of a worker that is aborted may take: the supervisor kills it a second after the abort.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// The hooks of this process, and of the workers that it forks.
pub(crate) struct WorkerHooks {
    object: Py<PyAny>,
    /// A quick stop was requested.
    is_interrupted: AtomicBool,
    has_aborted: OnceLock<()>,
}

impl WorkerHooks {
    /// Executes the configuration and creates its logger. `None` when there is nothing to execute or to create.
    ///
    /// # Errors
    /// What they raise.
    pub(crate) fn start<'a>(
        py: Python<'_>,
        config: &Config,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Result<Option<Arc<Self>>, LoadFailure> {
        let gunicorn = &config.gunicorn;
        let has_logging = gunicorn.logger_class.is_some()
            || gunicorn.logconfig.is_some()
            || gunicorn.logconfig_json.is_some();
        if gunicorn.conf.is_none() && !has_logging {
            return Ok(None);
        }
        Self::create(py, "start", config, endpoints)
            .map(Some)
            .map_err(|error| failure(py, &error, "the configuration"))
    }

    /// Creates the logger, without a configuration in Python: the application changes what happens to access records.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn for_loggers<'a>(
        py: Python<'_>,
        config: &Config,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Result<Arc<Self>, LoadFailure> {
        Self::create(py, "attach", config, endpoints)
            .map_err(|error| failure(py, &error, "the loggers"))
    }

    fn create<'a>(
        py: Python<'_>,
        function: &str,
        config: &Config,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> PyResult<Arc<Self>> {
        let source = config.gunicorn.conf.as_ref().map(ToString::to_string);
        let binds: Vec<String> = endpoints.map(ToString::to_string).collect();
        let app = config.app.to_string();
        let arguments = (
            source,
            &config.gunicorn.conf_text,
            lockgate_config::cfg(config),
            binds,
            app,
            &config.pythonpath,
        );
        let object = py
            .import("lockgate.gunicorn.worker")?
            .call_method1(function, arguments)?;
        Ok(Arc::new(Self {
            object: object.unbind(),
            is_interrupted: AtomicBool::new(false),
            has_aborted: OnceLock::new(),
        }))
    }

    /// Right after the fork.
    ///
    /// # Errors
    /// What the hook raises: the worker must exit.
    pub(crate) fn post_fork(
        &self,
        py: Python<'_>,
        context: &WorkerContext,
    ) -> Result<(), LoadFailure> {
        let retire = context.retirement_request();
        let retire = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            arguments.py().detach(&retire);
        };
        PyCFunction::new_closure(py, None, None, retire)
            .and_then(|retire| self.call(py, "post_fork", (context.age, retire)))
            .map_err(|error| failure(py, &error, "post_fork"))
    }

    /// After the application was loaded.
    ///
    /// # Errors
    /// What the hook raises: the worker must exit.
    pub(crate) fn post_worker_init(
        &self,
        py: Python<'_>,
        application: &Py<PyAny>,
    ) -> Result<(), LoadFailure> {
        self.call(py, "post_worker_init", (application,))
            .map_err(|error| failure(py, &error, "post_worker_init"))
    }

    /// What to call around each request, if there is anything.
    ///
    /// # Errors
    /// When Python raises an exception.
    pub(crate) fn request_hooks(
        &self,
        py: Python<'_>,
        threads: Threads,
    ) -> PyResult<Option<RequestHooks>> {
        let has_threads = !matches!(threads, Threads::Count(count) if count.get() == 1);
        let hooks = self
            .object
            .bind(py)
            .call_method1("request_hooks", (has_threads,))?;
        match hooks.is_none() {
            true => Ok(None),
            false => RequestHooks::of(&hooks).map(Some),
        }
    }

    /// A quick stop was requested.
    pub(crate) fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
    }

    /// At the end of the process, on its main thread.
    pub(crate) fn finish(&self, py: Python<'_>, log: &ErrorLog) {
        if self.is_interrupted.load(Ordering::Relaxed) {
            self.call_or_log(py, "worker_int", log);
        }
        self.call_or_log(py, "worker_exit", log);
    }

    /// The worker will be aborted. Waits for its hooks on a separate thread, because a call may hold the GIL.
    pub(crate) fn abort(self: &Arc<Self>, log: &Arc<ErrorLog>) {
        if self.has_aborted.set(()).is_err() {
            return;
        }
        let (hooks, own_log) = (Arc::clone(self), Arc::clone(log));
        let (sender, receiver) = channel();
        let started = thread::Builder::new()
            .name("lockgate-worker-abort".to_owned())
            .spawn(move || {
                Python::attach(|py| hooks.call_or_log(py, "worker_abort", &own_log));
                // The receiver may have timed out.
                let _timed_out = sender.send(());
            });
        if started.is_err() || receiver.recv_timeout(ABORT_PATIENCE).is_err() {
            log.write(
                Level::Warning,
                "the hook worker_abort has not run to its end: a call holds the GIL, or the hook takes longer than 1 s",
            );
        }
    }

    /// Opens the files of Python's handlers again. On a separate thread, because a call may hold the GIL.
    pub(crate) fn reopen_logs(self: &Arc<Self>, log: &Arc<ErrorLog>) {
        let (hooks, own_log) = (Arc::clone(self), Arc::clone(log));
        let started = thread::Builder::new()
            .name("lockgate-reopen".to_owned())
            .spawn(move || {
                Python::attach(|py| hooks.call_or_log(py, "reopen_logs", &own_log));
            });
        if let Err(error) = started {
            let message = format!("cannot reopen the files of Python's log handlers: {error}");
            log.write(Level::Error, &message);
        }
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        arguments: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<()> {
        self.object.bind(py).call_method1(name, arguments).map(drop)
    }

    fn call_or_log(&self, py: Python<'_>, name: &str, log: &ErrorLog) {
        if let Err(error) = self.call(py, name, ()) {
            let traceback = exceptions::traceback(py, &error);
            log.write(
                Level::Error,
                &format!("the hook {name} failed\n{traceback}"),
            );
        }
    }
}

/// Whether the application decides what happens to records of `gunicorn.access`.
///
/// # Errors
/// When Python raises an exception.
pub(crate) fn takes_access_records(py: Python<'_>) -> PyResult<bool> {
    py.import("lockgate.gunicorn.loggers")?
        .call_method0("is_changed")?
        .is_truthy()
}

/// As gunicorn ends a worker whose boot raises an exception.
fn failure(py: Python<'_>, error: &PyErr, what: &str) -> LoadFailure {
    if error.is_instance_of::<PySystemExit>(py) {
        let code = error.value(py).getattr("code");
        let code = code.and_then(|code| code.extract::<i32>()).unwrap_or(1);
        return LoadFailure {
            code: if code == 0 { WORKER_BOOT_ERROR } else { code },
            text: format!("{what} has called sys.exit({code})"),
        };
    }
    let described = py
        .import("lockgate.gunicorn.worker")
        .and_then(|module| {
            module.call_method1("describe", (exceptions::with_traceback(py, error),))
        })
        .and_then(|text| text.extract::<String>());
    LoadFailure {
        code: WORKER_BOOT_ERROR,
        text: described.unwrap_or_else(|_| exceptions::traceback(py, error)),
    }
}
