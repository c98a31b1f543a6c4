//! Worker startup, in two parts: applying the settings and loading the application, which a fork server does once for
//! all its workers, and starting, which each worker does.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lockgate_config::{Collection, Config, Endpoint, Gil, LogTarget, Scheme, Threads};
use lockgate_observe::{AccessFormat, Level};
use lockgate_supervisor::{BAD_FORK, LoadFailure, WorkerContext};
use lockgate_worker::{Handle, Resources, Worker, register_ahead, try_directory};
use pyo3::prelude::*;

use super::faulthandler_log::FaulthandlerLog;
use super::gunicorn::{WorkerHooks, takes_access_records};
use super::leftovers::Leftovers;
use super::loggers::Loggers;
use super::static_sources;
use super::stream_check::find_hanging_stream;
use super::thread_dump;
use super::tls::acceptor;
use super::warm_up::warm_up;
use crate::failures;
use crate::hooks::PythonHooks;
use crate::interpreter::gc::{IdleGc, freeze};
use crate::interpreter::{exceptions, threads};
use crate::loading::{self, Loaded};
use crate::process::{children, privileges, signals};
use crate::profiling::Requests;
use crate::wsgi::{RequestHooks, Settings, WsgiApp};
use crate::{interpreter, purging, push};

/// The exit code of a worker that could not start, for a reason outside the application.
pub(crate) const CANNOT_START: i32 = 1;
/// The exit code of a worker that served and then failed because of an error in the server.
pub(crate) const FAILED: i32 = 1;
/// The exit code of a worker whose application cannot answer, for example because it cannot be imported.
const WARM_UP_FAILED: i32 = 3;

pub(super) fn cannot_start(text: String) -> LoadFailure {
    LoadFailure {
        code: CANNOT_START,
        text,
    }
}

impl PythonHooks {
    /// Loads the application in a fork server.
    pub(crate) fn preload_application(
        &mut self,
        py: Python<'_>,
        config: &Arc<Config>,
        generation: u64,
        listeners: &[(Endpoint, OwnedFd)],
        identity_changed: &dyn Fn() -> bool,
    ) -> Result<(), LoadFailure> {
        self.apply_settings(py, config, generation, listeners)?;
        self.change_user(py)?;
        if !identity_changed() {
            return Err(LoadFailure {
                code: 0,
                text: "the supervisor has gone".to_owned(),
            });
        }
        let leftovers = Leftovers::before_import(py);
        let loaded = self.load(py, listeners)?;
        leftovers.settle(py, &self.log);
        if self.config.gc != Collection::Off {
            // A collection in a worker would write to every object it visits, and copy the pages it shares.
            freeze(py).map_err(|error| {
                cannot_start(format!("gc.freeze: {}", exceptions::summary(py, &error)))
            })?;
        }
        self.preloaded = Some(loaded);
        Ok(())
    }

    /// The application may have imported an extension module that needs the GIL.
    fn warn_of_gil(&self) {
        if self.config.event_loops > 1 && interpreter::gil() != Gil::Disabled {
            self.log.write(
                Level::Warning,
                &format!(
                    "an extension module has enabled the GIL: the {} event loops of this worker wait for each other \
                     (setting: event_loops)",
                    self.config.event_loops
                ),
            );
        }
    }

    /// Applies these settings to the process. The loggers exist from then on, and a configuration for gunicorn has been
    /// executed, as the user that has started the server.
    fn apply_settings(
        &mut self,
        py: Python<'_>,
        config: &Arc<Config>,
        generation: u64,
        listeners: &[(Endpoint, OwnedFd)],
    ) -> Result<(), LoadFailure> {
        if generation != self.generation {
            self.change_settings(py, config, generation)
                .map_err(cannot_start)?;
        }
        self.loggers = Loggers::install(py, &self.config, &self.log).map_err(cannot_start)?;
        let endpoints = listeners.iter().map(|(endpoint, _)| endpoint);
        self.gunicorn = WorkerHooks::start(py, &self.config, endpoints)?;
        Ok(())
    }

