//! Threads that a worker runs beside its thread pool: deadlines, stack samples, the access-log writer.
//!
//! Invariant: a helper thread that panics ends the worker, which logs why and is replaced. Without it the worker would
//! look alive and enforce no deadline, or write no log.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use crate::shared::Shared;

/// The worker that a panic of its helper threads ends; set once, when the worker is complete.
#[derive(Clone, Default)]
pub(crate) struct PanicGuard(Arc<OnceLock<Weak<Shared>>>);

impl PanicGuard {
    /// From now on panics end this worker. One that came earlier has been logged by the panic hook.
    pub(crate) fn watch_for(&self, shared: &Arc<Shared>) {
        // A worker is completed once.
        let _set_once = self.0.set(Arc::downgrade(shared));
    }

    /// Starts a thread whose panic ends the worker.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let guard = self.clone();
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(body)).is_err()
                && let Some(shared) = guard.0.get().and_then(Weak::upgrade)
            {
                shared.report_fatal(&format!(
                    "the thread {name} has panicked; this worker ends and is replaced"
                ));
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(guarded)
            .map(drop)
    }
}
