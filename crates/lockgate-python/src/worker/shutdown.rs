//! Application shutdown at process exit: the steps that Python takes at the end of a program, without finalizing the
//! interpreter, because threads of the server may still be in calls.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use lockgate_observe::Level;
use lockgate_supervisor::{ExitWatch, Exiting};
use lockgate_worker::log::ErrorLog;
use pyo3::prelude::*;

use super::control::RunningWorker;
use super::gunicorn::WorkerHooks;
use crate::interpreter::exceptions;

/// What `Py_FinalizeEx` calls before it finalizes, in the same order.
const STEPS: [(&str, &str); 2] = [
    ("lockgate.shutdown", "finish_threads"),
    ("atexit", "_run_exitfuncs"),
];

/// Waits for threads, executors and exit functions of the application, under the exit watch.
pub(crate) fn finish(watch: ExitWatch, process: ExitingProcess) {
    let log = Arc::clone(&process.log);
    let hooks = process.hooks.clone();
    if let Err(error) = watch.start(Arc::new(process)) {
        let message = format!(
            "cannot start the thread that watches the exit: {error}; the exit does not wait for threads and exit functions of the application"
        );
        return log.write(Level::Error, &message);
    }
    Python::attach(|py| {
        if let Some(hooks) = hooks {
            hooks.finish(py, &log);
        }
        for (module, function) in STEPS {
            let called = (py.import(module)).and_then(|module| module.call_method0(function));
            if let Err(error) = called {
                let traceback = exceptions::traceback(py, &error);
                log.write(
                    Level::Error,
                    &format!("{module}.{function} failed at exit\n{traceback}"),
                );
            }
        }
    });
}

/// The process that exits, as the exit watch sees it.
pub(crate) struct ExitingProcess {
    pub(crate) log: Arc<ErrorLog>,
    /// In a worker that has served.
    pub(crate) worker: Option<Arc<RunningWorker>>,
    /// In a worker with a configuration of gunicorn's, and in its fork server.
    pub(crate) hooks: Option<Arc<WorkerHooks>>,
}

impl ExitingProcess {
    /// A process that is no worker.
    pub(crate) fn alone(log: Arc<ErrorLog>) -> Self {
        Self {
            log,
            worker: None,
            hooks: None,
        }
    }
}

impl Exiting for ExitingProcess {
    /// On a separate thread, because C code may never release the GIL.
    fn waits_for(&self, patience: Duration) -> Result<Vec<String>, String> {
        let (sender, receiver) = channel();
        thread::Builder::new()
            .name("lockgate-exit-check".to_owned())
            .spawn(move || {
                let phrases = Python::attach(|py| {
                    let waits_for = || -> PyResult<Vec<String>> {
                        py.import("lockgate.shutdown")?
                            .call_method0("waits_for")?
                            .extract()
                    };
                    waits_for().map_err(|error| exceptions::summary(py, &error))
                });
                // The receiver may have timed out.
                let _timed_out = sender.send(phrases);
            })
            .map_err(|error| format!("cannot start a thread for the check: {error}"))?;
        receiver
            .recv_timeout(patience)
            .unwrap_or_else(|error| match error {
                RecvTimeoutError::Timeout => Err("a call holds the GIL".to_owned()),
                RecvTimeoutError::Disconnected => {
                    Err("the thread of the check has failed".to_owned())
                }
            })
    }

    fn log(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn reopen_logs(&self) {
        if let Some(worker) = &self.worker {
            lockgate_supervisor::WorkerControl::reopen_logs(&**worker);
        }
    }
}
