//! The Redis relay's process: two threads for messages and two for purges, which send and receive, and one for rate
//! limits.
//!
//! It runs as the workers' user: it reads what other servers have written, and needs nothing of the supervisor's.

use std::io;
use std::sync::Arc;

use lockgate_config::Config;
use lockgate_observe::Level;
use lockgate_relay::{Host, Relay, SharedLimits};
use lockgate_shm::{Log, Rates};
use lockgate_supervisor::WorkerContext;
use lockgate_worker::log::ErrorLog;
use lockgate_worker::monotonic_nanos;

use crate::process::threads::RunningThreads;
use crate::purging::CachePurger;

/// What is passed to other servers and received from them.
pub(crate) struct Relayed {
    pub(crate) broadcast_log: Option<Log>,
    /// The log of purges, and what applies those of other servers.
    pub(crate) purges: Option<(Log, CachePurger)>,
    /// What the rate limits count.
    pub(crate) rates: Option<Rates>,
}

/// Runs until the supervisor ends this process or has exited; returns the exit code.
pub(crate) fn run(
    config: &Config,
    log: &Arc<ErrorLog>,
    mut context: WorkerContext,
    relayed: Relayed,
) -> io::Result<i32> {
    let running = RunningThreads::new(log);
    let host = Arc::new(Process(Arc::clone(log)));
    // Without a log, which the supervisor has reported, this process waits for its end: an exit would be taken for a
    // failure.
    let messages =
        (relayed.broadcast_log).and_then(|log| Relay::of_messages(&config.push, log, &*host));
    let purges = (relayed.purges)
        .and_then(|(log, purger)| Relay::of_purges(&config.cache, log, purger, &*host));
    for relay in messages.into_iter().chain(purges).map(Arc::new) {
        let (sending, sender) = (Arc::clone(&relay), Arc::clone(&host));
        let receiver = Arc::clone(&host);
        running.spawn("relay-send", move || sending.send(&*sender))?;
        running.spawn("relay-receive", move || relay.receive(&*receiver))?;
    }
    if let (Some(address), Some(rates)) = (config.shared_rate_limits(), relayed.rates) {
        let limits = SharedLimits::new(address.clone(), rates);
        running.spawn("relay-limits", move || limits.run(&*host))?;
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
