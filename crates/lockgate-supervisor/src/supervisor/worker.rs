//! A worker as the state machine sees it, and its slot.

use std::fmt;
use std::time::{Duration, Instant};

use crate::back_off::BackOff;

/// A worker that dies sooner than this after it was ready counts as not having served.
const SERVED: Duration = Duration::from_secs(1);
/// A boot of this length is reported, because an import may never end.
pub(super) const LONG_BOOT: Duration = Duration::from_secs(30);
/// A worker that has served this long clears the failure record of its slot.
const HEALTHY: Duration = Duration::from_secs(10);

/// A slot for one worker; its number is stable while workers are replaced.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    pub(super) role: Role,
    pub(super) back_off: BackOff,
    /// Consecutive workers that were forked while another thread held a lock.
    pub(super) bad_forks: u32,
}

/// The role of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Unused.
    Free,
    /// A wanted worker: the slot is filled again whenever its worker has died.
    Serving,
    /// For a worker of the next generation, until all of them are ready.
    Coming,
    /// For a worker that replaces a serving one as soon as it serves itself.
    Successor,
    /// Its worker is stopping and is not replaced in this slot.
    Leaving,
}

/// The state of a slot.
#[derive(Debug)]
pub(super) enum SlotState {
    /// Empty; to be filled from this time on.
    Vacant {
        fork_at: Instant,
    },
    /// A fork was requested and has not been answered.
    Forking,
    Worker(Worker),
}

impl Slot {
    pub(super) fn vacant(role: Role, fork_at: Instant) -> Self {
        Self {
            state: SlotState::Vacant { fork_at },
            role,
            back_off: BackOff::default(),
            bad_forks: 0,
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        matches!(self.state, SlotState::Vacant { .. })
    }

    /// Counts the death of its worker; returns how long the slot stays empty.
    pub(super) fn restart_delay(&mut self, served: Duration) -> Duration {
        if served >= HEALTHY {
            self.back_off.reset();
        }
        if served >= SERVED {
            self.back_off.after_service()
        } else {
            self.back_off.after_failure()
        }
    }

    pub(super) fn worker(&self) -> Option<&Worker> {
        match &self.state {
            SlotState::Worker(worker) => Some(worker),
            _ => None,
        }
    }

    pub(super) fn worker_mut(&mut self) -> Option<&mut Worker> {
        match &mut self.state {
            SlotState::Worker(worker) => Some(worker),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: usize,
    pub(super) pid: u32,
    pub(super) forked: Instant,
    pub(super) ready: Option<Instant>,
    /// When it was ordered to accept connections.
    pub(super) opened: Option<Instant>,
    /// It has reported that it accepts them.
    pub(super) is_accepting: bool,
    /// Its boot deadline.
    pub(super) boot_by: Option<Instant>,
    /// When it is reported if it still boots; `None`: it was.
    pub(super) is_slow_at: Option<Instant>,
    /// It is queued for replacement.
    pub(super) is_to_be_replaced: bool,
    pub(super) last_heard: Instant,
    /// It has reported a boot failure and is exiting.
    pub(super) has_failed: bool,
    /// Another fork of the same fork server replaces it.
    pub(super) is_bad_fork: bool,
    /// Why this supervisor has ordered it to stop, if so.
    pub(super) shutdown_reason: Option<ShutdownReason>,
    /// When it is killed.
    pub(super) kill_at: Option<Instant>,
    pub(super) is_killed: bool,
}

/// Why this supervisor has ordered a worker to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShutdownReason {
    /// The server stops, or fewer workers are wanted.
    NotNeeded,
    /// It sent no heartbeat, or was blocked, for longer than its timeout.
    TimedOut,
}

impl Worker {
    pub(super) fn new(slot: usize, pid: u32, now: Instant) -> Self {
        Self {
            slot,
            pid,
            forked: now,
            ready: None,
            opened: None,
            is_accepting: false,
            boot_by: None,
            is_slow_at: Some(now + LONG_BOOT),
            is_to_be_replaced: false,
            last_heard: now,
            has_failed: false,
            is_bad_fork: false,
            shutdown_reason: None,
            kill_at: None,
            is_killed: false,
        }
    }

    /// Whether its liveness is checked: it serves, and has not been aborted.
    pub(super) fn is_monitored(&self) -> bool {
        self.opened.is_some()
            && (self.shutdown_reason != Some(ShutdownReason::TimedOut))
            && !self.is_killed
    }

    /// Whether it is still expected to become ready.
    pub(super) fn is_booting(&self) -> bool {
        self.ready.is_none()
            && !self.has_failed
            && !self.is_killed
            && self.shutdown_reason.is_none()
    }

    /// Whether it serves, and may be replaced by another worker.
    pub(super) fn is_replaceable(&self) -> bool {
        self.opened.is_some() && self.shutdown_reason.is_none() && !self.is_killed
    }

    /// How long it has served; zero if it never has.
    pub(super) fn served(&self, now: Instant) -> Duration {
        self.opened.map_or(Duration::ZERO, |opened| {
            now.saturating_duration_since(opened)
        })
    }
}

/// `worker 1 (pid 124)`.
impl fmt::Display for Worker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "worker {} (pid {})", self.slot, self.pid)
    }
}
