//! Control of the running worker: what the supervisor's messages and signals do.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use lockgate_observe::Level;
use lockgate_supervisor::WorkerControl;
use lockgate_worker::Handle;
use lockgate_worker::log::ErrorLog;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;

use super::faulthandler_log::FaulthandlerLog;
use super::gunicorn::WorkerHooks;
use super::loggers::Loggers;
use crate::interpreter::{deferred_drops, exceptions};

/// The worker that serves. Every method is called detached, on the main thread or on the thread that receives the
/// supervisor's messages.
pub(crate) struct RunningWorker {
    pub(crate) handle: Handle,
    pub(crate) log: Arc<ErrorLog>,
    pub(crate) stack_log: Option<Arc<FaulthandlerLog>>,
    pub(crate) loggers: Loggers,
    pub(crate) hooks: Option<Arc<WorkerHooks>>,
    /// Whether another process may have this one run a script ([`runs_remote_scripts`]).
    pub(crate) runs_remote_scripts: bool,
}

/// Whether Python runs scripts of `sys.remote_exec` and `python -m pdb -p` (PEP 768, from Python 3.14 on, unless
/// `PYTHON_DISABLE_REMOTE_DEBUG` or `-X disable-remote-debug` forbids it).
pub(crate) fn runs_remote_scripts(py: Python<'_>) -> bool {
    let is_enabled = || -> PyResult<bool> {
        let name = "is_remote_debug_enabled";
        py.import("sys")?.getattr(name)?.call0()?.extract()
    };
    is_enabled().unwrap_or(false)
}

impl WorkerControl for RunningWorker {
    fn give_way(&self) {
        self.handle.give_way();
    }

    fn retire(&self) {
        self.handle.retire();
    }

    fn drain(&self) {
        self.handle.drain();
    }

    fn stop(&self) {
        if let Some(hooks) = &self.hooks {
            hooks.interrupt();
        }
        self.handle.stop();
    }

    fn reopen_logs(&self) {
        self.handle.reopen_logs();
        if let Some(Err(error)) = self.stack_log.as_ref().map(|stacks| stacks.reopen()) {
            let message = format!(
                "cannot reopen the error log for faulthandler: {error}; stacks go to the old file"
            );
            self.log.write(Level::Error, &message);
        }
        if let Err(error) = self.loggers.reopen() {
            let message = format!(
                "cannot reopen the access log for the logger gunicorn.access: {error}; its lines go to the old file"
            );
            self.log.write(Level::Error, &message);
        }
        if let Some(hooks) = &self.hooks {
            hooks.reopen_logs(&self.log);
        }
    }

    /// Called once a second, which is when references of the last response are dropped: otherwise an idle worker would
    /// keep a large body until its next request. Python runs remote scripts on the main thread, and like signal
    /// handlers only when asked to.
    fn is_finished(&self) -> bool {
        let is_finished = self.handle.is_finished();
        self.log.report_losses();
        self.loggers.report_losses();
        // Only when idle: a running call may hold the GIL for long, which must not delay the supervisor's messages.
        if !is_finished && self.handle.is_idle() {
            if deferred_drops::is_pending() {
                Python::attach(deferred_drops::run);
            }
            if self.runs_remote_scripts {
                self.interrupted();
            }
        }
        is_finished
    }

    fn is_stuck(&self, longer_than: Duration) -> bool {
        let is_stuck = self.handle.is_stuck(longer_than);
        if is_stuck && let Some(hooks) = &self.hooks {
            hooks.abort(&self.log);
        }
        is_stuck
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.handle.finished_fd())
    }

    /// Python runs signal handlers on the main thread, and only when asked to; those in `signals` too.
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
                    "a signal handler of the application has requested an exit",
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
