//! An embedded worker: one that serves inside a process that is not the server's own (`lockgate.Server`).
//!
//! Nothing that belongs to the whole process is changed: no signal handler, working directory, environment, `sys.path`,
//! process title or logger, no umask, resource limit or panic hook, neither garbage collector, faulthandler nor switch
//! interval of Python.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockgate_config::{BindAddress, Config, Endpoint, Scheme};
use lockgate_supervisor::{
    ListenError, StandaloneCertificates, StandaloneSockets, standalone_responses,
};
use lockgate_tls::Acceptor;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::{Handle, Resources, Worker, register_ahead};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::interpreter::deferred_drops;
use crate::loading::Loaded;
use crate::process::children;
use crate::purging::{self, CachePurger};
use crate::sessions::SessionWrapper;
use crate::worker::startup;
use crate::worker::static_sources;
use crate::worker::tls::acceptor;
use crate::wsgi::{Application, Applications, ImportedContext, WsgiApp};
use crate::{interpreter, push, settings_source};

/// How often the worker is looked after.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a wait may keep Python from running the handler of a signal.
const SIGNALS_WITHIN: Duration = Duration::from_millis(100);

/// The settings of an embedded worker, checked.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct EmbeddedSettings {
    config: Config,
}

#[pymethods]
impl EmbeddedSettings {
    /// Raises ValueError with every mistake.
    #[new]
    fn new(keywords: &str) -> PyResult<Self> {
        let config = settings_source::embedded(keywords)
            .map_err(|mistakes| PyValueError::new_err(mistakes.join("\n")))?;
        Ok(Self { config })
    }

    /// Those of `lockgate dev` in one process, where variables and a file count. Raises ValueError.
    #[staticmethod]
    fn of_development(py: Python<'_>, keywords: String, file: Option<OsString>) -> PyResult<Self> {
        let config = settings_source::embedded_development(py, keywords, file)
            .map_err(|mistakes| PyValueError::new_err(mistakes.text()))?;
        Ok(Self { config })
    }

    #[getter]
    fn graceful_timeout(&self) -> f64 {
        self.config.graceful_timeout.as_secs_f64()
    }

    #[getter]
    fn allow_patched_threads(&self) -> bool {
        self.config.allow_patched_threads
    }

    /// Listens and serves. Threads are started by `start_thread(target, name)`. Raises OSError when an address cannot be
    /// listened on or the system refuses something else, ValueError for certificates.
    fn start(
        &self,
        py: Python<'_>,
        application: Py<PyAny>,
        start_thread: Py<PyAny>,
    ) -> PyResult<EmbeddedWorker> {
        let mut config = self.config.clone();
        // The thread pool judges waiting times by the actual interval.
        config.switch_interval = interpreter::switch_interval(py)?;
        let log = ErrorLog::of(&config, None)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let log = Arc::new(log);
        children::prepare_children_of_program(py)?;
        let mut sockets = py
            .detach(|| StandaloneSockets::listen(&config))
            .map_err(cannot_listen)?;
        let started = (|| {
            let listeners = sockets.take()?;
            (listeners.iter()).for_each(|(_, socket)| register_ahead(socket));
            let endpoints: Vec<_> = listeners.iter().map(|(at, _)| at.clone()).collect();
            let (acceptor, certificates) = secure(&config, &endpoints)?;
            let bridge = startup::settings(&config);
            let broadcast = push::log_of_program(py, &config.push)?;
            static_sources::check_directories(&config, &log);
            let loaded = Loaded {
                server: application,
                mounts: Vec::new(),
            };
            static_sources::resolve(py, &mut config, &loaded, Some(&*log));
            let responses = (config.cache.memory > 0)
                .then(|| standalone_responses(&config.cache))
                .transpose()?;
            purging::install(py, CachePurger::new(responses, None, &config.cache))?;
            let context = ImportedContext::empty(py)?;
            let sessions = SessionWrapper::new(py, config.session.as_ref())?;
            let server = Application::of_server(sessions.wrap(py, loaded.server)?, context);
            let applications = Applications::new(server, Vec::new());
            let app =
                WsgiApp::new(applications, None, bridge, Arc::clone(&log)).embedded(start_thread);
            let handle = Worker::prepare(Resources {
                config: Arc::new(config),
                listeners,
                app: Arc::new(app),
                error_log: Arc::clone(&log),
                worker_slot: None,
                acceptor,
                broadcast,
                responses,
                // One process: the worker has a table of its own.
                rates: None,
                spans: None,
                owns_process: false,
            })?;
            PyResult::Ok((handle, endpoints, certificates))
        })();
        let (handle, endpoints, certificates) = match started {
            Ok(started) => started,
            Err(error) => {
                sockets.remove_files();
                return Err(error);
            }
        };
        let remains = Arc::new(Remains(Mutex::new(Some((sockets, certificates)))));
        if let Err(error) = look_after(&handle, log, Arc::clone(&remains)) {
            // Its threads run already.
            py.detach(|| handle.stop());
            remains.remove();
            return Err(error.into());
        }
        handle.open();
        Ok(EmbeddedWorker {
            process: std::process::id(),
            handle: Some(handle),
            endpoints,
            remains,
        })
    }
}

