//! Implements the supervisor's host in Python: forking, running a worker, exec at an upgrade, exit.

mod side_process;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use lockgate_config::{ConfSource, Config, Endpoint};
use lockgate_history::EventSubject;
use lockgate_observe::{GunicornEvent, Level, LogCounts, Scoreboard};
use lockgate_shm::Rates;
use lockgate_shm::responses::ResponseStore;
use lockgate_supervisor::{
    Evaluation, EvaluationFailure, ExitWatch, Fork, Hooks, LoadFailure, OperatorRequests,
    ServiceManager, SettingsFailure, SharedContents, Successor, WorkerContext, WorkerControl,
};
use lockgate_worker::log::{ErrorLog, create_missing};
use pyo3::prelude::*;

use crate::interpreter::exceptions;
use crate::loading::Loaded;
use crate::process::title::{self, Role};
use crate::process::{children, signals};
use crate::purging::CachePurger;
use crate::reloading::FileReports;
use crate::settings_source::{FoundFile, Sources};
use crate::shared_logs::SharedLogs;
use crate::uwsgi::UwsgiModule;
use crate::worker::control::{RunningWorker, runs_remote_scripts};
use crate::worker::faulthandler_log::FaulthandlerLog;
use crate::worker::gunicorn::WorkerHooks;
use crate::worker::loggers::Loggers;
use crate::worker::shutdown;
use crate::worker::startup::{CANNOT_START, FAILED};
use crate::{acme, admin, failures, hook_process, interpreter, relay, successor, watching};

/// The supervisor's host.
pub(crate) struct PythonHooks {
    /// The settings applied to this process.
    pub(crate) config: Arc<Config>,
    pub(crate) generation: u64,
    sources: Sources,
    /// The configuration in Python that is evaluated for a reload.
    evaluated_file: Option<ConfSource>,
    pub(crate) log: Arc<ErrorLog>,
    /// In a worker: where a crash writes the stacks.
    pub(crate) stack_log: Option<Arc<FaulthandlerLog>>,
    pub(crate) loggers: Loggers,
    /// In a worker or a fork server: the hooks of gunicorn's configuration.
    pub(crate) gunicorn: Option<Arc<WorkerHooks>>,
    /// User and group of the workers, if configured.
    identity: Option<(u32, u32)>,
    /// In a worker that has served.
    worker: Option<Arc<RunningWorker>>,
    /// In place of the name of the application: called in each worker, it returns the application.
    pub(crate) provide: Option<Py<PyAny>>,
    /// The applications that this process loaded as a fork server.
    pub(crate) preloaded: Option<Loaded>,
    pub(crate) uwsgi: UwsgiModule,
    pub(crate) logs: SharedLogs,
    /// The response cache, if `cache` is set.
    pub(crate) responses: Option<ResponseStore>,
    /// What the rate limits count, if the system provides its memory.
    pub(crate) rates: Option<Rates>,
    pub(crate) scoreboard: Option<Scoreboard>,
    /// In a worker or a fork server: reports of the files of the application, if `reload` is set.
    pub(crate) file_reports: Option<FileReports>,
}

impl PythonHooks {
    pub(crate) fn new(
        config: &Config,
        log: Arc<ErrorLog>,
        identity: Option<(u32, u32)>,
        sources: Sources,
    ) -> Self {
        Self {
            config: Arc::new(config.clone()),
            generation: 0,
            sources,
            evaluated_file: None,
            log,
            stack_log: None,
            loggers: Loggers::default(),
            gunicorn: None,
            identity,
            worker: None,
            provide: None,
            preloaded: None,
            uwsgi: UwsgiModule::default(),
            logs: SharedLogs::default(),
            responses: None,
            rates: None,
            scoreboard: None,
            file_reports: None,
        }
    }

