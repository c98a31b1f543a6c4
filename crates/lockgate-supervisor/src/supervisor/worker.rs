//! A worker as the supervisor remembers it, and its slot.

use std::fmt;
use std::time::{Duration, Instant};

use crate::back_off::BackOff;

/// A slot for one worker; its number is stable while workers come and go.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tenant: Tenant,
    pub(super) role: Role,
    pub(super) back_off: BackOff,
    /// Workers in a row that were forked while another thread held a lock.
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
    /// Its worker is leaving and is not replaced in this slot.
    Leaving,
}

#[derive(Debug)]
pub(super) enum Tenant {
    /// Empty; to be filled from this time on.
    Vacant {
        fork_at: Instant,
    },
    /// A fork was ordered and has not been answered.
    Forking,
    Worker(Worker),
}

impl Slot {
    pub(super) fn vacant(role: Role, fork_at: Instant) -> Self {
        Self {
            tenant: Tenant::Vacant { fork_at },
            role,
            back_off: BackOff::default(),
            bad_forks: 0,
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        matches!(self.tenant, Tenant::Vacant { .. })
    }

    pub(super) fn worker(&self) -> Option<&Worker> {
        match &self.tenant {
            Tenant::Worker(worker) => Some(worker),
            _ => None,
        }
    }

    pub(super) fn worker_mut(&mut self) -> Option<&mut Worker> {
        match &mut self.tenant {
            Tenant::Worker(worker) => Some(worker),
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
    /// When it was allowed to accept connections.
    pub(super) opened: Option<Instant>,
    /// It has reported that it accepts them.
    pub(super) is_accepting: bool,
    /// Its boot deadline.
    pub(super) boot_by: Option<Instant>,
    /// It is queued for replacement.
    pub(super) is_to_be_replaced: bool,
    pub(super) last_heard: Instant,
    /// It has reported a boot failure and is leaving.
    pub(super) has_failed: bool,
    /// Another fork of the same template replaces it.
    pub(super) is_bad_fork: bool,
    /// Why it is leaving, if this supervisor has asked it to.
    pub(super) sentence: Option<Sentence>,
    /// When it is killed.
    pub(super) kill_at: Option<Instant>,
    pub(super) is_killed: bool,
}

/// Why this supervisor has asked a worker to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sentence {
    /// The server stops, or fewer workers are wanted.
    NotNeeded,
    /// It did not answer in time.
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
            is_to_be_replaced: false,
            last_heard: now,
            has_failed: false,
            is_bad_fork: false,
            sentence: None,
            kill_at: None,
            is_killed: false,
        }
    }

    /// Whether its silence counts: it serves, and has not been aborted.
    pub(super) fn is_watched(&self) -> bool {
        self.opened.is_some() && (self.sentence != Some(Sentence::TimedOut)) && !self.is_killed
    }

    /// Whether it is still expected to become ready.
    pub(super) fn is_booting(&self) -> bool {
        self.ready.is_none() && !self.has_failed && !self.is_killed && self.sentence.is_none()
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

/// `0.21 s`, `12.3 s`, `340 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            ..10.0 => write!(out, "{seconds:.2} s"),
            ..100.0 => write!(out, "{seconds:.1} s"),
            _ => write!(out, "{seconds:.0} s"),
        }
    }
}
