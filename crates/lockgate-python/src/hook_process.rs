//! The hook process: Python runs gunicorn's hooks of the master on the main thread (`lockgate.gunicorn.hook_process`), and
//! another thread sends heartbeats and receives orders, without the GIL: a hook may run for as long as it likes.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_supervisor::{LoadFailure, WorkerContext, WorkerControl};
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use crate::interpreter::exceptions;
use crate::worker::loggers::Loggers;

/// A hook that runs longer than this is logged.
const LONG: Duration = Duration::from_secs(300);

/// Runs hooks until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    py: Python<'_>,
    config: &Config,
    log: &Arc<ErrorLog>,
    context: WorkerContext,
    events: OwnedFd,
    directory: Option<&Path>,
) -> Result<i32, String> {
    let loggers = Loggers::install(py, config, log)?;
    let process = Arc::new(RunningHooks {
        log: Arc::clone(log),
        loggers,
        hook: Mutex::new(None),
    });
    let host = HookHost {
        report: Box::new(context.reporter()),
        process: Arc::clone(&process),
    };
    start_control_thread(context, process).map_err(|error| error.to_string())?;
    let run = || -> PyResult<()> {
        // Python owns the number from now on.
        let arguments = (events.into_raw_fd(), host, directory);
        py.import("lockgate.gunicorn.hook_process")?
            .call_method1("run", arguments)
            .map(drop)
    };
    run().map_err(|error| exceptions::traceback(py, &error))?;
    Ok(0)
}

fn start_control_thread(mut context: WorkerContext, process: Arc<RunningHooks>) -> io::Result<()> {
    let control: Arc<dyn WorkerControl> = process;
    let run = move || {
        let code = context.run(&control);
        // The supervisor has exited. The main thread may be in a hook that does not return.
        signal_hook::low_level::exit(code)
    };
    thread::Builder::new()
        .name("hook-control".to_owned())
        .spawn(run)
        .map(drop)
}

/// What Python reports while it runs hooks.
#[pyclass(frozen)]
struct HookHost {
    report: Box<dyn Fn(Result<(), LoadFailure>) + Send + Sync>,
    process: Arc<RunningHooks>,
}

#[pymethods]
impl HookHost {
    /// A hook begins.
    fn begin(&self, name: String) {
        *self.process.hook() = Some(RunningHook {
            name,
            since: Instant::now(),
            is_logged: false,
        });
    }

    /// The hook has returned.
    fn end(&self) {
        *self.process.hook() = None;
    }

    /// Everything that the supervisor waits for is done.
    fn ready(&self, py: Python<'_>) {
        py.detach(|| (self.report)(Ok(())));
    }

    /// The server must not start, for this reason, and must exit with this code.
    fn refuse(&self, py: Python<'_>, code: i32, text: String) {
        py.detach(|| (self.report)(Err(LoadFailure { code, text })));
    }

    /// A hook has failed, and the server goes on.
    fn failed(&self, py: Python<'_>, name: &str, traceback: &str) {
        let message = format!("the hook {name} has failed\n{traceback}");
        py.detach(|| self.process.log.write(Level::Error, &message));
    }
}

struct RunningHook {
    name: String,
    since: Instant,
    is_logged: bool,
}

/// The running process, as the supervisor's messages reach it.
struct RunningHooks {
    log: Arc<ErrorLog>,
    loggers: Loggers,
    hook: Mutex<Option<RunningHook>>,
}

impl RunningHooks {
    fn hook(&self) -> MutexGuard<'_, Option<RunningHook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_long_hook(&self, now: Instant) {
        let mut running = self.hook();
        let long = (running.as_mut())
            .filter(|hook| !hook.is_logged && now.saturating_duration_since(hook.since) >= LONG);
        if let Some(hook) = long {
            hook.is_logged = true;
            let message = format!(
                "the hook {} has been running for {} s; hooks after it wait",
                hook.name,
                LONG.as_secs()
            );
            self.log.write(Level::Warning, &message);
        }
    }
}

impl WorkerControl for RunningHooks {
    /// Hooks run until the last worker has exited.
    fn drain(&self) {}

    fn retire(&self) {}

    fn stop(&self) {}

    fn reopen_logs(&self) {
        // If the log cannot be reopened, the workers, which write to it, report that.
        let _reported_by_others = self.log.reopen().and_then(|()| self.loggers.reopen());
    }

    fn is_finished(&self) -> bool {
        false
    }

    /// Called once a second.
    fn is_stuck(&self, _longer_than: Duration) -> bool {
        self.log_long_hook(Instant::now());
        false
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn interrupted(&self) {}
}