    fn change_user(&self, py: Python<'_>) -> Result<(), LoadFailure> {
        privileges::change_user(py, &self.config).map_err(|error| {
            cannot_start(format!(
                "cannot change user: {}",
                exceptions::summary(py, &error)
            ))
        })?;
        privileges::check_interpreter(py, &self.config).map_err(cannot_start)
    }

    /// Loads the applications, in a process to which the settings are applied.
    fn load(
        &mut self,
        py: Python<'_>,
        listeners: &[(Endpoint, OwnedFd)],
    ) -> Result<Loaded, LoadFailure> {
        listeners
            .iter()
            .for_each(|(_, socket)| register_ahead(socket));
        if let Err(error) = children::prepare_forked_children(py) {
            self.log.write(
                Level::Warning,
                &format!(
                    "processes that the application forks will keep the server's sockets and pipes open: {}",
                    exceptions::summary(py, &error)
                ),
            );
        }
        signals::install(py).map_err(|error| {
            cannot_start(format!(
                "cannot install signal handlers: {}",
                exceptions::summary(py, &error)
            ))
        })?;
        self.enable_faulthandler(py);
        // While the file can be read: at exit the directory may have been replaced or removed.
        py.import("lockgate.shutdown")
            .map_err(|error| cannot_start(exceptions::summary(py, &error)))?;
        interpreter::set_switch_interval(py, self.config.switch_interval, &self.log);
        threads::enlarge_stacks(py, &self.log);
        (self.uwsgi)
            .install(py, &self.config, self.generation, &self.log)
            .map_err(cannot_start)?;
        push::install(py, self.logs.broadcast, &self.config.push).map_err(|error| {
            cannot_start(format!(
                "cannot prepare lockgate.publish: {}",
                exceptions::summary(py, &error)
            ))
        })?;
        purging::install(py, self.purger()).map_err(|error| {
            cannot_start(format!(
                "cannot prepare lockgate.cache: {}",
                exceptions::summary(py, &error)
            ))
        })?;
        let loaded = loading::load(
            py,
            &self.config,
            self.provide.as_ref(),
            self.file_reports.as_ref(),
        )?;
        // `loading` refuses this unless the operator has allowed it.
        if let Ok(Some(package)) = threads::patched_by(py) {
            let message = format!(
                "{package} has replaced Python's threads and locks, and allow_patched_threads = true: requests still run \
                 on real threads, and two that need the same lock of {package} can deadlock"
            );
            self.log.write(Level::Warning, &message);
        }
        Ok(loaded)
    }

    /// Prepares a worker up to the point where it could serve.
    pub(crate) fn start_worker(
        &mut self,
        py: Python<'_>,
        context: &mut WorkerContext,
    ) -> Result<Handle, i32> {
        match self.prepare_worker(py, context) {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Err(0),
            Err(failure) => {
                context.boot_failed(failure.code, &failure.text);
                if failure.code == BAD_FORK {
                    // Exit functions might block on the same stream.
                    signal_hook::low_level::exit(BAD_FORK);
                }
                Err(failure.code)
            }
        }
    }

