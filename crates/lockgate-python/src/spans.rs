//! The span exporter's process: one thread that sends what workers record.
//!
//! It runs as the workers' user, and needs nothing of the supervisor's.

use std::io;
use std::sync::Arc;

use lockgate_config::Config;
use lockgate_observe::{Level, Scoreboard};
use lockgate_otlp::{Exporter, Host};
use lockgate_shm::Log;
use lockgate_supervisor::WorkerContext;
use lockgate_worker::log::ErrorLog;

use crate::process::threads::RunningThreads;

/// Runs until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    spans: Option<Log>,
    scoreboard: Option<Scoreboard>,
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    // Without a log, which the supervisor has reported, this process waits for its end: an exit would be taken for a
    // failure.
    if let (Some(otlp), Some(spans)) = (&config.identity.otlp, spans) {
        let host_name = rustix::system::uname();
        let host_name = host_name.nodename().to_string_lossy();
        let version = env!("CARGO_PKG_VERSION");
        let mut exporter = Exporter::new(otlp.clone(), version, &host_name, spans);
        let process = Process {
            log: Arc::clone(log),
            scoreboard,
        };
        running.spawn("span-exporter", move || exporter.run(&process))?;
    }
    Ok(context.run(&running.control()))
}

/// The process as the exporter sees it.
struct Process {
    log: Arc<ErrorLog>,
    scoreboard: Option<Scoreboard>,
}

impl Host for Process {
    fn write(&self, level: Level, message: &str) {
        self.log.write(level, message);
    }

    fn is_stopping(&self) -> bool {
        self.scoreboard.is_some_and(Scoreboard::is_draining)
    }
}
