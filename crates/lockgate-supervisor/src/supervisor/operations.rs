//! The operations that take several events, as data: reload, replacement of a worker, upgrade, stop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::canary_counts::Canary;
use super::event::{Request, Rules};
use super::status::Status;
use crate::back_off::BackOff;

/// How long a worker that has never served may take to exit: it has no requests to finish.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new worker may take from the order to accept until it accepts; usually microseconds.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A reload in progress.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) since: Instant,
    pub(super) step: ReloadStep,
}

#[derive(Debug)]
pub(super) enum ReloadStep {
    /// Settings are read, which may take as long as the configuration in Python runs, and addresses bound.
    Preparing,
    /// The new workers load the application.
    Booting(Rules),
    /// The new workers serve beside the old ones.
    Canary(Canary),
    /// The new workers may accept; the old ones still do.
    Moving { by: Instant },
}

impl Reload {
    /// The rules of the new generation, until it is the present one.
    pub(super) fn rules(&self) -> Option<&Rules> {
        match &self.step {
            ReloadStep::Booting(rules) => Some(rules),
            ReloadStep::Canary(canary) => Some(&canary.rules),
            ReloadStep::Preparing | ReloadStep::Moving { .. } => None,
        }
    }

    /// Whether the new generation has not taken over yet.
    pub(super) fn is_undecided(&self) -> bool {
        !matches!(self.step, ReloadStep::Moving { .. })
    }

    pub(super) fn canary_mut(&mut self) -> Option<&mut Canary> {
        match &mut self.step {
            ReloadStep::Canary(canary) => Some(canary),
            _ => None,
        }
    }

    pub(super) fn moves_by(&self) -> Option<Instant> {
        match self.step {
            ReloadStep::Moving { by } => Some(by),
            _ => None,
        }
    }

    /// When to check again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.step {
            ReloadStep::Canary(canary) => Some(canary.count_at),
            _ => self.moves_by(),
        }
    }
}

/// The queue of replacements, and the one in progress.
#[derive(Debug, Default)]
pub(super) struct Recycling {
    pub(super) waiting: VecDeque<u32>,
    pub(super) succession: Option<Succession>,
    pub(super) back_off: BackOff,
    /// After a failed replacement: when to try again.
    pub(super) not_before: Option<Instant>,
}

/// A replacement in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Succession {
    /// The pid of the worker to replace.
    pub(super) old: u32,
    /// The slot in which its successor boots.
    pub(super) place: usize,
    /// The successor may accept connections: the deadline for its report that it does.
    pub(super) moves_by: Option<Instant>,
}

impl Recycling {
    /// When to check again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.succession {
            Some(succession) => succession.moves_by,
            None if self.waiting.is_empty() => None,
            None => self.not_before,
        }
    }
}

/// The stage of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Upgrade {
    #[default]
    None,
    /// It begins when no other change is in progress.
    Wanted,
    /// The trial of the other version runs.
    Trying,
    /// The trial has succeeded; the exec waits until no other change is in progress.
    Tried,
}

/// A stop in progress.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) code: i32,
    pub(super) mode: StopMode,
    pub(super) deadline: Instant,
    /// The number of requests to stop.
    pub(super) requests: u32,
    pub(super) last_request: Option<(Request, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopMode {
    Graceful,
    Quick,
    Killed,
}

/// The drain delay between the request to stop and the stop: the server serves as before, while load balancers learn
/// that it will stop.
#[derive(Debug)]
pub(super) struct DrainDelay {
    pub(super) until: Instant,
    pub(super) requested: Instant,
}

/// The status reports so far.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// All workers of the first or a later generation have been ready once.
    pub(super) is_ready: bool,
    pub(super) progress: Option<Status>,
}