    /// Returns `None` if the supervisor has exited.
    fn prepare_worker(
        &mut self,
        py: Python<'_>,
        context: &mut WorkerContext,
    ) -> Result<Option<Handle>, LoadFailure> {
        let loaded = match self.preloaded.take() {
            Some(loaded) => {
                // The fork server gets no notice when log files are rotated.
                let stack_log = self.stack_log.as_ref();
                let reopened = (self.log.reopen())
                    .and_then(|()| stack_log.map_or(Ok(()), |stacks| stacks.reopen()))
                    .and_then(|()| self.loggers.reopen());
                if let Err(error) = reopened {
                    let message = format!("cannot reopen the logs: {error}");
                    self.log.write(Level::Error, &message);
                }
                check_streams(py)?;
                self.after_fork(py, context)?;
                loaded
            }
            None => {
                let config = Arc::clone(&context.config);
                self.apply_settings(py, &config, context.generation, &context.listeners)?;
                self.after_fork(py, context)?;
                self.change_user(py)?;
                if !context.identity_changed() {
                    return Ok(None);
                }
                if context.is_first {
                    self.warn_of_unusable_paths();
                }
                self.load(py, &context.listeners)?
            }
        };
        if let Some(hooks) = &self.gunicorn {
            hooks.post_worker_init(py, &loaded.server)?;
        }
        let mut config = Config::clone(&self.config);
        let log = context.is_first.then_some(&*self.log);
        static_sources::resolve(py, &mut config, &loaded, log);
        (self.uwsgi)
            .become_worker(py, context, &self.log)
            .map_err(cannot_start)?;
        let collector = IdleGc::set_up(py, self.config.gc, &self.log).unwrap_or_else(|error| {
            self.log.write(
                Level::Warning,
                &format!(
                    "gc = \"{}\" failed: {}",
                    self.config.gc.name(),
                    exceptions::summary(py, &error)
                ),
            );
            None
        });
        self.warn_of_gil();
        let mut app = WsgiApp::new(
            self.wrapped(py, loaded)?,
            collector,
            settings(&self.config),
            Arc::clone(&self.log),
        );
        let endpoint = context.listeners.first().map(|(endpoint, _)| endpoint);
        warm_up(py, &app, &self.config, endpoint, &self.log).map_err(|text| LoadFailure {
            code: WARM_UP_FAILED,
            text,
        })?;
        app.set_hooks(self.request_hooks(py, context)?);
        app.set_current(self.uwsgi.current_request(py));
        if AccessFormat::parse(&config.access_log_format).is_err() {
            // Its atoms are those of `logger_class`; here only requests that the application does not get are logged.
            config.access_log_format = "combined".to_owned();
        }
        // The import may have changed the switch interval; the thread pool judges waiting times by the actual one.
        if let Ok(interval) = interpreter::switch_interval(py) {
            config.switch_interval = interval;
        }
        let listeners = std::mem::take(&mut context.listeners);
        let ports = listeners
            .iter()
            .filter_map(|(at, _)| at.address.port())
            .collect();
        let is_secure = |(at, _): &(Endpoint, OwnedFd)| at.scheme == Scheme::Https;
        let acceptor = match context.certificates {
            Some(board) if listeners.iter().any(is_secure) => {
                Some(Arc::new(acceptor(&config, board).map_err(cannot_start)?))
            }
            _ => None,
        };
        let handle = Worker::prepare(Resources {
            config: Arc::new(config),
            listeners,
            app: Arc::new(app),
            error_log: Arc::clone(&self.log),
            worker_slot: context.worker_slot.take(),
            acceptor,
            broadcast: self.logs.broadcast,
            responses: self.responses,
            rates: self.rates,
            spans: self.logs.spans,
            owns_process: true,
        })
        .map_err(|error| cannot_start(format!("cannot start the worker: {error}")))?;
        self.start_thread_dumps(py, context, ports, &handle);
        self.record_failures(py, context.slot, &handle);
        Ok(Some(handle))
    }

    fn after_fork(&self, py: Python<'_>, context: &WorkerContext) -> Result<(), LoadFailure> {
        match &self.gunicorn {
            Some(hooks) => hooks.post_fork(py, context),
            None => Ok(()),
        }
    }

    /// The hooks around requests, if the configuration has any, or Python logs the access.
    fn request_hooks(
        &mut self,
        py: Python<'_>,
        context: &WorkerContext,
    ) -> Result<Option<RequestHooks>, LoadFailure> {
        let broken = |error: PyErr| {
            cannot_start(format!(
                "the loggers cannot be examined: {}",
                exceptions::summary(py, &error)
            ))
        };
        let has_access_log = self.config.access_log.is_some();
        if self.gunicorn.is_none() && has_access_log && takes_access_records(py).map_err(broken)? {
            let endpoints = context.listeners.iter().map(|(endpoint, _)| endpoint);
            let hooks = WorkerHooks::for_loggers(py, &self.config, endpoints)?;
            hooks.post_fork(py, context)?;
            self.gunicorn = Some(hooks);
        }
        match &self.gunicorn {
            Some(hooks) => hooks.request_hooks(py, self.config.threads).map_err(broken),
            None => Ok(None),
        }
    }

