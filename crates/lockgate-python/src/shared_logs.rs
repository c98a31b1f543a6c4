//! The logs in memory that all processes of the server share.

use lockgate_shm::Log;
use lockgate_supervisor::SharedContents;

use crate::history_logs::HistoryLogs;

/// See the module. A log is there if a setting needs it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SharedLogs {
    /// What held connections get, if `push` is set.
    pub(crate) broadcast: Option<Log>,
    /// Purges for other servers, if `cache_redis` is set.
    pub(crate) purges: Option<Log>,
    /// What the OTLP exporter sends, if `otlp` is set.
    pub(crate) spans: Option<Log>,
    /// Where lines of the error log are recorded for the exporter, if `otlp_logs` is set.
    pub(crate) lines: Option<Log>,
    /// The history of the server, if there is an admin listener.
    pub(crate) history: HistoryLogs,
}

impl SharedLogs {
    /// In the supervisor, before its first fork.
    pub(crate) fn new(memory: &SharedContents) -> Self {
        Self {
            broadcast: memory.broadcast_log,
            purges: memory.purge_log,
            spans: memory.span_log,
            lines: memory.line_log,
            history: HistoryLogs::new(memory.history, memory.events, memory.failures),
        }
    }
}
