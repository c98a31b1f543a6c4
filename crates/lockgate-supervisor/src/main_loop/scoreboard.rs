//! The scoreboard as the supervisor uses it: it reads response counts, clears the slots of dead workers, and records
//! progress for the admin process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lockgate_observe::{Level, Scoreboard};

use crate::Hooks;
use crate::clock::monotonic_nanos;
use crate::os::{map_words, shared_memory};
use crate::processes::in_flight::InFlightRequest;
use crate::processes::sampling::responses;
use crate::supervisor::{Event, ProgressEvent};

/// See the module. Without shared memory it is empty, and workers serve all the same.
pub(crate) struct SharedScoreboard {
    scoreboard: Option<Scoreboard>,
    /// The memory, for the next program in this process.
    memory: Option<OwnedFd>,
}

impl SharedScoreboard {
    /// A new one, or the one of the previous program in this process. Made before the first fork, so that all processes
    /// share the same memory.
    pub(crate) fn new(inherited: Option<OwnedFd>, hooks: &dyn Hooks) -> Self {
        let inherited = inherited.and_then(|memory| {
            let words = map_words(&memory, Scoreboard::WORDS).ok()?;
            Some((Scoreboard::new(words), memory))
        });
        let (scoreboard, memory) = inherited.or_else(|| create(hooks)).unzip();
        Self { scoreboard, memory }
    }

    pub(crate) fn get(&self) -> Option<Scoreboard> {
        self.scoreboard
    }

    pub(super) fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(AsFd::as_fd)
    }

    /// The response counts of these workers so far.
    pub(super) fn count_responses(&self, workers: impl Iterator<Item = (u32, usize)>) -> Event {
        Event::Counted(responses(workers, self.scoreboard))
    }

    /// Clears the slot of a dead worker for the next one; returns the requests that were in flight.
    pub(super) fn clear(&self, pid: u32, slot: usize) -> Vec<InFlightRequest> {
        let Some(scoreboard) = self.scoreboard else {
            return Vec::new();
        };
        let now = monotonic_nanos();
        let calls = scoreboard.in_flight(slot, pid).into_iter();
        let in_flight = calls
            .filter_map(|call| InFlightRequest::of(call, now))
            .collect();
        scoreboard.clear(slot);
        in_flight
    }

    /// Passes the messages of the supervisor's log to the worker that reports them to statsd.
    pub(super) fn count_log(&self, hooks: &dyn Hooks) {
        if let Some(scoreboard) = self.scoreboard {
            scoreboard.count_log(hooks.take_log_counts());
        }
    }

    /// Makes readiness checks fail from now on.
    pub(super) fn set_draining(&self) {
        if let Some(scoreboard) = self.scoreboard {
            scoreboard.set_draining();
        }
    }

    pub(super) fn record(&self, event: ProgressEvent) {
        let Some(scoreboard) = self.scoreboard else {
            return;
        };
        let now = monotonic_nanos();
        match event {
            ProgressEvent::ReloadBegun => scoreboard.record_reload_begun(now),
            ProgressEvent::ReloadReady { ready, wanted } => {
                scoreboard.record_reload_ready(ready, wanted)
            }
            ProgressEvent::ReloadMoving => scoreboard.record_reload_moving(),
            ProgressEvent::ReloadDone => scoreboard.record_reload_done(now),
            ProgressEvent::ReloadFailed { why } => scoreboard.record_reload_failed(&why, now),
            ProgressEvent::WorkerExited(cause) => scoreboard.record_exit(cause),
        }
    }
}

fn create(hooks: &dyn Hooks) -> Option<(Scoreboard, OwnedFd)> {
    let made = shared_memory(Scoreboard::WORDS).and_then(|memory| {
        Ok((
            Scoreboard::new(map_words(&memory, Scoreboard::WORDS)?),
            memory,
        ))
    });
    match made {
        Ok((scoreboard, memory)) => {
            scoreboard.record_start(std::process::id(), monotonic_nanos());
            Some((scoreboard, memory))
        }
        Err(error) => {
            let message = format!(
                "cannot create shared memory for the scoreboard: {error}; workers will not balance connections, and \
                 the admin listener has no data"
            );
            hooks.log(Level::Warning, &message);
            None
        }
    }
}