    /// Sets up the file to which a crash writes the stacks of this worker's threads.
    fn enable_faulthandler(&mut self, py: Python<'_>) {
        let problem = match FaulthandlerLog::open(&self.config.error_log) {
            Ok(stacks) => {
                let shown = stacks.enable(py);
                self.stack_log = Some(Arc::new(stacks));
                shown.err().map(|error| exceptions::summary(py, &error))
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            let message = format!(
                "faulthandler: {problem}; a worker that crashes or is aborted will not log the stacks of its threads"
            );
            self.log.write(Level::Warning, &message);
        }
    }

    /// Starts to answer requests for thread dumps. After the import: the application may claim the signal first.
    fn start_thread_dumps(
        &self,
        py: Python<'_>,
        context: &mut WorkerContext,
        ports: Vec<u16>,
        handle: &Handle,
    ) {
        let Some(board) = context.stacks.take() else {
            return;
        };
        let requests = Requests {
            scoreboard: self.scoreboard,
            slot: context.slot,
            ports,
            slow: self.config.slow_request,
        };
        let places = board.places(context.slot).map_err(PyErr::from);
        let started = places.and_then(|places| {
            thread_dump::answer_requests(py, places, &requests, &self.log, handle)
        });
        if let Err(error) = started {
            let message = format!(
                "thread dumps of this worker are unavailable: {}",
                exceptions::summary(py, &error)
            );
            self.log.write(Level::Warning, &message);
        }
    }

    /// Records failed requests, where there is an admin listener that shows them.
    fn record_failures(&self, py: Python<'_>, slot: usize, handle: &Handle) {
        let Some((log, scoreboard)) = self.logs.history.failures.zip(self.scoreboard) else {
            return;
        };
        if let Err(error) = failures::record(py, log, scoreboard, slot, handle) {
            let message = format!(
                "failed requests of this worker are not shown: {}",
                exceptions::summary(py, &error)
            );
            self.log.write(Level::Warning, &message);
        }
    }

    /// Logs what this worker's user will not be able to open later: such an error would be hard to trace to the user.
    fn warn_of_unusable_paths(&self) {
        if let Some(directory) = &self.config.spool_dir
            && let Err(error) = try_directory(directory)
        {
            let message = format!(
                "spool_dir = {}: {error}; bodies over body_memory will be refused",
                directory.display()
            );
            self.log.write(Level::Warning, &message);
        }
        static_sources::check_directories(&self.config, &self.log);
        if let LogTarget::File(path) = &self.config.error_log
            && let Err(error) = OpenOptions::new().append(true).open(path)
        {
            let message = format!(
                "error_logfile = {}: {error}; the user of the workers cannot reopen it at USR1",
                path.display()
            );
            self.log.write(Level::Warning, &message);
        }
    }
}

/// Fails when a standard stream hangs: a worker that blocks at its first `print` serves nothing.
fn check_streams(py: Python<'_>) -> Result<(), LoadFailure> {
    match find_hanging_stream(py) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => Err(LoadFailure {
            code: BAD_FORK,
            text: format!(
                "preload: a write to sys.{name} hangs in the worker: when it was forked, a thread that the import has \
                 started held the lock of the stream; start such threads at their first use"
            ),
        }),
        Err(error) => Err(cannot_start(format!(
            "cannot check the standard streams: {}",
            exceptions::summary(py, &error)
        ))),
    }
}

/// The bridge's settings: `wsgi.multithread` and the like.
pub(crate) fn settings(config: &Config) -> Settings {
    let environ_names = match &config.access_log {
        Some(_) => AccessFormat::parse(&config.access_log_format)
            .map(|format| format.environ_names().to_vec())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let has_single_threads = matches!(config.threads, Threads::Count(count) if count.get() == 1);
    Settings {
        is_multithread: config.event_loops > 1 || !has_single_threads,
        has_single_threads,
        is_multiprocess: config.workers > 1,
        is_sendfile_on: config.sendfile,
        root_path: config.root_path.clone(),
        environ_names,
        shows_queries: config.log_style.shows_queries,
        has_ssl_variables: config.tls.has_ssl_variables(),
        certificate_user: config.tls.client_certificate_user,
    }
}
