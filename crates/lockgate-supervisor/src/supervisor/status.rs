//! Server status, for the service manager: what has begun or ended, and the progress.

use std::fmt;
use std::time::Duration;

use super::worker::{Role, Seconds, Slot};
use super::{Action, Stage, Supervisor};

/// A status; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The first workers load the application.
    Booting {
        /** How many are ready. */
        ready: usize,
        /** How many there are to be. */
        all: usize,
    },
    /// All workers of a generation are ready, whether the first one or a later one.
    Ready {
        /** How many those are. */
        workers: usize,
    },
    /// The server accepts connections.
    Serving {
        /** By so many workers. */
        serving: usize,
        /** How many there are to be. */
        wanted: usize,
    },
    /// A reload begins.
    Reloading,
    /// The workers of the next generation load the application.
    NextBooting {
        /** How many are ready. */
        ready: usize,
        /** How many there are to be. */
        all: usize,
    },
    /// A reload has failed.
    ReloadFailed {
        /** Why. */
        why: String,
    },
    /// A stop begins.
    Stopping {
        /** So long everything is served as before. */
        delay: Duration,
        /** With this exit code the server will leave. */
        code: i32,
    },
    /// Workers finish their requests.
    Draining {
        /** How many have not left yet. */
        left: usize,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booting { ready, all } => {
                write!(out, "booting: {ready} of {all} workers are ready")
            }
            Self::Ready { workers: 1 }
            | Self::Serving {
                serving: 1,
                wanted: 1,
            } => out.write_str("1 worker serves"),
            Self::Ready { workers } => write!(out, "{workers} workers serve"),
            Self::Serving { serving, wanted } if serving == wanted => {
                write!(out, "{wanted} workers serve")
            }
            Self::Serving { serving, wanted } => {
                write!(out, "{serving} of {wanted} workers serve")
            }
            Self::Reloading => out.write_str("reload: new workers are made"),
            Self::NextBooting { ready, all } => write!(out, "reload: {ready} of {all} are ready"),
            Self::ReloadFailed { why } => write!(
                out,
                "reload failed: {why}; the workers that served before go on"
            ),
            Self::Stopping { code, .. } if *code != 0 => {
                write!(
                    out,
                    "stopping: the application did not start (exit code {code})"
                )
            }
            Self::Stopping { delay, .. } if delay.is_zero() => out.write_str("stopping"),
            Self::Stopping { delay, .. } => write!(
                out,
                "asked to stop: serving for another {}",
                Seconds(*delay)
            ),
            Self::Draining { left: 1 } => out.write_str("draining: 1 worker left"),
            Self::Draining { left } => write!(out, "draining: {left} workers left"),
        }
    }
}

/// What has been reported so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// All workers of the first or a later generation have been ready once.
    is_ready: bool,
    progress: Option<Status>,
}

impl Supervisor {
    /// Whether there is a worker, or a reason why there is none yet.
    pub fn is_alive(&self) -> bool {
        !self.has_been_healthy || self.slots.iter().any(|slot| slot.worker().is_some())
    }

    /// The previous program in this process has reported readiness.
    pub(super) fn note_ready_before(&mut self) {
        self.told.is_ready = true;
    }

    /// Reports that all wanted workers are ready.
    pub(super) fn tell_ready(&mut self) {
        self.told.is_ready = true;
        let workers = self.wanted;
        self.tell(Status::Ready { workers });
        self.told.progress = self.progress();
    }

    /// Reports a reload. Before the first readiness report none is sent, because the service manager waits for
    /// readiness.
    pub(super) fn tell_reloading(&mut self) {
        if self.told.is_ready {
            self.tell(Status::Reloading);
        }
    }

    pub(super) fn tell_failed_reload(&mut self, why: &str) {
        if self.told.is_ready {
            let why = why.to_owned();
            self.tell(Status::ReloadFailed { why });
            // A failed reload leaves the number of serving workers unchanged; a progress line must not hide the reason.
            self.told.progress = self.progress();
        }
    }

    pub(super) fn tell(&mut self, status: Status) {
        self.actions.push(Action::Tell(status));
    }

    /// Reports the progress when it has changed.
    pub(super) fn tell_progress(&mut self) {
        let progress = self.progress();
        if progress == self.told.progress {
            return;
        }
        self.told.progress.clone_from(&progress);
        self.actions.extend(progress.map(Action::Tell));
    }

    fn progress(&self) -> Option<Status> {
        match &self.stage {
            Stage::Running if self.delay.is_some() => None,
            Stage::Running => Some(self.progress_of_workers()),
            Stage::Stopping(stop) if stop.code == 0 => {
                let left = self.slots.iter().filter_map(Slot::worker).count();
                Some(Status::Draining { left })
            }
            Stage::Stopping(_) | Stage::Gone => None,
        }
    }

    fn progress_of_workers(&self) -> Status {
        let count = |role: Role| {
            let slots = self.slots.iter().filter(move |slot| slot.role == role);
            let ready = slots.clone().filter_map(Slot::worker);
            let ready = ready.filter(|worker| worker.ready.is_some()).count();
            (ready, slots.count())
        };
        match (count(Role::Coming), count(Role::Serving)) {
            ((ready, all @ 1..), _) if self.told.is_ready => Status::NextBooting { ready, all },
            (_, (ready, all)) if !self.told.is_ready => Status::Booting { ready, all },
            (_, (serving, wanted)) => Status::Serving { serving, wanted },
        }
    }
}
