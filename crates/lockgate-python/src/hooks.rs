//! What the supervisor asks of Python: forking, running a worker, leaving. Decides nothing about workers.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{Config, LogTarget, Threads};
use lockgate_observe::{AccessFormat, Level, Page};
use lockgate_supervisor::{Attended, Fork, Hooks, WorkerPost};
use lockgate_worker::log::{ErrorLog, create_missing};
use lockgate_worker::{Handle, Worker, try_directory};
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;

use crate::collector::Collector;
use crate::reading::Sources;
use crate::stack_log::StackLog;
use crate::warming::warm_up;
use crate::wsgi::{Settings, WsgiApp};
use crate::{admin, children, exceptions, interpreter, loading, privileges};

/// The exit code of a worker that could not begin, for a reason that is not the application's.
const CANNOT_START: i32 = 1;
/// The exit code of a worker whose application cannot answer: as when it cannot be imported.
const WARM_UP_FAILED: i32 = 3;

/// The supervisor's host.
pub(crate) struct PythonHooks {
    /// What this process is set up for.
    config: Arc<Config>,
    generation: u64,
    sources: Sources,
    log: Arc<ErrorLog>,
    /// In a worker: where its stacks go when it crashes.
    stacks: Option<Arc<StackLog>>,
    /// User and group of the workers, if they have their own.
    identity: Option<(u32, u32)>,
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
            log,
            stacks: None,
            identity,
        }
    }

    /// Makes this process, the supervisor or a worker, one for the settings of another generation.
    fn change_settings(
        &mut self,
        py: Python<'_>,
        config: &Arc<Config>,
        generation: u64,
    ) -> Result<(), String> {
        self.sources.move_to(py, &self.config, config)?;
        if config.error_log != self.config.error_log || config.log_level != self.config.log_level {
            // Not there yet, it is made the workers' before they become another user.
            let opened = create_missing(&config.error_log, self.identity)
                .and_then(|()| ErrorLog::open(&config.error_log, config.log_level));
            self.log = opened
                .map(Arc::new)
                .map_err(|error| format!("error_logfile: {error}"))?;
        }
        if let Some(target) = &config.access_log {
            create_missing(target, self.identity)
                .map_err(|error| format!("access_logfile: {error}"))?;
        }
        self.config = Arc::clone(config);
        self.generation = generation;
        Ok(())
    }

    /// Says what this worker's user will be refused later: nobody would connect that with the user.
    fn try_places(&self) {
        if let Some(directory) = &self.config.spool_dir
            && let Err(error) = try_directory(directory)
        {
            let message = format!(
                "spool_dir = {}: {error}; bodies over body_memory will be refused",
                directory.display()
            );
            self.log.write(Level::Warning, &message);
        }
        if let LogTarget::File(path) = &self.config.error_log
            && let Err(error) = OpenOptions::new().append(true).open(path)
        {
            let message = format!(
                "error_logfile = {}: {error}; the user of the workers cannot open it anew at USR1",
                path.display()
            );
            self.log.write(Level::Warning, &message);
        }
    }

    /// Where this worker's threads are told when it crashes.
    fn show_stacks_at_death(&mut self, py: Python<'_>) {
        let problem = match StackLog::open(&self.config.error_log) {
            Ok(stacks) => {
                let shown = stacks.show_stacks_at_death(py);
                self.stacks = Some(Arc::new(stacks));
                shown.err().map(|error| exceptions::summary(py, &error))
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            let message = format!(
                "a worker that is ended or crashes will not tell where its threads were: {problem}"
            );
            self.log.write(Level::Warning, &message);
        }
    }

    /// A worker's life up to the point where it serves.
    fn start_worker(&mut self, py: Python<'_>, post: &mut WorkerPost) -> Result<Handle, i32> {
        if post.generation != self.generation
            && let Err(text) = self.change_settings(py, &Arc::clone(&post.config), post.generation)
        {
            post.boot_failed(CANNOT_START, &text);
            return Err(CANNOT_START);
        }
        if let Err(error) = privileges::become_configured(py, &self.config) {
            let text = format!("cannot change user: {}", exceptions::summary(py, &error));
            post.boot_failed(CANNOT_START, &text);
            return Err(CANNOT_START);
        }
        if !post.note_new_identity() {
            return Err(0);
        }
        self.try_places();
        if let Err(error) = children::settle_when_forked(py) {
            self.log.write(
                Level::Warning,
                &format!(
                    "processes that the application forks will keep the server's sockets open: {}",
                    exceptions::summary(py, &error)
                ),
            );
        }
        if let Err(error) = interpreter::remember_threads(py) {
            let text = format!("cannot start threads: {}", exceptions::summary(py, &error));
            post.boot_failed(CANNOT_START, &text);
            return Err(CANNOT_START);
        }
        self.show_stacks_at_death(py);
        if let Err(error) = interpreter::set_switch_interval(py, self.config.switch_interval) {
            self.log.write(
                Level::Warning,
                &format!(
                    "switch_interval: {}; Python keeps its own",
                    exceptions::summary(py, &error)
                ),
            );
        }
        let application = loading::load(py, &self.config).map_err(|failure| {
            post.boot_failed(failure.code, &failure.text);
            failure.code
        })?;
        if interpreter::are_threads_patched(py) {
            self.log.write(
                Level::Warning,
                "the application has replaced Python's threads (gevent, eventlet): requests run on real \
                 threads all the same, and its own scheduler runs only while one of them lets it",
            );
        }
        let collector = Collector::set_up(py, self.config.gc, &self.log).unwrap_or_else(|error| {
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
        let app = WsgiApp::new(
            application,
            collector,
            settings(&self.config),
            Arc::clone(&self.log),
        );
        let address = post.listeners.first().map(|(address, _)| address);
        if let Err(text) = warm_up(py, &app, &self.config, address, &self.log) {
            post.boot_failed(WARM_UP_FAILED, &text);
            return Err(WARM_UP_FAILED);
        }
        let mut config = Config::clone(&self.config);
        // The application may have set another when it was imported; the crew judges waiting by the one that counts.
        if let Ok(interval) = interpreter::switch_interval(py) {
            config.switch_interval = interval;
        }
        let listeners = std::mem::take(&mut post.listeners);
        Worker::prepare(
            Arc::new(config),
            listeners,
            Arc::new(app),
            Arc::clone(&self.log),
            post.seat.take(),
        )
        .map_err(|error| {
            post.boot_failed(CANNOT_START, &format!("cannot start the worker: {error}"));
            CANNOT_START
        })
    }
}

impl Hooks for PythonHooks {
    fn fork(&mut self) -> io::Result<Fork> {
        // Python's own, so that its locks, its import machinery and every at-fork hook follow.
        let pid = Python::attach(|py| py.import("os")?.call_method0("fork")?.extract::<u32>());
        match pid {
            Ok(0) => Ok(Fork::Child),
            Ok(pid) => Ok(Fork::Parent(pid)),
            Err(error) => Err(error.into()),
        }
    }

    fn run_worker(&mut self, mut post: WorkerPost) -> i32 {
        Python::attach(|py| {
            let handle = match self.start_worker(py, &mut post) {
                Ok(handle) => handle,
                Err(code) => return code,
            };
            let ask = post.replacement_request();
            handle.set_replacement(Box::new(move |_stuck_call| ask()));
            if !py.detach(|| post.ready()) {
                return 0;
            }
            handle.open();
            let attended = AttendedWorker {
                handle,
                log: Arc::clone(&self.log),
                stacks: self.stacks.clone(),
            };
            py.detach(|| post.attend(&attended))
        })
    }

    fn run_admin(&mut self, post: WorkerPost, page: Page) -> i32 {
        if let Err(error) = Python::attach(|py| privileges::become_configured(py, &self.config)) {
            let problem = Python::attach(|py| exceptions::summary(py, &error));
            let message = format!("operators are not answered: cannot change user: {problem}");
            self.log.write(Level::Error, &message);
            return CANNOT_START;
        }
        if !post.note_new_identity() {
            return 0;
        }
        admin::run(&self.config, &self.log, post, page).unwrap_or_else(|error| {
            let message = format!("operators are not answered: {error}");
            self.log.write(Level::Error, &message);
            CANNOT_START
        })
    }

    fn exit_process(&mut self, code: i32) -> ! {
        Python::attach(|py| {
            // What the interpreter does at its end, without waiting for threads: the crew's are daemons.
            if let Err(error) = py
                .import("atexit")
                .and_then(|atexit| atexit.call_method0("_run_exitfuncs"))
            {
                self.log.write(
                    Level::Warning,
                    &format!("at exit: {}", exceptions::summary(py, &error)),
                );
            }
            interpreter::leave(py, code)
        })
    }

    fn log(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn worker_identity(&self) -> Option<(u32, u32)> {
        self.identity
    }

    fn read_settings(&mut self) -> Result<Config, String> {
        let resolved = self.sources.read()?;
        for note in &resolved.notes {
            self.log.write(Level::Warning, note);
        }
        Ok(resolved.config)
    }

    fn adopt(&mut self, config: &Arc<Config>, generation: u64) {
        // The workers could do the same a moment ago.
        if let Err(problem) = Python::attach(|py| self.change_settings(py, config, generation)) {
            self.log.write(
                Level::Error,
                &format!("the supervisor stays with the settings of before: {problem}"),
            );
        }
    }

    fn reopen_logs(&mut self) {
        // Before the workers open them: as another user they could not create them, or not own what they create.
        let targets = [
            Some(&self.config.error_log),
            self.config.access_log.as_ref(),
        ];
        for target in targets.into_iter().flatten() {
            // What cannot be created here is reported by whoever cannot open it.
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

/// The running worker, as the supervisor's part of it sees it. Every method is called detached.
struct AttendedWorker {
    handle: Handle,
    log: Arc<ErrorLog>,
    stacks: Option<Arc<StackLog>>,
}

impl Attended for AttendedWorker {
    fn retire(&self) {
        self.handle.retire();
    }

    fn drain(&self) {
        self.handle.drain();
    }

    fn stop(&self) {
        self.handle.stop();
    }

    fn reopen_logs(&self) {
        self.handle.reopen_logs();
        if let Some(Err(error)) = self.stacks.as_ref().map(|stacks| stacks.reopen()) {
            let message = format!("stacks at death go on into the old error log: {error}");
            self.log.write(Level::Error, &message);
        }
    }

    /// Asked about once a second, which is when what the last response left behind is dropped: an idle worker
    /// would hold a large body until its next request.
    fn is_finished(&self) -> bool {
        let is_finished = self.handle.is_finished();
        self.log.mention_losses();
        // Not with calls under way: one of them may hold the interpreter for long, and orders must not wait for that.
        if !is_finished && interpreter::has_graves() && self.handle.is_idle() {
            Python::attach(interpreter::empty_graveyard);
        }
        is_finished
    }

    fn is_stuck(&self, longer_than: Duration) -> bool {
        self.handle.is_stuck(longer_than)
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.handle.finished_fd())
    }

    /// Python runs signal handlers of the application in the main thread, and only when it is asked to.
    fn interrupted(&self) {
        Python::attach(|py| {
            let Err(error) = py.check_signals() else {
                return;
            };
            if error.is_instance_of::<PySystemExit>(py)
                || error.is_instance_of::<PyKeyboardInterrupt>(py)
            {
                self.log.write(
                    Level::Info,
                    "a signal handler of the application asks to exit",
                );
                return self.handle.drain();
            }
            let traceback = exceptions::traceback(py, &error);
            self.log.write(
                Level::Error,
                &format!("A signal handler of the application failed\n{traceback}"),
            );
        });
    }
}

/// `wsgi.multithread` and the like.
fn settings(config: &Config) -> Settings {
    let environ_names = match &config.access_log {
        Some(_) => AccessFormat::parse(&config.access_log_format)
            .map(|format| format.environ_names().to_vec())
            .unwrap_or_default(),
        None => Vec::new(),
    };
    Settings {
        is_multithread: !matches!(config.threads, Threads::Count(count) if count.get() == 1),
        is_multiprocess: config.workers > 1,
        is_sendfile_on: config.sendfile,
        environ_names,
    }
}
