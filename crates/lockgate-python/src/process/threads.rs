//! A side process whose work is done by threads, while the main thread sends heartbeats and receives orders.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockgate_supervisor::WorkerControl;
use lockgate_worker::log::ErrorLog;

/// See the module.
pub(crate) struct RunningThreads {
    log: Arc<ErrorLog>,
    is_finished: AtomicBool,
}

/// Ends the process when its thread ends, which only a panic makes it do.
struct EndOfThread(Arc<RunningThreads>);

impl RunningThreads {
    pub(crate) fn new(log: &Arc<ErrorLog>) -> Arc<Self> {
        Arc::new(Self {
            log: Arc::clone(log),
            is_finished: AtomicBool::new(false),
        })
    }

    /// Starts a thread that runs until the process ends.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let end = EndOfThread(Arc::clone(self));
        let builder = thread::Builder::new().name(name.to_owned());
        builder.spawn(move || {
            let _end = end;
            work();
        })?;
        Ok(())
    }

    /// What the supervisor's orders go to.
    pub(crate) fn control(self: Arc<Self>) -> Arc<dyn WorkerControl> {
        self
    }
}

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.0.is_finished.store(true, Ordering::Release);
    }
}

impl WorkerControl for RunningThreads {
    /// There is work to do while the workers drain.
    fn drain(&self) {}

    fn retire(&self) {}

    fn stop(&self) {
        self.is_finished.store(true, Ordering::Release);
    }

    fn reopen_logs(&self) {
        // If the log cannot be reopened, the workers, which write to it, report that.
        let _reported_by_others = self.log.reopen();
    }

    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    fn is_stuck(&self, _longer_than: Duration) -> bool {
        false
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn interrupted(&self) {}
}
