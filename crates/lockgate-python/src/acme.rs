//! The ACME process: the client runs on a thread ([`RunningThreads`]).
//!
//! It runs as the supervisor's user, also where workers change theirs: it writes private keys, and the application must
//! not be able to read them.

use std::fs;
use std::io;
use std::sync::Arc;

use lockgate_acme::{Log, Settings};
use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_supervisor::WorkerContext;
use lockgate_worker::log::ErrorLog;
use rustix::process::getppid;
use rustix::system::uname;

use crate::process::threads::RunningThreads;

/// Runs until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    // Without names that need a CA, because files have certificates for all, this process waits for its end: an exit
    // would be taken for a failure.
    if let Some(settings) = Settings::of(config, owner()) {
        let client = ClientLog(Arc::clone(log));
        running.spawn("acme", move || lockgate_acme::run(&settings, &client))?;
    }
    Ok(context.run(&running.control()))
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

/// The error log, as the client sees it.
struct ClientLog(Arc<ErrorLog>);

impl Log for ClientLog {
    fn write(&self, level: Level, message: &str) {
        self.0.write(level, message);
    }
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