    /// Applies the settings of another generation to this process, the supervisor or a child.
    pub(crate) fn change_settings(
        &mut self,
        py: Python<'_>,
        config: &Arc<Config>,
        generation: u64,
    ) -> Result<(), String> {
        self.sources.move_to(py, &self.config, config)?;
        let log = |config: &Config| (config.error_log.clone(), config.log_level, config.log_style);
        if log(config) != log(&self.config) {
            let log = ErrorLog::of(config, self.identity).map_err(|error| error.to_string())?;
            self.log = Arc::new(log);
            self.log.report_panics();
            self.share_log();
        }
        if let Some(target) = &config.access_log {
            create_missing(target, self.identity)
                .map_err(|error| format!("access_logfile: {error}"))?;
        }
        self.config = Arc::clone(config);
        self.generation = generation;
        Ok(())
    }

    /// What purges the cache, if there is one.
    pub(crate) fn purger(&self) -> Option<CachePurger> {
        CachePurger::new(self.responses, self.logs.purges, &self.config.cache)
    }

    fn serve_as_worker(&mut self, context: &mut WorkerContext) -> i32 {
        let relay = context.signal_relay();
        signals::set_relay(relay.clone());
        if !context.wait_for_pre_fork() {
            let message =
                "the hook pre_fork has not returned in time: the worker goes on without it";
            self.log.write(Level::Warning, message);
        }
        Python::attach(|py| {
            title::set(py, &context.config, Role::Worker(context.slot));
            let handle = match self.start_worker(py, context) {
                Ok(handle) => handle,
                Err(code) => return code,
            };
            let ask = context.replacement_request();
            handle.set_replacement(Box::new(move |_stuck_call| ask()));
            signals::wake_worker(py, &relay, &self.log);
            if !py.detach(|| context.ready()) {
                return 0;
            }
            handle.open();
            let worker_control = Arc::new(RunningWorker {
                handle,
                log: Arc::clone(&self.log),
                stack_log: self.stack_log.clone(),
                loggers: self.loggers.clone(),
                hooks: self.gunicorn.clone(),
                runs_remote_scripts: runs_remote_scripts(py),
            });
            let worker: Arc<dyn WorkerControl> = worker_control.clone();
            let code = py.detach(|| context.run(&worker));
            failures::append_rest();
            let has_failed = worker_control.handle.has_failed();
            self.worker = Some(worker_control);
            if has_failed { FAILED } else { code }
        })
    }
}

impl Hooks for PythonHooks {
    fn share_memory(&mut self, memory: SharedContents) {
        self.logs = SharedLogs::new(&memory);
        self.uwsgi.share(memory.store, memory.scoreboard);
        self.responses = memory.responses;
        self.rates = memory.rates;
        self.scoreboard = memory.scoreboard;
        self.share_log();
    }

    fn fork(&mut self) -> io::Result<Fork> {
        // Through Python's fork, which resets its locks and import machinery and runs every at-fork hook.
        match Python::attach(children::fork) {
            Ok(0) => Ok(Fork::Child),
            Ok(pid) => Ok(Fork::Parent(pid)),
            Err(error) => Err(error.into()),
        }
    }

    fn fork_twice(&mut self, report: &mut dyn FnMut(io::Result<u32>)) -> io::Result<Fork> {
        match Python::attach(|py| children::fork_twice(py, report)) {
            Ok(0) => Ok(Fork::Child),
            Ok(pid) => Ok(Fork::Parent(pid)),
            Err(error) => Err(error.into()),
        }
    }

    fn preload(
        &mut self,
        config: &Arc<Config>,
        generation: u64,
        listeners: &[(Endpoint, OwnedFd)],
        identity_changed: &dyn Fn() -> bool,
    ) -> Result<(), LoadFailure> {
        Python::attach(|py| title::set(py, config, Role::ForkServer));
        Python::attach(|py| {
            self.preload_application(py, config, generation, listeners, identity_changed)
        })
    }

    fn set_private_descriptors(&mut self, numbers: Vec<RawFd>) {
        children::note_descriptors(numbers);
    }

