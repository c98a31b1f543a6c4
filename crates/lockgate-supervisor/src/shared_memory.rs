//! The memory that all processes of all generations use: shared caches and locks, the broadcast log, the
//! response cache and the log of its purges, the table of rate limits, the logs of spans and of lines of the
//! error log, and the history.
//!
//! It is mapped before the first fork and handed over at an upgrade, so it lives as long as the server.

mod broadcast_log;
mod history;
mod line_log;
mod purge_log;
mod rates;
mod region;
mod responses;
mod span_log;
mod store;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use lockgate_config::Config;
use lockgate_shm::responses::ResponseStore;
use lockgate_shm::{Log, Rates, Store};

pub use broadcast_log::standalone_broadcast_log;
use region::Region;
pub use responses::standalone_responses;

use crate::Hooks;
use crate::handover::memories::{Memories, Memory};

/// See the module. A region is empty where no setting needs it.
pub(crate) struct SharedMemory {
    pub(crate) store: Region<Arc<Store>>,
    pub(crate) broadcast_log: Region<Log>,
    pub(crate) responses: Region<ResponseStore>,
    pub(crate) purge_log: Region<Log>,
    pub(crate) rates: Region<Rates>,
    pub(crate) history: Region<Log>,
    pub(crate) events: Region<Log>,
    pub(crate) failures: Region<Log>,
    pub(crate) span_log: Region<Log>,
    pub(crate) line_log: Region<Log>,
}

impl SharedMemory {
    /// `inherited` is what the previous program in this process has left, in layouts of this program.
    pub(crate) fn new(
        mut inherited: Memories<OwnedFd>,
        config: &Config,
        hooks: &dyn Hooks,
    ) -> Self {
        let mut inherited = |memory| inherited.remove(&memory);
        Self {
            store: store::open(inherited(Memory::Store), &config.uwsgi, hooks),
            broadcast_log: broadcast_log::open(
                inherited(Memory::BroadcastLog),
                &config.push,
                hooks,
            ),
            responses: responses::open(inherited(Memory::Responses), &config.cache, hooks),
            purge_log: purge_log::open(inherited(Memory::PurgeLog), &config.cache, hooks),
            rates: rates::open(inherited(Memory::Rates), &config.rate_limits, hooks),
            span_log: span_log::open(inherited(Memory::SpanLog), &config.identity, hooks),
            line_log: line_log::open(inherited(Memory::LineLog), &config.identity, hooks),
            history: history::open(inherited(Memory::History), config, hooks),
            events: history::open_events(inherited(Memory::Events), config, hooks),
            failures: history::open_failures(inherited(Memory::Failures), config, hooks),
        }
    }

    /// The memory of every region that is not empty, for the next program in this process.
    pub(crate) fn memories(&self) -> impl Iterator<Item = (Memory, BorrowedFd<'_>)> {
        let regions = [
            (Memory::Store, self.store.memory()),
            (Memory::BroadcastLog, self.broadcast_log.memory()),
            (Memory::Responses, self.responses.memory()),
            (Memory::PurgeLog, self.purge_log.memory()),
            (Memory::Rates, self.rates.memory()),
            (Memory::SpanLog, self.span_log.memory()),
            (Memory::LineLog, self.line_log.memory()),
            (Memory::History, self.history.memory()),
            (Memory::Events, self.events.memory()),
            (Memory::Failures, self.failures.memory()),
        ];
        (regions.into_iter()).filter_map(|(memory, fd)| Some((memory, fd?)))
    }

    /// The settings of a reload that need memory which is only created at the start.
    pub(crate) fn missing_for(&self, config: &Config) -> Vec<&'static str> {
        let Some(otlp) = &config.identity.otlp else {
            return Vec::new();
        };
        let mut names = Vec::new();
        if self.span_log.get().is_none() {
            names.push("otlp");
        }
        if otlp.logs && self.line_log.get().is_none() {
            names.push("otlp_logs");
        }
        names
    }

    /// A process of the server has ended, and perhaps held a lock.
    pub(crate) fn on_exit(&self, pid: u32) {
        if let Some(store) = self.store.get() {
            store.release_dead_locks();
        }
        let logs = [
            self.broadcast_log.get(),
            self.purge_log.get(),
            self.span_log.get(),
            self.line_log.get(),
            self.history.get(),
            self.failures.get(),
        ];
        (logs.iter().flatten()).for_each(Log::release_if_dead);
        if let Some(responses) = self.responses.get() {
            responses.release_of_dead(pid);
        }
        if let Some(rates) = self.rates.get() {
            rates.release_of_dead(pid);
        }
    }
}
