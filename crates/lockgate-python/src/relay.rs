//! The Redis relay's process: two threads, which send and receive.
//!
//! It runs as the workers' user: it reads what other servers have written, and needs nothing of the supervisor's.

use std::io;
use std::sync::Arc;

use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_relay::{Host, Relay};
use lockgate_shm::Log;
use lockgate_supervisor::WorkerContext;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::monotonic_nanos;

use crate::process::threads::RunningThreads;

/// Runs until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    broadcast_log: Option<Log>,
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    let host = Arc::new(Process(Arc::clone(log)));
    // Without a log, which the supervisor has reported, this process waits for its end: an exit would be taken for a
    // failure.
    let relay = broadcast_log.and_then(|log| Relay::of_messages(&config.push, log, &*host));
    if let Some(relay) = relay.map(Arc::new) {
        let (sending, sender) = (Arc::clone(&relay), Arc::clone(&host));
        running.spawn("relay-send", move || sending.send(&*sender))?;
        running.spawn("relay-receive", move || relay.receive(&*host))?;
    }
    Ok(context.run(&running.control()))
}

/// The process as the relay sees it.
struct Process(Arc<ErrorLog>);

impl Host for Process {
    fn write(&self, level: Level, message: &str) {
        self.0.write(level, message);
    }

    fn monotonic_nanos(&self) -> u64 {
        monotonic_nanos()
    }
}
