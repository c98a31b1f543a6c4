//! The ACME process: the client runs on a thread, and the main thread sends heartbeats and receives orders.
//!
//! It runs as the supervisor's user, also where workers change theirs: it writes private keys, and the application must
//! not be able to read them.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lockgate_acme::{Log, Settings};
use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_supervisor::{WorkerContext, WorkerControl};
use lockgate_worker::log::ErrorLog;
use rustix::process::getppid;
use rustix::system::uname;

/// Runs until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
) -> io::Result<i32> {
    let running = Arc::new(RunningAcme {
        log: Arc::clone(log),
        is_finished: AtomicBool::new(false),
    });
    // Without names that need a CA, because files have certificates for all, this process waits for its end: an exit
    // would be taken for a failure.
    if let Some(settings) = Settings::of(config, owner()) {
        let client = ClientThread(Arc::clone(&running));
        thread::Builder::new()
            .name("acme".to_owned())
            .spawn(move || lockgate_acme::run(&settings, &client))?;
    }
    let worker_control: Arc<dyn WorkerControl> = running;
    Ok(context.run(&worker_control))
}

/// Identifies this server among those that share `acme_dir`: the host, and the supervisor with its start time.
fn owner() -> String {
    let host = uname().nodename().to_string_lossy().into_owned();
    let supervisor = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap_or_default();
    format!("{host} {supervisor} {}", start_time(&stat).unwrap_or("0"))
}

/// Field 22 of `/proc/PID/stat` (proc(5)). The second one, the name in parentheses, may contain spaces.
fn start_time(stat: &str) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)
}

/// Ends the process when the client's thread does, which only a panic makes it do.
struct ClientThread(Arc<RunningAcme>);

impl Log for ClientThread {
    fn write(&self, level: Level, message: &str) {
        self.0.log.write(level, message);
    }
}

impl Drop for ClientThread {
    fn drop(&mut self) {
        self.0.is_finished.store(true, Ordering::Release);
    }
}

/// The running process, as the supervisor's messages reach it.
struct RunningAcme {
    log: Arc<ErrorLog>,
    is_finished: AtomicBool,
}

impl WorkerControl for RunningAcme {
    /// A certificate may become due while the workers drain.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_follows_a_name_with_spaces() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8675309 1 1";
        assert_eq!(start_time(stat), Some("8675309"));
        assert_eq!(start_time(""), None);
    }
}