fn cannot_listen(error: ListenError) -> PyErr {
    match error.errno {
        // Python chooses the subclass by the number: PermissionError, for example.
        Some(errno) => PyOSError::new_err((errno, error.text)),
        None => PyOSError::new_err(error.text),
    }
}

type Secured = (Option<Arc<Acceptor>>, Option<StandaloneCertificates>);

/// The acceptor of TLS connections, if an endpoint speaks TLS.
fn secure(config: &Config, endpoints: &[Endpoint]) -> PyResult<Secured> {
    if endpoints.iter().all(|at| at.scheme != Scheme::Https) {
        return Ok((None, None));
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_1970.map_or(0, |time| time.as_secs().cast_signed());
    let certificates = StandaloneCertificates::load(config, now)
        .map_err(|errors| PyValueError::new_err(errors.join("\n")))?;
    let acceptor = acceptor(config, certificates.board()).map_err(PyValueError::new_err)?;
    Ok((Some(Arc::new(acceptor)), Some(certificates)))
}

/// What an ended worker leaves behind: files of unix sockets, keys in memory.
struct Remains(Mutex<Option<(StandaloneSockets, Option<StandaloneCertificates>)>>);

impl Remains {
    fn remove(&self) {
        let mut remains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sockets, certificates)) = remains.take() {
            sockets.remove_files();
            drop(certificates);
        }
    }
}

/// Starts the thread that does what a supervisor's message loop does in a worker process: once a second, and at the end.
fn look_after(handle: &Handle, log: Arc<ErrorLog>, remains: Arc<Remains>) -> std::io::Result<()> {
    let watched = handle.clone();
    handle.spawn_helper("lockgate-watch", move || {
        while !is_finished_within(&watched, INTERVAL) {
            log.report_losses();
            if deferred_drops::is_pending() && watched.is_idle() {
                let _finalizing = Python::try_attach(deferred_drops::run);
            }
        }
        remains.remove();
    })
}

fn is_finished_within(handle: &Handle, time: Duration) -> bool {
    let finished = handle.finished_fd();
    let timeout = Timespec::try_from(time).ok();
    // An error or a signal is a shorter wait.
    let _woken = poll(
        &mut [PollFd::new(&finished, PollFlags::IN)],
        timeout.as_ref(),
    );
    handle.is_finished()
}

/// An embedded worker.
#[pyclass(frozen, module = "lockgate._lockgate")]
pub(crate) struct EmbeddedWorker {
    /// The process that it serves in.
    process: u32,
    /// Taken at the end only.
    handle: Option<Handle>,
    endpoints: Vec<Endpoint>,
    remains: Arc<Remains>,
}

#[pymethods]
impl EmbeddedWorker {
    /// Each address that is listened on, as a URL where there is one.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.endpoints.iter().map(ToString::to_string).collect()
    }

    /// Scheme, host and port of the first TCP address.
    #[getter]
    fn place(&self) -> Option<(String, String, u16)> {
        self.endpoints
            .iter()
            .find_map(|endpoint| match &endpoint.address {
                BindAddress::Tcp { host, port } => {
                    Some((endpoint.scheme.to_string(), host.clone(), *port))
                }
                _ => None,
            })
    }

    /// Whether this is the process in which it serves, and not a child of it.
    #[getter]
    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    #[getter]
    fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(Handle::is_finished)
    }

    /// Whether it has ended because of its own fault.
    #[getter]
    fn has_failed(&self) -> bool {
        self.handle.as_ref().is_some_and(Handle::has_failed)
    }

    /// Accepts nothing new, finishes what is there, then ends.
    fn drain(&self) {
        if let Some(handle) = &self.handle {
            handle.drain();
        }
    }

    /// Ends at once.
    fn stop(&self, py: Python<'_>) {
        if let Some(handle) = &self.handle {
            py.detach(|| handle.stop());
        }
    }

    /// Waits until it has ended, for at most this many seconds; returns whether it has.
    #[pyo3(signature = (seconds = None))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let Some(handle) = &self.handle else {
            return Ok(true);
        };
        let left = |until: Option<Instant>| {
            until.map_or(SIGNALS_WITHIN, |until| {
                SIGNALS_WITHIN.min(until.saturating_duration_since(Instant::now()))
            })
        };
        let seconds = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)));
        let until = seconds
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?
            .and_then(|time| Instant::now().checked_add(time));
        loop {
            let is_over = until.is_some_and(|until| until <= Instant::now());
            if py.detach(|| is_finished_within(handle, left(until))) {
                py.detach(|| self.remains.remove());
                return Ok(true);
            }
            if is_over {
                return Ok(false);
            }
            py.check_signals()?;
        }
    }
}

impl Drop for EmbeddedWorker {
    fn drop(&mut self) {
        // In a forked child other threads, which do not exist there, may have held its locks.
        if !self.is_here() {
            std::mem::forget(self.handle.take());
        }
    }
}
