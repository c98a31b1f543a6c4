//! Threads that a worker runs beside its thread pool: deadlines, stack samples, the access-log writer.
//!
//! Invariant: a helper thread that panics ends the worker, which logs why and is replaced. Without it the worker would
//! look alive and enforce no deadline, or write no log.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Ends the worker; the argument says why.
type OnPanic = Box<dyn Fn(&str) + Send + Sync>;

/// What a panic of a helper thread does; set once, when the worker is complete.
#[derive(Clone, Default)]
pub(crate) struct PanicGuard(Arc<OnceLock<OnPanic>>);

impl PanicGuard {
    /// From now on a panic calls this. One that came earlier has been logged by the panic hook.
    pub(crate) fn on_panic(&self, end_worker: impl Fn(&str) + Send + Sync + 'static) {
        // A worker is completed once.
        let _set_once = self.0.set(Box::new(end_worker));
    }

    /// Starts a thread whose panic ends the worker.
    ///
    /// # Errors
    /// The system's error when it cannot start a thread.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let guard = self.clone();
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(body)).is_err()
                && let Some(end_worker) = guard.0.get()
            {
                end_worker(&format!(
                    "thread {name} panicked; this worker ends and is replaced"
                ));
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(guarded)
            .map(drop)
    }
}
