//! The logs of the server's history, as the processes of the server have them.

use lockgate_history::{Event, EventKind, EventLog, EventSubject, FailureLog};
use lockgate_observe::Level;
use lockgate_shm::Log;

use crate::clock::moment;

/// See the module. Empty where there is no admin listener.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HistoryLogs {
    /// What the admin process has recorded.
    pub(crate) recorded: Option<Log>,
    /// The events of the supervisor.
    pub(crate) events: Option<EventLog>,
    /// The failed requests of the workers.
    pub(crate) failures: Option<FailureLog>,
    /// The supervisor, which alone writes them.
    supervisor: u32,
}

impl HistoryLogs {
    /// In the supervisor, before its first fork.
    pub(crate) fn new(recorded: Option<Log>, events: Option<Log>, failures: Option<Log>) -> Self {
        Self {
            recorded,
            events: events.map(EventLog::new),
            failures: failures.map(FailureLog::new),
            supervisor: std::process::id(),
        }
    }

    /// Records a message of the supervisor's log; of those without a subject only warnings and errors.
    pub(crate) fn record(
        &self,
        subject: Option<EventSubject>,
        level: Level,
        message: &str,
        generation: u64,
    ) {
        let subject = match subject {
            Some(subject) => subject,
            None if level <= Level::Warning => EventKind::Log.into(),
            None => return,
        };
        let Some(events) = self
            .events
            .filter(|_| self.supervisor == std::process::id())
        else {
            return;
        };
        // Only this process appends, so no other one holds the lock.
        let _is_appended = events.append(&Event {
            at: moment(),
            kind: subject.kind,
            level,
            worker: subject.worker,
            generation,
            text: message.to_owned(),
        });
    }
}
