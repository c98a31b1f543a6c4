//! Status reports: when the state machine reports readiness, reloads and progress.

use super::event::Action;
use super::state::{Stage, Supervisor};
use super::status::Status;
use super::worker::{Role, Slot};

impl Supervisor {
    /// Whether there is a worker, or none has been ready yet.
    pub fn is_alive(&self) -> bool {
        !self.has_been_healthy || self.slots.iter().any(|slot| slot.worker().is_some())
    }

    /// Reports that all wanted workers are ready.
    pub(super) fn report_ready(&mut self) {
        self.reported.is_ready = true;
        let workers = self.wanted;
        self.report(Status::Ready { workers });
        self.reported.progress = self.progress();
    }

    /// Reports a reload. Before the first readiness report none is sent, because the service manager waits for
    /// readiness.
    pub(super) fn report_reloading(&mut self) {
        if self.reported.is_ready {
            self.report(Status::Reloading);
        }
    }

    pub(super) fn report_reload_failed(&mut self, why: &str) {
        if self.reported.is_ready {
            let why = why.to_owned();
            self.report(Status::ReloadFailed { why });
            // A failed reload leaves the number of serving workers unchanged; a progress line must not hide the reason.
            self.reported.progress = self.progress();
        }
    }

    pub(super) fn report(&mut self, status: Status) {
        self.actions.push(Action::ReportStatus(status));
    }

    /// Reports the progress when it has changed.
    pub(super) fn report_progress(&mut self) {
        let progress = self.progress();
        if progress == self.reported.progress {
            return;
        }
        self.reported.progress.clone_from(&progress);
        self.actions.extend(progress.map(Action::ReportStatus));
    }

    fn progress(&self) -> Option<Status> {
        match &self.stage {
            Stage::Running if self.delay.is_some() => None,
            Stage::Running => Some(self.progress_of_workers()),
            Stage::Stopping(stop) if stop.code == 0 => {
                let left = self.slots.iter().filter_map(Slot::worker).count();
                Some(Status::Draining { left })
            }
            Stage::Stopping(_) | Stage::Stopped => None,
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
            ((ready, all @ 1..), _) if self.reported.is_ready => Status::NextBooting { ready, all },
            (_, (ready, all)) if !self.reported.is_ready => Status::Booting { ready, all },
            (_, (serving, wanted)) => Status::Serving { serving, wanted },
        }
    }
}