    fn report_files_to(&mut self, pipe: BorrowedFd<'_>) {
        match Python::attach(|py| FileReports::start(py, pipe, &self.log)) {
            Ok(reports) => self.file_reports = Some(reports),
            Err(error) => {
                let problem = Python::attach(|py| exceptions::summary(py, &error));
                let message = format!("reload: no file of this worker is watched: {problem}");
                self.log.write(Level::Error, &message);
            }
        }
    }

    fn run_worker(&mut self, context: &mut WorkerContext) -> i32 {
        // The supervisor reports what it has logged before the fork.
        self.log.take_counts();
        self.log.set_worker(context.slot);
        let pid = std::process::id();
        self.log.write_for_gunicorn(&GunicornEvent::Booting { pid });
        let code = self.serve_as_worker(context);
        self.log.write_for_gunicorn(&GunicornEvent::Exiting { pid });
        code
    }

    fn finish(&mut self, watch: ExitWatch) {
        let process = shutdown::ExitingProcess {
            log: Arc::clone(&self.log),
            worker: self.worker.take(),
            hooks: self.gunicorn.take(),
        };
        shutdown::finish(watch, process);
    }

    fn run_admin(
        &mut self,
        context: WorkerContext,
        scoreboard: Scoreboard,
        requests: OperatorRequests,
    ) -> i32 {
        if let Err(code) = self.become_side_process(Role::Admin, "admin process", &context) {
            return code;
        }
        let shared = admin::Shared {
            scoreboard,
            store: self.uwsgi.store(),
            broadcast_log: self.logs.broadcast,
            responses: self.responses,
            rates: self.rates,
            purger: self.purger(),
            history: self.logs.history,
            worker_user: self.identity.map(|(user, _)| user),
        };
        admin::run(&self.config, &self.log, context, shared, requests).unwrap_or_else(|error| {
            let message = format!("the admin listener is not served: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn run_acme(&mut self, context: WorkerContext) -> i32 {
        Python::attach(|py| title::set(py, &self.config, Role::Acme));
        acme::run(&self.config, &self.log, context).unwrap_or_else(|error| {
            let message = format!("the ACME process cannot start: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn run_relay(&mut self, context: WorkerContext) -> i32 {
        if let Err(code) = self.become_side_process(Role::Relay, "Redis relay", &context) {
            return code;
        }
        let relayed = relay::Relayed {
            broadcast_log: self.logs.broadcast,
            purges: self.logs.purges.zip(self.purger()),
            rates: self.rates,
        };
        relay::run(&self.config, &self.log, context, relayed).unwrap_or_else(|error| {
            let message = format!("the Redis relay cannot start: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn run_exporter(&mut self, context: WorkerContext) -> i32 {
        if let Err(code) = self.become_side_process(Role::Exporter, "OTLP exporter", &context) {
            return code;
        }
        self.export(context).unwrap_or_else(|error| {
            let message = format!("the OTLP exporter cannot start: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn run_watcher(
        &mut self,
        context: WorkerContext,
        reports: OwnedFd,
        requests: OperatorRequests,
    ) -> i32 {
        if let Err(code) = self.become_side_process(Role::Watcher, "watcher", &context) {
            return code;
        }
        let read: Vec<PathBuf> = self.sources.file_path().into_iter().collect();
        watching::run(&self.log, context, reports, requests, &read).unwrap_or_else(|error| {
            let message = format!("the watcher cannot start: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn run_hook_process(&mut self, context: WorkerContext, events: OwnedFd) -> i32 {
        Python::attach(|py| {
            title::set(py, &self.config, Role::Hooks);
            let directory = self.sources.directory();
            hook_process::run(py, &self.config, &self.log, context, events, directory)
        })
        .unwrap_or_else(|problem| {
            let message = format!("the hook process has failed: {problem}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn exit_process(&mut self, code: i32) -> ! {
        Python::attach(|py| interpreter::leave(py, code))
    }

    fn log(&self, level: Level, message: &str) {
        self.log.write(level, message);
        self.logs
            .history
            .record(None, level, message, self.generation);
    }

    fn log_as(&self, event: &GunicornEvent, level: Level, message: &str) {
        self.log.write_as(event, level, message);
        self.logs
            .history
            .record(None, level, message, self.generation);
    }

    fn log_event(
        &self,
        subject: EventSubject,
        level: Level,
        message: &str,
        gunicorn: Option<&GunicornEvent>,
    ) {
        match gunicorn {
            Some(event) => self.log.write_as(event, level, message),
            None => self.log.write(level, message),
        }
        (self.logs.history).record(Some(subject), level, message, self.generation);
    }

    fn log_for_gunicorn(&self, event: &GunicornEvent) {
        self.log.write_for_gunicorn(event);
    }

    fn take_log_counts(&self) -> LogCounts {
        self.log.take_counts()
    }

    fn worker_identity(&self) -> Option<(u32, u32)> {
        self.identity
    }

    fn service_manager(&self) -> ServiceManager {
        self.sources.service_manager().clone()
    }

    fn evaluate_settings(&mut self) -> Option<Result<Evaluation, EvaluationFailure>> {
        match self.sources.find_file() {
            Ok(FoundFile::Python(source)) => {
                let evaluation = self.sources.evaluate(&source);
                self.evaluated_file = Some(source);
                Some(evaluation)
            }
            _ => None,
        }
    }

    fn read_settings(
        &mut self,
        evaluated: Option<Result<String, EvaluationFailure>>,
    ) -> Result<Config, SettingsFailure> {
        // Not looked for again: it may have been replaced since it was executed.
        let found = match self.evaluated_file.take() {
            Some(source) if evaluated.is_some() => Ok(FoundFile::Python(source)),
            _ => self.sources.find_file(),
        };
        let mut resolved = self.sources.resolve(found, evaluated)?;
        self.sources
            .service_manager()
            .find_sockets(&mut resolved.config)?;
        for note in &resolved.notes {
            self.log.write(Level::Warning, note);
        }
        if successor::is_replaced() {
            self.log.write(
                Level::Warning,
                "the installed package was replaced since the server started: new workers load parts of both versions; \
                 upgrade the server in place (USR2, lockgate ctl upgrade)",
            );
        }
        if self
            .sources
            .program()
            .is_some_and(|one| one.has_application && !one.is_development)
        {
            self.log.write(
                Level::Info,
                "the new workers inherit the application of the program: a reload applies settings and loads no changed \
                 code; restart the program for that",
            );
        }
        Ok(resolved.config)
    }

    fn adopt(&mut self, config: &Arc<Config>, generation: u64) {
        // The workers applied the same settings a moment ago.
        if let Err(problem) = Python::attach(|py| self.change_settings(py, config, generation)) {
            self.log.write(
                Level::Error,
                &format!("the supervisor keeps its old settings: {problem}"),
            );
        }
    }

    fn successor(&self) -> io::Result<Successor> {
        successor::find(&self.sources)
    }

    fn exec(&mut self, successor: &Successor, variable: (&str, &str)) -> io::Error {
        successor::exec(successor, variable)
    }

    fn block_signals(&mut self) -> io::Result<()> {
        Ok(Python::attach(signals::block)?)
    }

    fn unblock_signals(&mut self) {
        let unblocked = Python::attach(|py| {
            signals::unblock(py).map_err(|error| exceptions::summary(py, &error))
        });
        if let Err(problem) = unblocked {
            let message = format!("cannot unblock signals; the server will ignore them: {problem}");
            self.log.write(Level::Critical, &message);
        }
    }

    fn reopen_logs(&mut self) {
        // Before the workers open them: as another user they may be unable to create the files, or would own them.
        let targets = [
            Some(&self.config.error_log),
            self.config.access_log.as_ref(),
        ];
        for target in targets.into_iter().flatten() {
            // The process that fails to open the file reports it.
            let _reported_later = create_missing(target, self.identity);
        }
        if let Err(error) = self.log.reopen() {
            self.log.write(
                Level::Error,
                &format!("cannot reopen the error log: {error}"),
            );
        }
    }
}
